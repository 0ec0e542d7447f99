"""The front door: one function for standard, dilated and grouped convolutions, as torch has it."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from .. import checks
from ..call import dense
from ..costs.report import ConvResult
from ..methods import run
from .dilated import DILATED
from .grouped import GROUPED
from .standard import STANDARD


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

    With groups it is a grouped convolution, with a dilation a dilated one, else a standard one.

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
    method : {'auto', 'direct', 'tiled', 'winograd'}
        "direct": the textbook loops of the variant's own file; "tiled": tiles that stay in
        registers, which "auto" takes; "winograd": fewer multiplies, for 3×3 kernels with stride 1
        and dilation 1, which "auto" never takes, since it rounds several times worse, and spreads
        one NaN or infinity over a tile of 4×4 outputs.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report`. The direct
        and the tiled loops multiply the zeros of the padding, as the document's formula does. Only
        where much of a dilated kernel lies outside the image, and it saves time, the tiled ones
        leave that out; the report says which formula was met.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed or does not fit the others, or the output would be empty or too
        large to hold.

    References
    ----------
    Document §1, §2 and §8.

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
    groups = checks.integer("groups", groups, 1)
    call = dense(x, weight, bias, groups=groups, stride=stride, padding=padding, dilation=dilation)
    if groups > 1:
        return run(GROUPED, call, method)
    return run(STANDARD if call.window.dilation == (1, 1) else DILATED, call, method)
