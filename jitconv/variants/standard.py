"""Standard convolution (컨볼루션), section 1 of the document.

A kernel slides over the image. At each position it multiplies the pixels under it, in every input
channel, by its weights, and adds the products up: one output pixel. The stride (스트라이드) is the
step of the slide, the padding (패딩) the zeros around the image. Like every function here and in
deep learning, it correlates: the kernel is not flipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import arrays, checks, formulas, shapes, tiles
from ..jit import njit, prange
from ..report import ConvResult, result
from .dilated import dilated_conv2d
from .grouped import grouped_conv2d


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


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    method: str = "auto",
) -> ConvResult:
    """Convolve images with a kernel, as `torch.nn.functional.conv2d` does; count every multiply.

    With `groups` it runs the loops of `grouped_conv2d`, with `dilation` those of `dilated_conv2d`.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (M, C/groups, KH, KW)
        Of x's type.
    bias : array_like (M,), optional
        Added to every output of its channel.
    stride : int or (int, int)
        Step of the kernel in pixels.
    padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Zeros around the image in pixels. 'same' gives ⌈size / stride⌉ outputs, the odd zero at the
        bottom and right.
    dilation : int or (int, int)
        Pixels from one tap to the next.
    groups : int
        Parts into which the channels are cut; each output channel sees one.
    method : {'auto', 'direct', 'tiled'}
        The loops of this file, those of `tiles.py`, or the faster of the two.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report`. The direct loops
        multiply the zeros of the padding, the tiled ones do not.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed or does not fit the others, or the output would be empty or too
        large to hold.

    References
    ----------
    Document §1.

    Examples
    --------
    >>> import numpy as np
    >>> y, report = conv2d(np.ones((1, 4, 4)), np.ones((1, 1, 3, 3)), padding=1, method="direct")
    >>> y[0].astype(int)
    array([[4, 6, 6, 4],
           [6, 9, 9, 6],
           [6, 9, 9, 6],
           [4, 6, 6, 4]])
    >>> report.multiplies, report.multiplies_on_padding, report.multiplies_in_bounds
    (144, 44, 100)
    """
    if checks.integer("groups", groups, 1) > 1:
        return grouped_conv2d(
            x,
            weight,
            bias,
            groups=groups,
            stride=stride,
            padding=padding,
            dilation=dilation,
            method=method,
        )
    if checks.pair("dilation", dilation, 1) != (1, 1):
        return dilated_conv2d(
            x, weight, bias, dilation=dilation, stride=stride, padding=padding, method=method
        )
    layer = checks.layer(x, weight, bias)
    window = shapes.window(layer.x.shape[2:], layer.weight.shape[2:], stride, padding)
    method = tiles.chosen(method)
    if method == "tiled":
        y, counts = tiles.run(layer, window)
    else:
        padded, border = arrays.pad(layer.x, window.padding)
        y, counts = arrays.outputs(layer, window.output)
        standard_loops(padded, border, layer.weight, layer.bias, y, window.stride, counts)
    costs = partial(formulas.standard, *layer.sizes, window, bias=layer.has_bias)
    return result("standard", method, layer, y, counts, costs)
