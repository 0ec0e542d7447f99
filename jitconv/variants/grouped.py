"""Grouped convolution (그룹 컨볼루션), section 8 of the document.

The channels are cut into g groups. Each group of C/g input channels makes its own M/g output
channels and sees nothing of the others, so that parameters and multiplies shrink g times. The loops
are those of the dilated convolution, but for the channel at which a group begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import arrays, checks, formulas, shapes, tiles
from ..jit import njit, prange
from ..report import ConvResult, result


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
    >>> print(report.formulas[0])
    K²·C·M/g = 9·4·6/2 = 108
    >>> report.verify().multiplies
    972
    """
    groups = checks.integer("groups", groups, 1)
    layer = checks.layer(x, weight, bias, groups)
    window = shapes.window(layer.x.shape[2:], layer.weight.shape[2:], stride, padding, dilation)
    method = tiles.chosen(method)
    if method == "tiled":
        y, counts = tiles.run(layer, window, groups)
    else:
        padded, border = arrays.pad(layer.x, window.padding)
        y, counts = arrays.outputs(layer, window.output)
        steps = (window.stride, window.dilation, groups)
        grouped_loops(padded, border, layer.weight, layer.bias, y, *steps, counts)
    costs = partial(formulas.grouped, *layer.sizes, window, groups=groups, bias=layer.has_bias)
    return result("grouped", method, layer, y, counts, costs)
