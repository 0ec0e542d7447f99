"""Dilated or atrous convolution (팽창 컨볼루션), §2 of docs/document.md.

The taps of the kernel stand `dilation` pixels apart, as if zeros filled the gaps. A 3×3 kernel with
rate 2 sees 5×5 pixels (수용 영역) with 9 parameters and 9 multiplies. The loops are those of the
standard convolution, but for the step of the taps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..call import Dense, counted, dense, empty
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import ConvResult, Pass
from ..jit import njit, prange
from ..methods import run
from ..variant import Array, Variant
from .grouped import GROUPED


@njit(parallel=True)
def dilated_loops(x, border, weight, bias, y, stride, dilation, counts):
    # x (N, C, HP, WP) padded, border (HP, WP) true on the zeros of the padding,
    # weight (M, C, KH, KW), bias (M,), y (N, M, OH, OW), counts (N * M * OH, 2)
    N, M, OH, OW = y.shape
    _, C, KH, KW = weight.shape
    (SH, SW), (DH, DW) = stride, dilation
    for job in prange(N * M * OH):
        n, m, oh = job // (M * OH), job // OH % M, job % OH
        multiplies, on_padding = 0, 0
        out = y[n, m, oh]
        out[:] = bias[m]
        for c in range(C):
            for kh in range(KH):
                ih = oh * SH + kh * DH
                for kw in range(KW):
                    w = weight[m, c, kh, kw]
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
    dilated_loops(padded, border, call.weight, call.bias, y, *steps, counts)
    return y, counted(counts)


def _costs(call: Dense) -> Callable[[], Costs]:
    return partial(formulas.dilated, *call.sizes, call.window, bias=call.has_bias)


def dilated_conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    dilation: int | Sequence[int] = 2,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    groups: int = 1,
    method: str = "auto",
) -> ConvResult:
    """Convolve with a kernel whose taps stand `dilation` pixels apart.

    Arguments, result and errors are those of `conv2d`; only the default of `dilation` differs. With
    groups it is a grouped convolution.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (M, C/groups, KH, KW)
        Of x's type.
    bias : array_like (M,), optional
        Added to every output of its channel.
    dilation : int or (int, int)
        Pixels from one tap to the next; 1 is the standard convolution.
    stride, padding, groups, method
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
    Document §2; Yu and Koltun, arXiv:1511.07122.

    Examples
    --------
    >>> import numpy as np
    >>> y, report = dilated_conv2d(np.ones((1, 7, 7)), np.ones((1, 1, 3, 3)), dilation=2)
    >>> y.shape, report.parameters, report.value("effective kernel size")
    ((1, 3, 3), 9, 5)
    """
    groups = checks.integer("groups", groups, 1)
    call = dense(x, weight, bias, groups=groups, stride=stride, padding=padding, dilation=dilation)
    return run(GROUPED if groups > 1 else DILATED, call, method)


def zero_stuffed_kernel(weight: ArrayLike, dilation: int | Sequence[int]) -> np.ndarray:
    """Write the zeros of a dilated kernel out.

    `conv2d` with it gives what `dilated_conv2d` gives, for more multiplies.

    Parameters
    ----------
    weight : array_like (..., KH, KW)
        float32 or float64.
    dilation : int or (int, int)
        Pixels from one tap to the next.

    Returns
    -------
    numpy.ndarray (..., DH·(KH − 1) + 1, DW·(KW − 1) + 1)
        The taps, with zeros between them.

    Raises
    ------
    TypeError, ValueError
        If weight is no float array of 2 axes or more, or dilation is less than 1.

    References
    ----------
    Document §2: the gaps are filled with zeros (나머지 부분은 0으로 채워진다).

    Examples
    --------
    >>> import numpy as np
    >>> zero_stuffed_kernel(np.ones((2, 2)), 2).astype(int)
    array([[1, 0, 1],
           [0, 0, 0],
           [1, 0, 1]])
    """
    weight = checks.floats("weight", weight)
    if weight.ndim < 2 or 0 in weight.shape:
        raise ValueError(
            "weight: must have the axes (..., KH, KW), each at least 1 long, "
            f"got shape {weight.shape}"
        )
    DH, DW = checks.height_width("dilation", dilation, 1)
    *front, KH, KW = weight.shape
    shape = (*front, shapes.effective_kernel_size(KH, DH), shapes.effective_kernel_size(KW, DW))
    stuffed = empty("kernel", shape, weight.dtype)
    stuffed[...] = 0
    stuffed[..., ::DH, ::DW] = weight
    return stuffed


DILATED = Variant(
    name="dilated",
    korean="팽창 컨볼루션",
    section="§2",
    idea="the taps stand apart: more is seen with as many multiplies",
    function=dilated_conv2d,
    direct=_direct,
    any_method=True,
    passes={"kernel": "weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "weight": Array("weight", "M, C/g, KH, KW"),
        "bias": Array("bias", "M"),
    },
    costs=_costs,
    example={"C": 1, "M": 1, "H": 5, "W": 5, "KH": 2, "KW": 2},
    options={"dilation": 2},
    photo=lambda photo: dilated_conv2d(photo.x, photo.dense, padding="same"),
)
