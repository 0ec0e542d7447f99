"""Gradients of a depthwise separable convolution: the pointwise one first, then the depthwise."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..costs import formulas
from ..methods import run
from ..shapes import window as window_of
from ..variants.depthwise import DEPTHWISE
from ..variants.depthwise_separable import depthwise_separable_call
from . import weights
from .backward import GradResult, of_input, of_outputs, result, wanted


class DepthwiseSeparableGradients(NamedTuple):
    """Gradients of a depthwise separable convolution; None for one that was not asked for.

    Attributes
    ----------
    x, depthwise_weight, pointwise_weight, bias : numpy.ndarray or None
        Of the shape of the array that they belong to.
    """

    x: np.ndarray | None
    depthwise_weight: np.ndarray | None
    pointwise_weight: np.ndarray | None
    bias: np.ndarray | None


def depthwise_separable_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    depthwise_weight: ArrayLike,
    pointwise_weight: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.depthwise_separable_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy : array_like (N, M, OH, OW) or (M, OH, OW)
        The gradient with respect to the output, in its shape and of x's type.
    x, depthwise_weight, pointwise_weight, stride, padding, dilation
        As in the forward call.
    method : {'auto', 'direct', 'tiled'}
        As in the forward call.
    needs : collection of str, optional
        Which of "x", "depthwise_weight", "pointwise_weight" and "bias" to find; all where it is
        left out.

    Returns
    -------
    GradResult
        `grads`, with these fields, and `report` with the parts "depthwise", which makes again what
        the pointwise weight's gradient needs, "pointwise weight", "pointwise input", "depthwise
        weight" and "depthwise input".

    Raises
    ------
    TypeError, ValueError
        As the forward function, or if dy has not the shape of its output.

    References
    ----------
    Document §6.

    Examples
    --------
    >>> import numpy as np
    >>> x, depthwise, pointwise = np.ones((2, 3, 3)), np.ones((2, 1, 3, 3)), np.ones((1, 2))
    >>> grads, report = depthwise_separable_conv2d(np.ones((1, 1, 1)), x, depthwise, pointwise)
    >>> grads.pointwise_weight, grads.depthwise_weight[0, 0, 0], report.parts["depthwise input"]
    (array([[9., 9.]]), array([1., 1., 1.]), 18)
    """
    call, pointwise = depthwise_separable_call(
        x, depthwise_weight, pointwise_weight, stride, padding, dilation
    )
    names = DepthwiseSeparableGradients._fields
    needed = wanted(needs, names, method)
    (N, C, middle), M, window = call.sizes, pointwise.shape[0], call.window
    dy = of_outputs(dy, call, M)
    pixels = window_of(window.output, 1)
    found: dict[str, np.ndarray] = {}
    passes = []
    if "pointwise_weight" in needed:
        between, report = run(DEPTHWISE, call, method)
        passes.append(report.passes[0].within("depthwise"))
        between = between if call.batched else between[np.newaxis]
        dweight, done = weights.run(between, dy, pixels, 1, method)
        found["pointwise_weight"] = dweight.reshape(pointwise.shape)
        passes.append(done.within("pointwise weight"))
    if needed & {"x", "depthwise_weight"}:
        mix = pointwise.reshape(M, middle, 1, 1)
        dbetween, done = of_input(dy, mix, pixels, 1, method)
        passes.append(done.within("pointwise input"))
    if "depthwise_weight" in needed:
        dweight, done = weights.run(call.x, dbetween, window, call.groups, method)
        found["depthwise_weight"] = dweight
        passes.append(done.within("depthwise weight"))
    if "x" in needed:
        dx, done = of_input(dbetween, call.weight, window, call.groups, method)
        found["x"] = dx if call.batched else dx[0]
        passes.append(done.within("depthwise input"))
    if "bias" in needed:
        found["bias"] = dy.sum(axis=(0, 2, 3))
    held = call.parameters + pointwise.size
    costs = partial(formulas.depthwise_separable_gradient, N, C, middle, M, window)
    grads = DepthwiseSeparableGradients(*map(found.get, names))
    return result("depthwise separable", grads, method, call, dy, held, passes, costs)
