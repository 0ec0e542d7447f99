"""What each variant costs on paper: the formulas of docs/document.md in exact integers.

One function a variant. This module knows nothing of the loops, so that formula and measurement are
two independent numbers.

Symbols: N images; C (the document's I) input and M (its O) output channels, B between two passes;
K² taps of a kernel, or KH·KW; H·W pixels of the input, OH·OW of the output; S stride, D dilation,
P and Q padding at both ends of an axis, E output padding, k = D·(K − 1) + 1 the effective kernel;
g groups, G offset groups; V_h and V_w the pairs (output position, tap) of an axis that land in the
image, V_s the samples of a deformable convolution that do; U_h and U_w the pairs of a transposed
convolution's axis that meet a pixel, or would if the image went on.

A MAC is one multiply and the add that follows it; the document's 연산량 counts MACs; FLOPs are
2 × MACs. Names in each result: `document` is the document's formula, which uses the input size;
`dense` counts every tap of every output, on padding or not; `in bounds` counts the taps that land
in the image; a ratio compares what the document's formulas give.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import checks
from ..shapes import Window, taps_of_phases
from .formula import Costs, Formula


def standard(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> Costs:
    """Return the costs of a standard convolution.

    Parameters
    ----------
    N, C, M : int
        Images, input channels, output channels.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense, in bounds, output size, [effective kernel size].

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §1 (parameters, output size) and §8 (multiplies).

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = standard(1, 64, 128, window(56, 3, padding="same"))
    >>> print(costs["parameters"], "|", costs["document"])
    I·O·K² = 64·128·9 = 73,728 | K²·C·M·H·W = 9·64·128·56·56 = 231,211,008
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M)
    n, K = put.n, put.K
    return Costs(
        [
            put("parameters", "§1", f"I·O·{K}"),
            *put.bias(bias),
            put("document", "§8", f"{n}{K}·C·M·H·W"),
            *put.passes({"kernel": (f"{n}M·C·{K}·OH·OW", f"{n}M·C·V_h·V_w")}),
            *put.output(),
        ]
    )


def dilated(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> Costs:
    """Return the costs of a dilated convolution: those of the standard one, over a wider field.

    Parameters
    ----------
    N, C, M : int
        Images, input channels, output channels.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense, in bounds, output size, effective kernel size.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §2: the parameters stay 9, the field grows to D·(K − 1) + 1.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> print(dilated(1, 1, 1, window(8, 3, dilation=2))["effective kernel size"])
    D·(K − 1) + 1 = 2·(3 − 1) + 1 = 5
    """
    return standard(N, C, M, window, bias=bias)


def transposed(
    N: int, C: int, M: int, window: Window, *, groups: int = 1, bias: bool = False
) -> Costs:
    """Return the costs of a transposed convolution, with its three honest numbers.

    `document` is based on the input (every input pixel meets every tap), `dense` on the output (a
    convolution over the zero-stuffed input), `in bounds` leaves out the taps that land on cropped
    rows and columns. `phases` is what stride² small convolutions of the input multiply, one for the
    outputs of each phase: no stuffed zero, but the zeros around the image.

    Parameters
    ----------
    N, C, M, groups : int
        Images, input channels, output channels, groups.
    window : Window
        The geometry, from `jitconv.shapes.transposed_window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense, in bounds, phases, output size, [effective kernel
        size].

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more, or `groups` does not divide C and M.

    References
    ----------
    Document §3.

    Examples
    --------
    >>> from jitconv.shapes import transposed_window
    >>> costs = transposed(1, 1, 1, transposed_window(8, 4, stride=2, padding=1))
    >>> for name in ("document", "dense", "in bounds", "phases"):
    ...     print(name, "|", costs[name])
    document | K²·C·M·H·W = 16·1·1·8·8 = 1,024
    dense | M·C·K²·OH·OW = 1·1·16·16·16 = 4,096
    in bounds | M·C·V_h·V_w = 1·1·30·30 = 900
    phases | M·C·U_h·U_w = 1·1·32·32 = 1,024
    """
    put = _Put(N, window, transposed=True, C=C, I=C, M=M, O=M, g=groups)
    n, K = put.n, put.K
    shared = "/g" if groups > 1 else ""
    return Costs(
        [
            put("parameters", "§1", f"I·O·{K}{shared}"),
            *put.bias(bias),
            put("document", "§8", f"{n}{K}·C·M{shared}·H·W"),
            put("dense", "zero-stuffed input", f"{n}M·C{shared}·{K}·OH·OW"),
            put("in bounds", "taps not cropped", f"{n}M·C{shared}·V_h·V_w"),
            put("phases", "without stuffed zeros", f"{n}M·C{shared}·U_h·U_w"),
            *put.output(),
        ],
        seen_as="transposed",
    )


def separable(N: int, C: int, window: Window, *, columns: int | None = None) -> Costs:
    """Return the costs of a spatially separable convolution: a column pass, then a row pass.

    The column pass has KH taps, the row pass KW.

    Parameters
    ----------
    N, C : int
        Images, channels; each channel is filtered on its own.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    columns : int, optional
        R, how many columns the blocks of an image read in all, where it is run block by block: the
        column pass goes over those of the halos twice.

    Returns
    -------
    Costs
        Parameters, document, dense and in bounds (both passes, column pass, row pass), [repeated by
        blocks,] output size, [effective kernel size,] ratio to depthwise.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §4: 9 multiplies a pixel become 6.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = separable(1, 3, window(8, 3, padding="same"))
    >>> print(costs["parameters"], "|", costs["document"])
    KH + KW = 3 + 3 = 6 | C·(KH + KW)·H·W = 3·(3 + 3)·8·8 = 1,152
    """
    put = _Put(N, window, C=C)
    n, K, W, repeated = put.n, put.K, "W", []
    if columns is not None:
        put.values["R"], W = checks.integer("columns", columns, 1), "R"
        # less than W where a stride steps over columns between two blocks
        name, by = ("repeated", "R − W") if columns >= window.size[1] else ("left out", "W − R")
        repeated = [put(f"{name} by blocks", "R columns read", f"{n}C·KH·OH·({by})")]
    return Costs(
        [
            put("parameters", "§1 for both passes", "KH + KW"),
            put("document", "§8 for both passes", f"{n}C·(KH + KW)·H·W"),
            *put.passes(
                {
                    "column pass": (f"{n}C·KH·OH·{W}", f"{n}C·V_h·{W}"),
                    "row pass": (f"{n}C·KW·OH·OW", f"{n}C·OH·V_w"),
                }
            ),
            *repeated,
            *put.output(),
            put("ratio to depthwise", "§4", "2/K" if K == "K²" else "(KH + KW)/(KH·KW)"),
        ]
    )


def depthwise(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> Costs:
    """Return the costs of a depthwise convolution: each output channel reads one input channel.

    There is one filter an output channel.

    Parameters
    ----------
    N, C, M : int
        Images, input channels, output channels.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense, in bounds, output size, [effective kernel size,] ratio
        to standard.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §5: the grouped convolution with g = C.

    Examples
    --------
    The document's example, 8×8×3 with one 3×3 filter a channel.

    >>> from jitconv.shapes import window
    >>> costs = depthwise(1, 3, 3, window(8, 3))
    >>> print(costs["parameters"], "|", costs["document"], "|", costs["dense"])
    M·K² = 3·9 = 27 | K²·M·H·W = 9·3·8·8 = 1,728 | M·K²·OH·OW = 3·9·6·6 = 972
    """
    put = _Put(N, window, C=C, M=M)
    n, K = put.n, put.K
    return Costs(
        [
            put("parameters", "§8 with g = C", f"M·{K}"),
            *put.bias(bias),
            put("document", "§8 with g = C", f"{n}{K}·M·H·W"),
            *put.passes({"kernel": (f"{n}M·{K}·OH·OW", f"{n}M·V_h·V_w")}),
            *put.output(),
            put("ratio to standard", "§8 with g = C", "1/C"),
        ]
    )


def pointwise(N: int, C: int, M: int, window: Window, *, bias: bool = False) -> Costs:
    """Return the costs of a pointwise (1×1) convolution: it combines the channels of each pixel.

    The combination is linear.

    Parameters
    ----------
    N, C, M : int
        Images, input channels, output channels.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense, in bounds, output size.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §7.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> print(pointwise(1, 64, 16, window(56, 1))["document"])
    C·M·H·W = 64·16·56·56 = 3,211,264
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M)
    n = put.n
    return Costs(
        [
            put("parameters", "§1 with K = 1", "I·O"),
            *put.bias(bias),
            put("document", "§8 with K = 1", f"{n}C·M·H·W"),
            *put.passes({"kernel": (f"{n}M·C·OH·OW", f"{n}M·C·OH·OW")}),
            *put.output(),
        ]
    )


def depthwise_separable(
    N: int, C: int, middle: int, M: int, window: Window, *, bias: bool = False
) -> Costs:
    """Return the costs of a depthwise separable convolution: depthwise, then pointwise (1×1).

    The depthwise one makes `middle` channels, the pointwise one M.

    Parameters
    ----------
    N, C, middle, M : int
        Images, input channels, depthwise outputs (C × multiplier), output channels.
    window : Window
        The geometry of the depthwise convolution, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense and in bounds (both passes, depthwise, pointwise),
        output size, [effective kernel size,] ratio to standard.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §6; the ratio 1/M + 1/K² is that of Howard et al., arXiv:1704.04861, section 3.1.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = depthwise_separable(1, 64, 64, 128, window(56, 3, padding="same"))
    >>> print(costs["parameters"], "|", costs["ratio to standard"])
    B·K² + B·M = 64·9 + 64·128 = 8,768 | 1/M + 1/K² = 1/128 + 1/9 = 0.1189
    """
    put = _Put(N, window, C=C, M=M, B=middle)
    n, K = put.n, put.K
    taps = "K²" if K == "K²" else "(KH·KW)"
    ratio = f"1/M + 1/{taps}" if middle == C else f"B/C·(1/M + 1/{taps})"
    return Costs(
        [
            put("parameters", "§8 for both parts", f"B·{K} + B·M"),
            *put.bias(bias),
            put("document", "§8 for both parts", f"{n}({K}·B + B·M)·H·W"),
            *put.passes(
                {
                    "depthwise": (f"{n}B·{K}·OH·OW", f"{n}B·V_h·V_w"),
                    "pointwise": (f"{n}B·M·OH·OW", f"{n}B·M·OH·OW"),
                }
            ),
            *put.output(),
            put("ratio to standard", "arXiv:1704.04861, 3.1", ratio),
        ]
    )


def winograd(N: int, C: int, M: int, window: Window, *, groups: int = 1) -> Costs:
    """Return what a convolution of 3×3 costs by Winograd's F(4×4, 3×3), whatever its variant.

    T tiles of 4×4 outputs take 36 products each, for every pair of channels. A transform goes over
    six lines, and once more over the six (weights: three, outputs: four) that come of them; a line
    takes 9 multiplies for inputs, 7 for weights, 6 for outputs.

    Parameters
    ----------
    N, C, M, groups : int
        Images, input channels, output channels, groups.
    window : Window
        The geometry, from `jitconv.shapes.window`.

    Returns
    -------
    Costs
        Tiles, winograd (all passes, weight transform, input transform, products, output transform).

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more, or `groups` does not divide C and M.

    References
    ----------
    Lavin and Gray, arXiv:1509.09308.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> for formula in winograd(1, 64, 64, window(56, 3, padding="same")).values():
    ...     print(formula.name, "|", formula.symbols, "|", f"{float(formula.value):,.10g}")
    tiles | ⌊(OH + 3)/4⌋·⌊(OW + 3)/4⌋ | 196
    winograd | 63·C·M + 108·C·T + 36·C·M·T + 60·M·T | 31,266,816
    winograd, weight transform | 63·C·M | 258,048
    winograd, input transform | 108·C·T | 1,354,752
    winograd, products | 36·C·M·T | 28,901,376
    winograd, output transform | 60·M·T | 752,640
    """
    put = _Put(N, window, C=C, M=M, g=groups)
    paper, g = "arXiv:1509.09308", "/g" if groups > 1 else ""
    tiles = put("tiles", "4×4 outputs", f"{put.n}⌊(OH + 3)/4⌋·⌊(OW + 3)/4⌋")
    put.values["T"] = int(tiles.value)
    parts = {
        "weight transform": f"63·C·M{g}" if N else "0",  # no image, no work
        "input transform": "108·C·T",
        "products": f"36·C·M{g}·T",
        "output transform": "60·M·T",
    }
    return Costs(
        [
            tiles,
            put("winograd", paper, " + ".join(parts.values())),
            *(put(f"winograd, {name}", paper, symbols) for name, symbols in parts.items()),
        ]
    )


def gradient(
    N: int,
    C: int,
    M: int,
    window: Window,
    *,
    groups: int = 1,
    transposed: bool = False,
    parts: Sequence[str] = ("input", "weight"),
) -> Costs:
    """Return what the gradients of a convolution cost, or of a transposed one.

    In bounds, each of the two parts costs what the forward pass does. The gradient with respect to
    the input is a transposed convolution of the outputs' gradients, whose `dense` and `phases` are
    those of section 3; of a transposed convolution it is a convolution.

    Parameters
    ----------
    N, C, M, groups : int
        Images, input channels, output channels, groups.
    window : Window
        The geometry of the forward pass.
    transposed : bool
        Whether that is a transposed convolution.
    parts : sequence of str
        Which of "input" and "weight" are wanted.

    Returns
    -------
    Costs
        Parameters, document, dense, in bounds and phases (all parts, then each), output size.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more, or `groups` does not divide C and M.

    References
    ----------
    Document §8, once for each part.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = gradient(1, 64, 128, window(56, 3, padding=1))
    >>> for name in ("in bounds, input", "in bounds, weight"):
    ...     print(name, "|", costs[name])
    in bounds, input | M·C·V_h·V_w = 128·64·166·166 = 225,738,752
    in bounds, weight | M·C·V_h·V_w = 128·64·166·166 = 225,738,752
    """
    put = _Put(N, window, transposed=transposed, C=C, I=C, M=M, O=M, g=groups)
    K, shared = put.K, "/g" if groups > 1 else ""
    each = f"{put.n}M·C{shared}"
    outputs = "H·W" if transposed else "OH·OW"
    of = {"input": ("H·W", "U_h·U_w"), "weight": (outputs, f"{K}·{outputs}")}
    if transposed:
        of["input"] = ("H·W", f"{K}·H·W")
    counts = {
        part: (f"{each}·{K}·{size}", f"{each}·V_h·V_w", f"{each}·{phases}")
        for part, (size, phases) in of.items()
        if part in parts
    }
    times = f"{len(parts)}·" if len(parts) > 1 else ""
    return Costs(
        [
            put("parameters", "§1", f"I·O·{K}{shared}"),
            put("document", "§8 for each part", f"{times}{put.n}{K}·C·M{shared}·H·W"),
            *put.parts(counts),
            *put.output(),
        ]
    )


def separable_gradient(N: int, C: int, window: Window, *, parts: Sequence[str]) -> Costs:
    """Return what the gradients of a spatially separable convolution cost, pass by pass.

    Both passes of the gradient with respect to the input, the row's first, cost in bounds what the
    forward passes do, and so do the gradients of the row and of the column. The gradient of the row
    meets what the column pass made, and so that pass runs once more.

    Parameters
    ----------
    N, C : int
        Images, channels.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    parts : sequence of str
        Which of "column pass", "row input", "column input", "row weight" and "column weight" are
        run.

    Returns
    -------
    Costs
        Parameters, document, dense, in bounds and phases (all parts, then each), output size.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §4.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = separable_gradient(1, 3, window(8, 3, padding=1), parts=["row input"])
    >>> print(costs["in bounds, row input"])
    C·OH·V_w = 3·8·22 = 528
    """
    put = _Put(N, window, C=C)
    n = put.n
    counts = {
        "column pass": (f"{n}C·KH·OH·W", f"{n}C·V_h·W", f"{n}C·KH·OH·W"),
        "row input": (f"{n}C·KW·OH·W", f"{n}C·OH·V_w", f"{n}C·OH·U_w"),
        "column input": (f"{n}C·KH·H·W", f"{n}C·V_h·W", f"{n}C·U_h·W"),
        "row weight": (f"{n}C·KW·OH·OW", f"{n}C·OH·V_w", f"{n}C·KW·OH·OW"),
        "column weight": (f"{n}C·KH·OH·W", f"{n}C·V_h·W", f"{n}C·KH·OH·W"),
    }
    document = [f"{n}C·{'KW' if 'row' in part else 'KH'}·H·W" for part in parts]
    return Costs(
        [
            put("parameters", "§1 for both passes", "KH + KW"),
            put("document", "§8 for each pass", " + ".join(document) or "0"),
            *put.parts({part: counts[part] for part in parts}),
            *put.output(),
        ]
    )


def depthwise_separable_gradient(
    N: int, C: int, middle: int, M: int, window: Window, *, parts: Sequence[str]
) -> Costs:
    """Return what the gradients of a depthwise separable convolution cost, part by part.

    In bounds, each gradient costs what its forward pass does. The gradient of the pointwise weight
    meets what the depthwise convolution made, and so that runs once more.

    Parameters
    ----------
    N, C, middle, M : int
        Images, input channels, depthwise outputs (C × multiplier), output channels.
    window : Window
        The geometry of the depthwise convolution, from `jitconv.shapes.window`.
    parts : sequence of str
        Which of "depthwise", "pointwise input", "pointwise weight", "depthwise input" and
        "depthwise weight" are run.

    Returns
    -------
    Costs
        Parameters, document, dense, in bounds and phases (all parts, then each), output size.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more.

    References
    ----------
    Document §6.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = depthwise_separable_gradient(
    ...     1, 64, 64, 128, window(56, 3, padding=1), parts=["pointwise weight"]
    ... )
    >>> print(costs["in bounds"])
    B·M·OH·OW = 64·128·56·56 = 25,690,112
    """
    put = _Put(N, window, C=C, M=M, B=middle)
    n, K = put.n, put.K
    outputs, across, inside = f"{n}B·{K}·OH·OW", f"{n}B·M·OH·OW", f"{n}B·V_h·V_w"
    counts = {
        "depthwise": (outputs, inside, outputs),
        "pointwise input": (across, across, across),
        "pointwise weight": (across, across, across),
        "depthwise input": (f"{n}B·{K}·H·W", inside, f"{n}B·U_h·U_w"),
        "depthwise weight": (outputs, inside, outputs),
    }
    document = [f"{n}{K}·B·H·W" if "depth" in part else f"{n}B·M·H·W" for part in parts]
    return Costs(
        [
            put("parameters", "§8 for both parts", f"B·{K} + B·M"),
            put("document", "§8 for each part", " + ".join(document) or "0"),
            *put.parts({part: counts[part] for part in parts}),
            *put.output(),
        ]
    )


def deformable_gradient(
    N: int,
    C: int,
    M: int,
    window: Window,
    *,
    groups: int = 1,
    offset_groups: int = 1,
    masked: int = 0,
    branches: Sequence[str] = (),
    biases: Sequence[str] = (),
    parts: Sequence[str],
) -> Costs:
    """Return what the gradients of a deformable convolution cost, part by part.

    The gradients of the samples, "columns", and of the weight cost what the forward kernel does.
    Besides, each sample of each channel takes 4 multiplies with its corners for the gradients of
    its place and its mask, 4 where its value is needed again, and 4 to spread its own gradient over
    the corners.

    Parameters
    ----------
    N, C, M, groups, offset_groups : int
        Images, input channels, output channels, weight groups, offset groups.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    masked : int
        How many times the corners of a sample meet its mask, or its mask's gradient.
    branches, biases : sequence of str
        Which of "offset" and "mask" are made by convolutions, and which of these have a bias.
    parts : sequence of str
        Which of "columns", "corner weights", "corner products", "mask", "positions", "corner
        values", "input" and "weight" are run; of a branch also its forward pass, "offset branch",
        and its gradients, "offset branch input" and "offset branch weight".

    Returns
    -------
    Costs
        Parameters, document, dense, in bounds and phases (the same: all parts, then each), output
        size.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more, `groups` does not divide C and M, or
        `offset_groups` does not divide C.

    References
    ----------
    Document §9; Dai et al., arXiv:1703.06211.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = deformable_gradient(1, 3, 2, window(8, 3), parts=["positions", "input"])
    >>> print(costs["dense, positions"], "|", costs["dense, input"])
    4·G·K²·OH·OW = 4·1·9·6·6 = 1,296 | 4·C·K²·OH·OW = 4·3·9·6·6 = 3,888
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M, g=groups, G=offset_groups)
    K, shared = put.K, "/g" if groups > 1 else ""
    each = {
        "columns": f"M·C{shared}",
        "corner weights": "4·G",
        "corner products": "4·C",
        "mask": f"{4 * masked}·G",
        "positions": "4·G",
        "corner values": "4·C",
        "input": "4·C",
        "weight": f"M·C{shared}",
    }
    counts = {part: (f"{put.n}{of}·{K}·OH·OW",) * 3 for part, of in each.items()}
    made = {"offset": f"2·G·{K}", "mask": f"G·{K}"}
    for name in branches:
        channels = f"{put.n}{made[name]}·C"
        forward, inside = f"{channels}·{K}·OH·OW", f"{channels}·V_h·V_w"
        counts[f"{name} branch"] = counts[f"{name} branch weight"] = forward, inside, forward
        back = f"{channels}·{K}·H·W", inside, f"{channels}·U_h·U_w"
        counts[f"{name} branch input"] = back
    weights = [f"I·O·{K}{shared}", *(f"I·{made[name]}·{K}" for name in branches)]
    held = " + ".join(made[name] for name in biases)
    return Costs(
        [
            put("parameters", "§1", " + ".join(weights)),
            *([put("bias", "one a channel", held)] if biases else []),
            put("document", "§8 forward", f"{put.n}{K}·C·M{shared}·H·W"),
            *put.parts({part: counts[part] for part in parts}),
            *put.output(),
        ]
    )


def grouped(N: int, C: int, M: int, window: Window, *, groups: int, bias: bool = False) -> Costs:
    """Return the costs of a grouped convolution: g convolutions of C/g channels to M/g.

    Parameters
    ----------
    N, C, M, groups : int
        Images, input channels, output channels, groups.
    window : Window
        The geometry, from `jitconv.shapes.window`.
    bias : bool
        Whether a bias of M values is held as well.

    Returns
    -------
    Costs
        Parameters, parameters of a group, [bias,] document, dense, in bounds, output size,
        [effective kernel size,] ratio to standard.

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more, or `groups` does not divide C and M.

    References
    ----------
    Document §8.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = grouped(1, 64, 128, window(56, 3, padding="same"), groups=4)
    >>> for name in ("parameters", "parameters of a group", "document"):
    ...     print(name, "|", costs[name])
    parameters | K²·C·M/g = 9·64·128/4 = 18,432
    parameters of a group | K²·(C/g)·(M/g) = 9·(64/4)·(128/4) = 4,608
    document | K²·C·M·H·W/g = 9·64·128·56·56/4 = 57,802,752
    """
    put = _Put(N, window, C=C, M=M, g=groups)
    n, K = put.n, put.K
    return Costs(
        [
            put("parameters", "§8", f"{K}·C·M/g"),
            put("parameters of a group", "§8", f"{K}·(C/g)·(M/g)"),
            *put.bias(bias),
            put("document", "§8", f"{n}{K}·C·M·H·W/g"),
            *put.passes({"kernel": (f"{n}M·(C/g)·{K}·OH·OW", f"{n}M·(C/g)·V_h·V_w")}),
            *put.output(),
            put("ratio to standard", "§8", "1/g"),
        ]
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
) -> Costs:
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

    Returns
    -------
    Costs
        Parameters, [bias,] document, dense and in bounds (all passes, [offset branch, mask branch,]
        corner weights, corner values, [mask,] kernel), output size, [effective kernel size].

    Raises
    ------
    TypeError, ValueError
        If a number is no integer, negative, or 2³¹ and more, `groups` does not divide C and M, or
        `offset_groups` does not divide C.

    References
    ----------
    Document §9; Dai et al., arXiv:1703.06211; the mask: Zhu et al., arXiv:1811.11168.

    Examples
    --------
    >>> from jitconv.shapes import window
    >>> costs = deformable(1, 3, 2, window(8, 3), samples=9 * 36)
    >>> for name in costs:
    ...     if name.startswith("in bounds,"):
    ...         print(name, "|", costs[name])
    in bounds, corner weights | 4·G·K²·OH·OW = 4·1·9·6·6 = 1,296
    in bounds, corner values | 4·C·K²·OH·OW = 4·3·9·6·6 = 3,888
    in bounds, kernel | M·(C/G)·V_s = 2·(3/1)·324 = 1,944
    """
    put = _Put(N, window, C=C, I=C, M=M, O=M, g=groups, G=offset_groups, V_s=samples)
    n, K = put.n, put.K
    shared = "/g" if groups > 1 else ""
    offsets, masks = f"2·G·{K}", f"G·{K}"  # output channels of the branches
    branches = [("offset branch", offsets)] * layer + [("mask branch", masks)] * (layer and mask)
    passes = {name: (f"{n}{made}·C·{K}·OH·OW", f"{n}{made}·C·V_h·V_w") for name, made in branches}
    for name, each in [("corner weights", "4·G"), ("corner values", "4·C")] + [
        ("mask", "C")
    ] * mask:
        passes[name] = (f"{n}{each}·{K}·OH·OW", f"{n}{each}·{K}·OH·OW")
    passes["kernel"] = (f"{n}M·C{shared}·{K}·OH·OW", f"M·(C/G){shared}·V_s")
    weights = [f"I·O·{K}{shared}", *(f"I·{made}·{K}" for _, made in branches)]
    outputs = " + ".join([f"M{shared}", *(made for _, made in branches)])
    held = {"M": bias, offsets: offset_bias, masks: mask_bias}
    biases = [channels for channels in held if held[channels]]
    return Costs(
        [
            put("parameters", "§1", " + ".join(weights)),
            *([put("bias", "one a channel", " + ".join(biases))] if biases else []),
            put("document", "§8", f"{n}{K}·C·{f'({outputs})' if layer else outputs}·H·W"),
            *put.passes(passes, "taps and samples in the image"),
            *put.output(),
        ],
        seen_as="deformable",
    )


class _Put:
    """Puts the numbers of one call into the symbols of its formulas."""

    def __init__(self, N: int, window: Window, transposed: bool = False, **values: int):
        KH, KW = window.kernel
        self.K = "K²" if KH == KW else "KH·KW"
        self.n = "" if N == 1 else "N·"  # as the document writes it for one image
        self.window, self.transposed = window, transposed
        checks.integer("N", N, 0)
        for symbol, value in values.items():
            if symbol != "V_s":  # a count, which may be of any size
                checks.integer(symbol, value, 1)
        for g, channels in (("g", "C"), ("g", "M"), ("G", "C")):
            if g in values:
                checks.divides(g, values[g], values[channels], channels)
        # the phases of a transposed convolution: of this one, or of the gradient of its input
        phased = window.output if transposed else window.size
        ends = [before for before, _ in window.padding]
        axes = zip(phased, window.kernel, window.stride, ends, window.dilation, strict=True)
        pairs = {
            ("KH", "KW"): window.kernel,
            ("H", "W"): window.size,
            ("OH", "OW"): window.output,
            ("V_h", "V_w"): window.taps,
            ("U_h", "U_w"): [taps_of_phases(*axis) for axis in axes],
        }
        self.values = {"N": N, "K": KH, "K²": KH * KW, **values}
        for symbols, numbers in pairs.items():
            self.values |= zip(symbols, numbers, strict=True)

    def __call__(self, name: str, section: str, symbols: str) -> Formula:
        return Formula.of(name, section, symbols, **self.values)

    def bias(self, held: bool) -> list[Formula]:
        return [self("bias", "one a channel", "M")] if held else []

    def passes(
        self, passes: dict[str, tuple[str, str]], in_bounds: str = "taps in the image"
    ) -> list[Formula]:
        """Dense and in-bounds counts of all passes, and of each where there are several."""
        parts = {"": tuple(map(" + ".join, zip(*passes.values(), strict=True)))}
        if len(passes) > 1:
            parts |= {f", {name}": symbols for name, symbols in passes.items()}
        return [
            self(f"{count}{name}", section, symbols)
            for name, both in parts.items()
            for count, section, symbols in zip(
                ("dense", "in bounds"), ("every tap", in_bounds), both, strict=True
            )
        ]

    def parts(self, parts: dict[str, tuple[str, str, str]]) -> list[Formula]:
        """Dense counts, those in bounds and those of phases: of all parts, then of each."""
        found = []
        for i, count in enumerate(("dense", "in bounds", "phases")):
            symbols = {part: of[i] for part, of in parts.items()}
            found.append(self(count, "every part", " + ".join(symbols.values()) or "0"))
            found += [self(f"{count}, {part}", "§8", text) for part, text in symbols.items()]
        return found

    def output(self) -> list[Formula]:
        """Return the output size, and the effective kernel where it differs from the kernel."""
        size, kernel, stride, padding, dilation, _, _, output_padding = self.window
        before, after = zip(*padding, strict=True)
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        axes = {"H": size, "k": reach, "P": before, "Q": after, "S": stride, "E": output_padding}
        both = "2·P" if before == after else "P + Q"
        if self.transposed:
            less = "2·P" if before == after else "P − Q"
            found = _each_axis("output", "§3", f"(H − 1)·S − {less} + k + E", **axes)
        else:
            found = _each_axis("output", "§1", f"⌊(H − k + {both})/S⌋ + 1", **axes)
        if reach != kernel:
            found += _each_axis("effective kernel", "§2", "D·(K − 1) + 1", D=dilation, K=kernel)
        return found


def _each_axis(name: str, section: str, symbols: str, **pairs: tuple[int, ...]) -> list[Formula]:
    """Return a formula for the height and one, with W for H, for the width; one if both agree."""
    height, width = (
        Formula.of(
            f"{name} {word}",
            section,
            symbols.replace("H", letter),
            **{symbol.replace("H", letter): pair[axis] for symbol, pair in pairs.items()},
        )
        for axis, (word, letter) in enumerate((("height", "H"), ("width", "W")))
    )
    if height.substituted == width.substituted:
        return [height._replace(name=f"{name} size")]
    return [height, width]
