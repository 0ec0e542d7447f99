"""Pointwise convolution (1×1 컨볼루션), §7 of docs/document.md.

Nothing is gathered from neighbours: every output pixel is a linear combination (선형 조합) of the
channels of one input pixel. The loops over the taps are gone; what is left is a matrix product over
the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import checks
from ..call import Dense, counted, dense
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import ConvResult, Pass
from ..jit import njit, prange
from ..methods import run
from ..variant import Array, Variant


@njit(parallel=True)
def pointwise_loops(x, weight, bias, y, stride, counts):
    # x (N, C, H, W), weight (M, C, 1, 1), bias (M,), y (N, M, OH, OW)
    N, M, OH, OW = y.shape
    C = weight.shape[1]
    SH, SW = stride
    for job in prange(N * M * OH):
        n, m, oh = job // (M * OH), job // OH % M, job % OH
        multiplies = 0
        out = y[n, m, oh]
        out[:] = bias[m]
        for c in range(C):
            w, row = weight[m, c, 0, 0], x[n, c, oh * SH]
            for ow in range(OW):
                out[ow] += row[np.uintp(ow * SW)] * w
                multiplies += 1
        counts[job, 0] = multiplies


def _direct(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    y, counts = call.outputs()
    pointwise_loops(call.x, call.weight, call.bias, y, call.window.stride, counts)
    return y, counted(counts)


def _costs(call: Dense) -> Callable[[], Costs]:
    return partial(formulas.pointwise, *call.sizes, call.window, bias=call.has_bias)


def pointwise_call(x: object, weight: object, bias: object, stride: int | Sequence[int]) -> Dense:
    """Check the arrays of a pointwise convolution, whose weight may have two axes."""
    images, batched = checks.image(x)
    weight = checks.floats("weight", weight, images.dtype)
    if weight.ndim == 2:
        weight = weight[:, :, np.newaxis, np.newaxis]
    if weight.ndim == 4 and weight.shape[2:] != (1, 1):
        raise ValueError(
            f"weight: must be (M, C, 1, 1) or (M, C), got shape {weight.shape}; "
            "conv2d takes larger kernels"
        )
    return dense(images if batched else images[0], weight, bias, stride=stride)


def pointwise_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    method: str = "auto",
) -> ConvResult:
    """Combine the channels of each pixel.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (M, C, 1, 1) or (M, C)
        Of x's type.
    bias : array_like (M,), optional
        Added to every output of its channel.
    stride : int or (int, int)
        Step in pixels.
    method : {'auto', 'direct', 'tiled'}
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report`.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed or does not fit the others, or the kernel is larger than 1×1.

    References
    ----------
    Document §7.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(8.0).reshape(2, 2, 2)
    >>> y, report = pointwise_conv2d(x, [[1, 1], [-1, 1], [0, 2]])
    >>> y[0], report.multiplies
    (array([[ 4.,  6.],
           [ 8., 10.]]), 24)
    """
    return run(POINTWISE, pointwise_call(x, weight, bias, stride), method)


POINTWISE = Variant(
    name="pointwise",
    korean="1×1 컨볼루션",
    section="§7",
    idea="a weighted sum over the channels of one pixel",
    function=pointwise_conv2d,
    direct=_direct,
    any_method=True,
    passes={"kernel": "weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "weight": Array("weight", "M, C, 1, 1"),
        "bias": Array("bias", "M"),
    },
    costs=_costs,
    example={"C": 3, "M": 2, "H": 2, "W": 2},
    photo=lambda photo: pointwise_conv2d(photo.x, photo.mix),
)
