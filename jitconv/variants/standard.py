"""Standard convolution (컨볼루션), §1 of docs/document.md.

A kernel slides over the image. At each position it multiplies the pixels under it, in every input
channel, by its weights, and adds the products up: one output pixel. The stride (스트라이드) is the
step of the slide, the padding (패딩) the zeros around the image. Like every function here and in
deep learning, it correlates: the kernel is not flipped.
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
def standard_loops(x, border, weight, bias, y, stride, counts):
    # x (N, C, HP, WP) padded, border (HP, WP) true on the zeros of the padding,
    # weight (M, C, KH, KW), bias (M,), y (N, M, OH, OW), counts (N * M * OH, 2)
    N, M, OH, OW = y.shape
    _, C, KH, KW = weight.shape
    SH, SW = stride
    for job in prange(N * M * OH):  # a job is one output row
        n, m, oh = job // (M * OH), job // OH % M, job % OH
        multiplies, on_padding = 0, 0
        out = y[n, m, oh]
        out[:] = bias[m]
        for c in range(C):
            for kh in range(KH):
                ih = oh * SH + kh
                for kw in range(KW):
                    w = weight[m, c, kh, kw]
                    row, edge = x[n, c, ih, kw:], border[ih, kw:]
                    for ow in range(OW):  # innermost: neighbours in memory fill a vector register
                        iw = np.uintp(ow * SW)  # unsigned: needs no test for a negative index
                        out[ow] += row[iw] * w
                        multiplies += 1
                        on_padding += edge[iw]
        counts[job] = multiplies, on_padding


def _direct(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    padded, border = call.padded()
    y, counts = call.outputs()
    standard_loops(padded, border, call.weight, call.bias, y, call.window.stride, counts)
    return y, counted(counts)


def _costs(call: Dense) -> Callable[[], Costs]:
    return partial(formulas.standard, *call.sizes, call.window, bias=call.has_bias)


def standard_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    method: str = "auto",
) -> ConvResult:
    """Convolve images with a kernel: `conv2d` without dilation and groups.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (M, C, KH, KW)
        Of x's type.
    bias : array_like (M,), optional
        Added to every output of its channel.
    stride, padding, method
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report`.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    References
    ----------
    Document §1.

    Examples
    --------
    >>> import numpy as np
    >>> y, report = standard_conv2d(np.ones((1, 4, 4)), np.ones((1, 1, 3, 3)), stride=2, padding=1)
    >>> y[0].astype(int)
    array([[4, 6],
           [6, 9]])
    """
    return run(STANDARD, dense(x, weight, bias, stride=stride, padding=padding), method)


STANDARD = Variant(
    name="standard",
    korean="컨볼루션",
    section="§1",
    idea="a window slides, and every output is one sum over it",
    function=standard_conv2d,
    direct=_direct,
    any_method=True,
    passes={"kernel": "weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "weight": Array("weight", "M, C, KH, KW"),
        "bias": Array("bias", "M"),
    },
    costs=_costs,
    example={"C": 1, "M": 1, "H": 4, "W": 4, "KH": 3, "KW": 3},
    photo=lambda photo: standard_conv2d(photo.x, photo.dense, padding="same"),
)
