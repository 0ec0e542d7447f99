"""Depthwise separable convolution (깊이별 분리 가능 컨볼루션), section 6 of the document.

Two convolutions in a row: depthwise gathers space, channel by channel; pointwise (1×1) then mixes
the channels. Together they cost 1/M + 1/K² of the standard convolution. The loops are those of
`depthwise.py` and `pointwise.py`, run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from numpy.typing import ArrayLike

from .. import checks, formulas, shapes
from ..report import ConvResult, CostReport, pack
from .depthwise import depthwise_conv2d
from .pointwise import pointwise_conv2d


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
    x, batched = checks.image(x)
    pointwise_weight = checks.floats("pointwise_weight", pointwise_weight, x.dtype)
    layer = checks.layer(x, depthwise_weight, None, groups=None, name="depthwise_weight")
    N, C, middle = layer.sizes
    if pointwise_weight.ndim not in (2, 4) or pointwise_weight.shape[1:] not in (
        (middle,),
        (middle, 1, 1),
    ):
        raise ValueError(
            f"pointwise_weight: must be (M, {middle}, 1, 1) or (M, {middle}) to take "
            f"the {middle} channels that depthwise_weight {layer.weight.shape} makes, "
            f"got shape {pointwise_weight.shape}"
        )
    checks.biases(bias, pointwise_weight.shape[0], x.dtype)
    between, depthwise = depthwise_conv2d(
        x, layer.weight, stride=stride, padding=padding, dilation=dilation, method=method
    )
    y, pointwise = pointwise_conv2d(between, pointwise_weight, bias, method=method)
    window = shapes.window(x.shape[2:], layer.weight.shape[2:], stride, padding, dilation)
    costs = partial(
        formulas.depthwise_separable, N, C, middle, y.shape[1], window, bias=bias is not None
    )
    passes = (
        depthwise.passes[0]._replace(name="depthwise"),
        pointwise.passes[0]._replace(name="pointwise"),
    )
    parameters = depthwise.parameters + pointwise.parameters
    return pack(
        batched,
        y,
        CostReport("depthwise separable", pointwise.method, y.shape, parameters, passes, costs),
    )
