"""The gradient of a weight: dy times what its tap met, summed over all outputs and images.

An output is a sum of pixels times weights. So how much it changes with a weight is the pixel that
the weight met there; and all outputs that this weight made, weighted by how much each of them
matters, dy, are its gradient. One kernel for all dense variants: where groups keep channels apart,
their weights do not exist; a transposed convolution has the roles of its input and output swapped.
"""

from __future__ import annotations

import numpy as np

from ..call import pad
from ..costs.report import Pass
from ..jit import njit, prange
from ..methods.tiled import products, turned_products
from ..methods.tiled.registers import LANES
from ..shapes import Window


@njit(parallel=True)
def weight_loops(x, border, dy, dweight, stride, dilation, groups, counts):
    # x (N, C, HP, WP) padded, border (HP, WP) true on the zeros of the padding,
    # dy (N, M, OH, OW), dweight (M, C/g, KH, KW), counts (M * C/g, 2)
    N, M, OH, OW = dy.shape
    _, CG, KH, KW = dweight.shape
    (SH, SW), (DH, DW) = stride, dilation
    for job in prange(M * CG):  # a job is one pair of channels
        m, c = job // CG, job % CG
        first = m // (M // groups) * CG  # the first input channel of m's group
        multiplies, on_padding = 0, 0
        for kh in range(KH):
            for kw in range(KW):
                total = dweight.dtype.type(0)
                for n in range(N):
                    for oh in range(OH):
                        ih, out = oh * SH + kh * DH, dy[n, m, oh]
                        row, edge = x[n, first + c, ih, kw * DW :], border[ih, kw * DW :]
                        for ow in range(OW):
                            iw = np.uintp(ow * SW)
                            total += out[ow] * row[iw]
                            multiplies += 1
                            on_padding += edge[iw]
                dweight[m, c, kh, kw] = total
        counts[job] = multiplies, on_padding


def run(
    x: np.ndarray, dy: np.ndarray, window: Window, groups: int, method: str
) -> tuple[np.ndarray, Pass]:
    """Return the gradient of a weight, and what its loops counted.

    Parameters
    ----------
    x : numpy.ndarray (N, C, H, W)
        What the weight's taps met.
    dy : numpy.ndarray (N, M, OH, OW)
        The outputs' gradients.
    window : Window
        How the taps walked over x.
    groups : int
        Parts into which the channels are cut.
    method : str
        "direct" for these loops, else tiles.

    Returns
    -------
    dweight : numpy.ndarray (M, C/groups, KH, KW)
    done : Pass
    """
    if method != "direct":
        H, W = window.size
        if groups == x.shape[1] >= LANES and H * W >= LANES:
            return turned_products.run(x, dy, window)
        return products.run(x, dy, window, groups)
    padded, border = pad(x, window.padding)
    M, CG = dy.shape[1], x.shape[1] // groups
    dweight = np.empty((M, CG, *window.kernel), dy.dtype)
    counts = np.zeros((M * CG, 2), np.int64)
    weight_loops(padded, border, dy, dweight, window.stride, window.dilation, groups, counts)
    multiplies, on_padding = counts.sum(axis=0).tolist()
    return dweight, Pass("weight", multiplies, on_padding)
