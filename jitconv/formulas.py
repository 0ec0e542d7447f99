"""What each variant costs on paper: the document's formulas in its symbols, in exact integers.

One function a variant. This module knows nothing of the loops, so that formula and measurement are
two independent numbers.

Symbols: N images; C (the document's I) input and M (its O) output channels; K² taps of a kernel, or
KH·KW; H·W pixels of the input, OH·OW of the output; g groups; G offset groups; V pairs (output
position, tap) of one axis that land in the image. A MAC is one multiply and the add that follows
it; the document's 연산량 counts MACs; FLOPs are 2 × MACs.

Names in each result: `document` is the document's formula, with the input size; `dense` counts
every tap of every output, on padding or not; `in bounds` counts the taps that land in the image.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple

from .shapes import Window


class Formula(NamedTuple):
    """One formula: its symbols, the numbers put in, its value, and where it comes from.

    Attributes
    ----------
    name : str
        What it gives: "parameters", "document", "dense", "in bounds" …
    symbols, substituted : str
        The formula as the document writes it, and the same text with numbers.
    value : int or fractions.Fraction
        Exact. Only ratios are fractions.
    section : str
        The document's section, or the word that defines it.
    """

    name: str
    symbols: str
    substituted: str
    value: int | Fraction
    section: str

    @classmethod
    def of(cls, name: str, section: str, symbols: str, **values: int) -> Formula:
        """Put the values into the symbols, and compute the very text that results.

        Examples
        --------
        >>> str(Formula.of("parameters", "§8", "K²·C·M/g", **{"K²": 9}, C=64, M=128, g=4))
        'K²·C·M/g = 9·64·128/4 = 18,432'
        """
        substituted = re.sub(r"[^\W\d]\w*", lambda symbol: str(values[symbol[0]]), symbols)
        exact = re.sub(r"\d+", r"Fraction(\g<0>)", substituted)
        for written, python in {"·": "*", "−": "-", "⌊": "floor(", "⌋": ")"}.items():
            exact = exact.replace(written, python)
        value = Fraction(eval(exact, {"Fraction": Fraction, "floor": math.floor}))
        return cls(
            name,
            symbols,
            substituted,
            value.numerator if value.denominator == 1 else value,
            section,
        )

    def __str__(self) -> str:
        value = f"{self.value:,}" if isinstance(self.value, int) else f"{float(self.value):.4f}"
        return " = ".join(dict.fromkeys([self.symbols, self.substituted, value]))


def standard(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> tuple[Formula, ...]:
    """Return the costs of a standard convolution.

    Parameters
    ----------
    N, C, M : int
        Images, input channels, output channels.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    References
    ----------
    Document §1 (parameters, output size) and §8 (multiplies).

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> for formula in standard(1, 64, 128, window(56, 3, padding="same"))[:2]:
    ...     print(formula.name, "|", formula)
    parameters | I·O·K² = 64·128·9 = 73,728
    document | K²·C·M·H·W = 9·64·128·56·56 = 231,211,008
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M)
    return (
        put("parameters", "§1", f"I·O·{put.K}"),
        *put.bias(bias),
        put.batch("document", "§8, over H·W", f"{put.K}·C·M·H·W"),
        *put.dense_and_in_bounds("M·C"),
        *put.output(),
        put("ratio to standard", "§8", "1"),
    )


def dilated(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> tuple[Formula, ...]:
    """Return the costs of a dilated convolution: those of the standard one, over a wider field.

    Parameters are those of `standard`.

    References
    ----------
    Document §2: the parameters stay 9, the field grows to D·(K − 1) + 1.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> print(dilated(1, 1, 1, window(8, 3, padding="same", dilation=2))[-1])
    D·(K − 1) + 1 = 2·(3 − 1) + 1 = 5
    """
    put = _Put(N, window)
    return (
        *standard(N, C, M, window, bias=bias),
        *put.each_axis(
            "effective kernel", "§2", "D·(K − 1) + 1", D=window.dilation, K=window.kernel
        ),
    )


def transposed(
    N: int, C: int, M: int, window: Window, *, groups: int = 1, bias: bool = False
) -> tuple[Formula, ...]:
    """Return the costs of a transposed convolution, with its three honest numbers.

    `document` is based on the input (every input pixel meets every tap), `dense` on the output (a
    convolution over the zero-stuffed input), `in bounds` leaves out the taps that land on cropped
    rows and columns.

    Parameters
    ----------
    N, C, M, groups : int
        Images, input channels, output channels, groups.
    window : Window
        The geometry, from `jitconv.shapes.transposed_window`.
    bias : bool
        Whether a bias of M values is held as well.

    References
    ----------
    Document §3.

    Examples
    --------
    >>> from jitconv.shapes import transposed_window
    >>> for formula in transposed(1, 1, 1, transposed_window(8, 4, stride=2, padding=1))[1:4]:
    ...     print(formula.name, "|", formula)
    document | K²·C·M·H·W = 16·1·1·8·8 = 1,024
    dense | M·C·K²·OH·OW = 1·1·16·16·16 = 4,096
    in bounds | M·C·V_h·V_w = 1·1·30·30 = 900
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M, g=groups)
    shared = "/g" if groups > 1 else ""
    return (
        put("parameters", "§1", f"I·O·{put.K}{shared}"),
        *put.bias(bias),
        put.batch("document", "§8, over H·W", f"{put.K}·C·M{shared}·H·W"),
        put.batch("dense", "zero-stuffed, over OH·OW", f"M·C{shared}·{put.K}·OH·OW"),
        put.batch("in bounds", "taps not cropped", f"M·C{shared}·V_h·V_w"),
    )


def separable(N: int, C: int, window: Window) -> tuple[Formula, ...]:
    """Return the costs of a spatially separable convolution: a column pass, then a row pass.

    The column pass has KH taps, the row pass KW.

    Parameters
    ----------
    N, C : int
        Images, channels; each channel is filtered on its own.
    window : Window
        The geometry, from `jitconv.shapes.window`.

    References
    ----------
    Document §4: 9 multiplies a pixel become 6.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> for formula in separable(1, 3, window(8, 3, padding="same"))[:2]:
    ...     print(formula.name, "|", formula)
    parameters | KH + KW = 3 + 3 = 6
    document | C·(KH + KW)·H·W = 3·(3 + 3)·8·8 = 1,152
    """
    put = _Put(N, window, C=C)
    return (
        put("parameters", "§4", "KH + KW"),
        put.batch("document", "§4, over H·W", "C·(KH + KW)·H·W"),
        put.batch("dense", "over OH·OW", "C·(KH·OH·W + KW·OH·OW)"),
        put.batch("in bounds", "taps in the image", "C·(V_h·W + OH·V_w)"),
        put.batch("dense, column pass", "over OH·OW", "C·KH·OH·W"),
        put.batch("in bounds, column pass", "taps in the image", "C·V_h·W"),
        put.batch("dense, row pass", "over OH·OW", "C·KW·OH·OW"),
        put.batch("in bounds, row pass", "taps in the image", "C·OH·V_w"),
        *put.output(),
        put("ratio to standard", "§4", "(KH + KW)/(KH·KW)"),
    )


def depthwise(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> tuple[Formula, ...]:
    """Return the costs of a depthwise convolution: each output channel reads one input channel.

    There is one filter an output channel. Parameters are those of `standard`.

    References
    ----------
    Document §5: the grouped convolution with g = C.

    Examples
    --------
    The document's example, 8×8×3 with one 3×3 filter a channel.

    >>> from jitconv.shapes import window
    >>> for formula in depthwise(1, 3, 3, window(8, 3))[:3]:
    ...     print(formula.name, "|", formula)
    parameters | M·K² = 3·9 = 27
    document | K²·M·H·W = 9·3·8·8 = 1,728
    dense | M·K²·OH·OW = 3·9·6·6 = 972
    """
    put = _Put(N, window, C=C, M=M)
    return (
        put("parameters", "§5", f"M·{put.K}"),
        *put.bias(bias),
        put.batch("document", "§8 with g = C, over H·W", f"{put.K}·M·H·W"),
        *put.dense_and_in_bounds("M"),
        *put.output(),
        put("ratio to standard", "§5", "1/C"),
    )


def pointwise(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> tuple[Formula, ...]:
    """Return the costs of a pointwise (1×1) convolution: it combines the channels of each pixel.

    The combination is linear. Parameters are those of `standard`.

    References
    ----------
    Document §7.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> print(pointwise(1, 64, 16, window(56, 1))[1])
    C·M·H·W = 64·16·56·56 = 3,211,264
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M)
    return (
        put("parameters", "§7", "I·O"),
        *put.bias(bias),
        put.batch("document", "§8 with K = 1, over H·W", "C·M·H·W"),
        put.batch("dense", "over OH·OW", "M·C·OH·OW"),
        put.batch("in bounds", "taps in the image", "M·C·OH·OW"),
        *put.output(),
    )


def depthwise_separable(
    N: int, C: int, middle: int, M: int, window: Window, *, bias: bool = False
) -> tuple[Formula, ...]:
    """Return the costs of a depthwise separable convolution: depthwise, then pointwise (1×1).

    The depthwise one makes `middle` channels, the pointwise one M.

    Parameters
    ----------
    N, C, middle, M : int
        Images, input channels, depthwise outputs (C × multiplier), output channels.
    window : Window
        The geometry of the depthwise convolution.
    bias : bool
        Whether a bias of M values is held as well.

    References
    ----------
    Document §6; the ratio 1/M + 1/K² is that of Howard et al., arXiv:1704.04861, section 3.1.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = depthwise_separable(1, 64, 64, 128, window(56, 3, padding="same"))
    >>> print(costs[0], "|", costs[-1])
    B·K² + B·M = 64·9 + 64·128 = 8,768 | 1/M + 1/K² = 1/128 + 1/9 = 0.1189
    """
    put = _Put(N, window, C=C, M=M, B=middle)
    taps = "K²" if put.K == "K²" else "(KH·KW)"
    ratio = f"1/M + 1/{taps}" if middle == C else f"B/C·(1/M + 1/{taps})"
    return (
        put("parameters", "§6", f"B·{put.K} + B·M"),
        *put.bias(bias),
        put.batch("document", "§6, over H·W", f"({put.K}·B + B·M)·H·W"),
        put.batch("dense", "over OH·OW", f"(B·{put.K} + B·M)·OH·OW"),
        put.batch("in bounds", "taps in the image", "(B·V_h·V_w + B·M·OH·OW)"),
        put.batch("dense, depthwise", "over OH·OW", f"B·{put.K}·OH·OW"),
        put.batch("in bounds, depthwise", "taps in the image", "B·V_h·V_w"),
        put.batch("dense, pointwise", "over OH·OW", "B·M·OH·OW"),
        *put.output(),
        put("ratio to standard", "§6", ratio),
    )


def grouped(
    N: int, C: int, M: int, window: Window, *, groups: int, bias: bool = False
) -> tuple[Formula, ...]:
    """Return the costs of a grouped convolution: g convolutions of C/g channels to M/g.

    Parameters are those of `standard`, and the number of groups.

    References
    ----------
    Document §8.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> for formula in grouped(1, 64, 128, window(56, 3, padding="same"), groups=4)[:3]:
    ...     print(formula.name, "|", formula)
    parameters | K²·C·M/g = 9·64·128/4 = 18,432
    parameters of a group | K²·(C/g)·(M/g) = 9·(64/4)·(128/4) = 4,608
    document | K²·C·M·H·W/g = 9·64·128·56·56/4 = 57,802,752
    """
    put = _Put(N, window, C=C, M=M, g=groups)
    return (
        put("parameters", "§8", f"{put.K}·C·M/g"),
        put("parameters of a group", "§8", f"{put.K}·(C/g)·(M/g)"),
        *put.bias(bias),
        put.batch("document", "§8, over H·W", f"{put.K}·C·M·H·W/g"),
        *put.dense_and_in_bounds("M·(C/g)"),
        *put.output(),
        put("ratio to standard", "§8", "1/g"),
    )


def deformable(
    N: int,
    C: int,
    M: int,
    window: Window,
    *,
    samples: int,
    groups: int = 1,
    offset_groups: int = 1,
    mask: bool = False,
    layer: bool = False,
    bias: bool = False,
    offset_bias: bool = False,
    mask_bias: bool = False,
) -> tuple[Formula, ...]:
    """Return the costs of a deformable convolution, part by part.

    Each sample (offset group, tap, output pixel) takes 4 multiplies for its corner weights, shared
    by the channels of its offset group; each of its C/G values takes 4 more, and one for the mask;
    then the kernel multiplies as usual.

    Parameters
    ----------
    N, C, M, groups, offset_groups : int
        Images, input channels, output channels, weight groups, offset groups.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    samples : int
        How many samples lie in the image: the only number that depends on the offsets.
    mask : bool
        Whether samples are weighted.
    layer : bool
        Whether convolutions with kernels of the same size make the offsets, and the mask.
    bias, offset_bias, mask_bias : bool
        Which biases are held.

    References
    ----------
    Document §9; Dai et al., arXiv:1703.06211; the mask: Zhu et al., arXiv:1811.11168.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> for formula in deformable(1, 3, 2, window(8, 3), samples=9 * 36)[2:7]:
    ...     print(formula.name, "|", formula)
    dense | (4·G + 4·C + M·C)·K²·OH·OW = (4·1 + 4·3 + 2·3)·9·6·6 = 7,128
    in bounds | (4·G + 4·C)·K²·OH·OW + M·(C/G)·V = (4·1 + 4·3)·9·6·6 + 2·(3/1)·324 = 7,128
    dense, corner weights | 4·G·K²·OH·OW = 4·1·9·6·6 = 1,296
    dense, corner values | 4·C·K²·OH·OW = 4·3·9·6·6 = 3,888
    dense, kernel | M·C·K²·OH·OW = 2·3·9·6·6 = 1,944
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M, g=groups, G=offset_groups, V=samples)
    K, each_image = put.K, "" if N == 1 else "N·"
    shared = "/g" if groups > 1 else ""
    branches = (
        {"offset": f"2·G·{K}", "mask": f"G·{K}"} if layer else {}
    )  # the channels that each branch makes
    if not mask:
        branches.pop("mask", None)
    parts = {"corner weights": "4·G", "corner values": "4·C", **({"mask": "C"} if mask else {})}
    sampling, kernel = " + ".join(parts.values()), f"M·(C/G){shared}·V"
    each = " + ".join([*(f"{made}·C" for made in branches.values()), sampling, f"M·C{shared}"])
    outputs = f"({' + '.join([f'M{shared}', *branches.values()])})" if layer else f"M{shared}"
    biases = {"M": bias, f"2·G·{K}": offset_bias, f"G·{K}": mask_bias}
    return (
        put(
            "parameters",
            "§9",
            " + ".join([f"I·O·{K}{shared}", *(f"I·{made}·{K}" for made in branches.values())]),
        ),
        *(
            [put("bias", "one a channel", " + ".join(b for b in biases if biases[b]))]
            if any(biases.values())
            else []
        ),
        put.batch("document", "§8, over H·W", f"{K}·C·{outputs}·H·W"),
        put.batch("dense", "over OH·OW", f"({each})·{K}·OH·OW"),
        put(
            "in bounds",
            "taps and samples in the image",
            " + ".join(
                [
                    *(f"{each_image}{made}·C·V_h·V_w" for made in branches.values()),
                    f"{each_image}({sampling})·{K}·OH·OW",
                    kernel,
                ]
            ),
        ),
        *(
            put.batch(f"dense, {name} branch", "over OH·OW", f"{made}·C·{K}·OH·OW")
            for name, made in branches.items()
        ),
        *(
            put.batch(f"in bounds, {name} branch", "taps in the image", f"{made}·C·V_h·V_w")
            for name, made in branches.items()
        ),
        *(put.batch(f"dense, {name}", "§9", f"{part}·{K}·OH·OW") for name, part in parts.items()),
        put.batch("dense, kernel", "over OH·OW", f"M·C{shared}·{K}·OH·OW"),
        put("in bounds, kernel", "samples in the image", kernel),
        *put.output(),
    )


class _Put:
    """Puts the numbers of one call into the symbols of its formulas."""

    def __init__(self, N: int, window: Window, **values: int):
        KH, KW = window.kernel
        self.K = "K²" if KH == KW else "KH·KW"
        self.window = window
        self.values = {
            "N": N,
            "K²": KH * KW,
            **dict(zip(("KH", "KW"), window.kernel, strict=True)),
            **dict(zip(("H", "W"), window.size, strict=True)),
            **dict(zip(("OH", "OW"), window.output, strict=True)),
            **dict(zip(("V_h", "V_w"), window.taps, strict=True)),
            **values,
        }

    def __call__(self, name: str, section: str, symbols: str) -> Formula:
        return Formula.of(name, section, symbols, **self.values)

    def batch(self, name: str, section: str, symbols: str) -> Formula:
        """As the document writes it for one image; N times that for several."""
        return self(name, section, symbols if self.values["N"] == 1 else f"N·{symbols}")

    def bias(self, held: bool) -> list[Formula]:
        return [self("bias", "one a channel", "M")] if held else []

    def dense_and_in_bounds(self, channels: str) -> list[Formula]:
        return [
            self.batch("dense", "over OH·OW", f"{channels}·{self.K}·OH·OW"),
            self.batch("in bounds", "taps in the image", f"{channels}·V_h·V_w"),
        ]

    def output(self) -> list[Formula]:
        """⌊(H − k + 2P)/S⌋ + 1, k the effective kernel; P + Q for 2P where the two ends differ."""
        before, after = zip(*self.window.padding, strict=True)
        reach = tuple(
            d * (k - 1) + 1 for d, k in zip(self.window.dilation, self.window.kernel, strict=True)
        )
        both = "2·P" if before == after else "P + Q"
        return self.each_axis(
            "output",
            "§1",
            f"⌊(H − k + {both})/S⌋ + 1",
            H=self.window.size,
            k=reach,
            P=before,
            Q=after,
            S=self.window.stride,
        )

    @staticmethod
    def each_axis(name: str, section: str, symbols: str, **pairs: tuple[int, int]) -> list[Formula]:
        height, width = ({symbol: pair[axis] for symbol, pair in pairs.items()} for axis in (0, 1))
        if height == width:
            return [Formula.of(f"{name} size", section, symbols, **height)]
        return [
            Formula.of(f"{name} height", section, symbols, **height),
            Formula.of(
                f"{name} width",
                section,
                symbols.replace("H", "W"),
                **{"W": width.get("H"), **width},
            ),
        ]
