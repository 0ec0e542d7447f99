"""Depthwise convolution (깊이별 컨볼루션), §5 of docs/document.md.

Every input channel has filters of its own and no channel meets another: the loop over input
channels is gone. It is the grouped convolution with as many groups as channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from ..call import Dense, counted, dense
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import ConvResult, Pass
from ..jit import njit, prange
from ..methods import run
from ..variant import Array, Variant


@njit(parallel=True)
def depthwise_loops(x, border, weight, bias, y, stride, dilation, counts):
    # x (N, C, HP, WP) padded, border (HP, WP) true on the zeros of the padding,
    # weight (M, 1, KH, KW), bias (M,), y (N, M, OH, OW), counts (N * M * OH, 2)
    N, M, OH, OW = y.shape
    _, _, KH, KW = weight.shape
    (SH, SW), (DH, DW) = stride, dilation
    for job in prange(N * M * OH):
        n, m, oh = job // (M * OH), job // OH % M, job % OH
        c = m // (M // x.shape[1])  # the only input channel that m reads
        multiplies, on_padding = 0, 0
        out = y[n, m, oh]
        out[:] = bias[m]
        for kh in range(KH):
            ih = oh * SH + kh * DH
            for kw in range(KW):
                w = weight[m, 0, kh, kw]
                row, edge = x[n, c, ih, kw * DW :], border[ih, kw * DW :]
                for ow in range(OW):
                    iw = np.uintp(ow * SW)
                    out[ow] += row[iw] * w
                    multiplies += 1
                    on_padding += edge[iw]
        counts[job] = multiplies, on_padding


def _direct(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    padded, border = call.padded()
    y, counts = call.outputs()
    steps = (call.window.stride, call.window.dilation)
    depthwise_loops(padded, border, call.weight, call.bias, y, *steps, counts)
    return y, counted(counts)


def _costs(call: Dense) -> Callable[[], Costs]:
    return partial(formulas.depthwise, *call.sizes, call.window, bias=call.has_bias)


def depthwise_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
) -> ConvResult:
    """Convolve each channel with filters of its own.

    Arguments, result and errors are those of `conv2d`, without groups.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (C·multiplier, 1, KH, KW)
        Of x's type. Output channel m reads input channel m // multiplier.
    bias : array_like (C·multiplier,), optional
        Added to every output of its channel.
    stride, padding, dilation, method
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, C·multiplier, OH, OW), or without N for one image, and `report`.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    References
    ----------
    Document §5.

    Examples
    --------
    The document's example, 8×8×3 with a 3×3 filter for each channel.

    >>> import numpy as np
    >>> y, report = depthwise_conv2d(np.ones((3, 8, 8)), np.ones((3, 1, 3, 3)))
    >>> y.shape, report.parameters, report.multiplies
    ((3, 6, 6), 27, 972)
    """
    return run(
        DEPTHWISE,
        dense(x, weight, bias, groups=None, stride=stride, padding=padding, dilation=dilation),
        method,
    )


DEPTHWISE = Variant(
    name="depthwise",
    korean="깊이별 컨볼루션",
    section="§5",
    idea="each channel has a kernel of its own, and none is mixed",
    function=depthwise_conv2d,
    direct=_direct,
    any_method=True,
    passes={"kernel": "weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "weight": Array("weight", "M, 1, KH, KW"),
        "bias": Array("bias", "M"),
    },
    costs=_costs,
    example={"C": 2, "M": 2, "H": 3, "W": 3, "KH": 2, "KW": 2},
    photo=lambda photo: depthwise_conv2d(photo.x, photo.each, padding="same"),
)
