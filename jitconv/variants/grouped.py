"""Grouped convolution (그룹 컨볼루션), §8 of docs/document.md.

The channels are cut into g groups. Each group of C/g input channels makes its own M/g output
channels and sees nothing of the others, so that parameters and multiplies shrink g times. The loops
are those of the dilated convolution, but for the channel at which a group begins.
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
def grouped_loops(x, border, weight, bias, y, stride, dilation, groups, counts):
    # x (N, C, HP, WP) padded, border (HP, WP) true on the zeros of the padding,
    # weight (M, C/g, KH, KW), bias (M,), y (N, M, OH, OW), counts (N * M * OH, 2)
    N, M, OH, OW = y.shape
    _, CG, KH, KW = weight.shape
    (SH, SW), (DH, DW) = stride, dilation
    for job in prange(N * M * OH):
        n, m, oh = job // (M * OH), job // OH % M, job % OH
        first = m // (M // groups) * CG  # the first input channel of m's group
        multiplies, on_padding = 0, 0
        out = y[n, m, oh]
        out[:] = bias[m]
        for c in range(CG):
            for kh in range(KH):
                ih = oh * SH + kh * DH
                for kw in range(KW):
                    w = weight[m, c, kh, kw]
                    row, edge = x[n, first + c, ih, kw * DW :], border[ih, kw * DW :]
                    for ow in range(OW):
                        iw = np.uintp(ow * SW)
                        out[ow] += row[iw] * w
                        multiplies += 1
                        on_padding += edge[iw]
        counts[job] = multiplies, on_padding


def _direct(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    padded, border = call.padded()
    y, counts = call.outputs()
    steps = (call.window.stride, call.window.dilation, call.groups)
    grouped_loops(padded, border, call.weight, call.bias, y, *steps, counts)
    return y, counted(counts)


def _costs(call: Dense) -> Callable[[], Costs]:
    return partial(
        formulas.grouped, *call.sizes, call.window, groups=call.groups, bias=call.has_bias
    )


def grouped_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    groups: int,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
) -> ConvResult:
    """Convolve each group of channels on its own.

    Arguments, result and errors are those of `conv2d`; `groups` must be named.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (M, C/groups, KH, KW)
        Of x's type.
    bias : array_like (M,), optional
        Added to every output of its channel.
    groups : int
        Parts into which the channels are cut; divides C and M.
    stride, padding, dilation, method
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
    Document §8.

    Examples
    --------
    >>> import numpy as np
    >>> y, report = grouped_conv2d(np.ones((4, 5, 5)), np.ones((6, 2, 3, 3)), groups=2)
    >>> print(report.costs["parameters"])
    K²·C·M/g = 9·4·6/2 = 108
    >>> report.verify().multiplies
    972
    """
    groups = checks.integer("groups", groups, 1)
    return run(
        GROUPED,
        dense(x, weight, bias, groups=groups, stride=stride, padding=padding, dilation=dilation),
        method,
    )


GROUPED = Variant(
    name="grouped",
    korean="그룹 컨볼루션",
    section="§8",
    idea="channels meet only within their group",
    function=grouped_conv2d,
    direct=_direct,
    any_method=True,
    passes={"kernel": "weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "weight": Array("weight", "M, C/g, KH, KW"),
        "bias": Array("bias", "M"),
    },
    costs=_costs,
    example={"C": 4, "M": 2, "g": 2, "H": 2, "W": 3, "KH": 2, "KW": 2},
    options={"groups": 2},
    photo=lambda photo: grouped_conv2d(
        photo.x,
        photo.dense[:, : photo.x.shape[1] // photo.groups],
        groups=photo.groups,
        padding="same",
    ),
)
