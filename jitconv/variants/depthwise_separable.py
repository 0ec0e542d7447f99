"""Depthwise separable convolution (깊이별 분리 가능 컨볼루션), §6 of docs/document.md.

Two convolutions in a row: depthwise filters in space, channel by channel; pointwise (1×1) then
mixes the channels. Together they cost 1/M + 1/K² of the standard convolution. The loops are those
of `depthwise.py` and `pointwise.py`, run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import checks
from ..call import Dense, dense
from ..costs import formulas
from ..costs.report import ConvResult, CostReport
from ..methods import run
from ..variant import Array, Variant
from .depthwise import DEPTHWISE
from .pointwise import pointwise_conv2d


def depthwise_separable_call(
    x: object,
    depthwise_weight: object,
    pointwise_weight: object,
    stride: int | Sequence[int],
    padding: int | str | Sequence,
    dilation: int | Sequence[int],
) -> tuple[Dense, np.ndarray]:
    """Check the arrays: return the depthwise call, and the pointwise weight."""
    images, batched = checks.image(x)
    pointwise_weight = checks.floats("pointwise_weight", pointwise_weight, images.dtype)
    call = dense(
        images if batched else images[0],
        depthwise_weight,
        None,
        groups=None,
        name="depthwise_weight",
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    middle = call.sizes[2]
    if pointwise_weight.ndim not in (2, 4) or pointwise_weight.shape[1:] not in (
        (middle,),
        (middle, 1, 1),
    ):
        raise ValueError(
            f"pointwise_weight: must be (M, {middle}, 1, 1) or (M, {middle}) to take "
            f"the {middle} channels that depthwise_weight {call.weight.shape} makes, "
            f"got shape {pointwise_weight.shape}"
        )
    return call, pointwise_weight


def depthwise_separable_conv2d(
    x: ArrayLike,
    depthwise_weight: ArrayLike,
    pointwise_weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
) -> ConvResult:
    """Convolve each channel on its own, then combine the channels of each pixel.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    depthwise_weight : array_like (C·multiplier, 1, KH, KW)
        As in `depthwise_conv2d`.
    pointwise_weight : array_like (M, C·multiplier, 1, 1) or (M, C·multiplier)
        As in `pointwise_conv2d`.
    bias : array_like (M,), optional
        Added to every output of its channel, after the pointwise convolution.
    stride, padding, dilation
        Of the depthwise convolution, as in `conv2d`.
    method : {'auto', 'direct', 'tiled'}
        Of both, as in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report` with the parts
        "depthwise" and "pointwise".

    Raises
    ------
    TypeError, ValueError
        As `depthwise_conv2d` and `pointwise_conv2d`; the message names the weight.

    References
    ----------
    Document §6; Howard et al., arXiv:1704.04861.

    Examples
    --------
    >>> import numpy as np
    >>> x, depthwise, pointwise = np.ones((4, 6, 6)), np.ones((4, 1, 3, 3)), np.ones((8, 4))
    >>> y, report = depthwise_separable_conv2d(x, depthwise, pointwise, padding=1)
    >>> report.parts, float(y[0, 2, 2])
    ({'depthwise': 1296, 'pointwise': 1152}, 36.0)
    """
    call, pointwise_weight = depthwise_separable_call(
        x, depthwise_weight, pointwise_weight, stride, padding, dilation
    )
    N, C, middle = call.sizes
    M = pointwise_weight.shape[0]
    checks.biases(bias, M, call.x.dtype)
    between, depthwise = run(DEPTHWISE, call, method)
    y, pointwise = pointwise_conv2d(between, pointwise_weight, bias, method=method)
    report = CostReport(
        DEPTHWISE_SEPARABLE.name,
        pointwise.method,
        y.shape,
        depthwise.parameters + pointwise.parameters,
        (depthwise.passes[0].within("depthwise"), pointwise.passes[0].within("pointwise")),
        DEPTHWISE_SEPARABLE.costs(N, C, middle, M, call.window, bias=bias is not None),
    )
    return ConvResult(y, report)


DEPTHWISE_SEPARABLE = Variant(
    name="depthwise separable",
    korean="깊이별 분리 가능 컨볼루션",
    section="§6",
    idea="depthwise first, then 1×1 mixes the channels",
    function=depthwise_separable_conv2d,
    passes={"depthwise": "depthwise_weight", "pointwise": "pointwise_weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "depthwise_weight": Array("weight", "B, 1, KH, KW"),
        "pointwise_weight": Array("weight", "M, B, 1, 1"),
        "bias": Array("bias", "M"),
    },
    costs=lambda *sizes, bias: partial(formulas.depthwise_separable, *sizes, bias=bias),
    example={"C": 2, "B": 2, "M": 2, "H": 3, "W": 3, "KH": 2, "KW": 2},
    photo=lambda photo: depthwise_separable_conv2d(photo.x, photo.each, photo.mix, padding="same"),
)
