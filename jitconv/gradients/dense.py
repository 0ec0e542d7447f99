"""Gradients of the dense variants: with respect to the input, the weight and the bias."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..call import Dense
from ..call import dense as dense_call
from ..call import transposed as transposed_call
from ..costs import formulas
from ..variants.pointwise import pointwise_call
from . import weights
from .backward import GradResult, of_input, of_outputs, result, wanted


class Gradients(NamedTuple):
    """Gradients of the arrays of a dense convolution; None for one that was not asked for.

    Attributes
    ----------
    x, weight, bias : numpy.ndarray or None
        Of the shape of the array that they belong to.
    """

    x: np.ndarray | None
    weight: np.ndarray | None
    bias: np.ndarray | None


def run(
    name: str, call: Dense, dy: object, method: str, needs: Collection[str] | None
) -> GradResult:
    """Return the gradients of a checked forward call."""
    needed = wanted(needs, Gradients._fields, method)
    (N, C, M), window, groups, transposed = call.sizes, call.window, call.groups, call.transposed
    dy = of_outputs(dy, call, M)
    dx = dweight = None
    passes = []
    if "x" in needed:
        dx, done = of_input(dy, call.weight, window, groups, method, transposed)
        dx = dx if call.batched else dx[0]
        passes.append(done.within("input"))
    if "weight" in needed:
        x, outputs, walk = call.x, dy, window
        if transposed:  # input and output swap roles
            x, outputs, walk = dy, call.x, shapes.reversed_window(window)
        dweight, done = weights.run(x, outputs, walk, groups, method)
        passes.append(done.within("weight"))
    dbias = dy.sum(axis=(0, 2, 3)) if "bias" in needed else None
    costs = partial(formulas.gradient, N, C, M, window, groups=groups, transposed=transposed)
    grads = Gradients(dx, dweight, dbias)
    return result(name, grads, method, call, dy, call.parameters, passes, costs)


def _call(
    x: object, weight: object, groups: int | None, stride: Any, padding: Any, dilation: Any
) -> Dense:
    if groups is not None:
        groups = checks.integer("groups", groups, 1)
    return dense_call(
        x, weight, None, groups=groups, stride=stride, padding=padding, dilation=dilation
    )


def conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.conv2d` with respect to its arrays.

    Parameters
    ----------
    dy : array_like (N, M, OH, OW) or (M, OH, OW)
        The gradient with respect to the output, in its shape and of x's type.
    x, weight, stride, padding, dilation, groups
        As in the forward call.
    method : {'auto', 'direct', 'tiled'}
        As in the forward call.
    needs : collection of str, optional
        Which of "x", "weight" and "bias" to find; the others are None, and not a multiply is spent
        on them. All where it is left out.

    Returns
    -------
    GradResult
        `grads`, with the fields x, weight and bias, and `report` with the parts "input" and
        "weight". In bounds, each of them equals the forward pass: a step of training multiplies
        three times as much as a forward pass.

    Raises
    ------
    TypeError, ValueError
        As the forward function, or if dy has not the shape of its output.

    References
    ----------
    Document §3, Dumoulin and Visin, arXiv:1603.07285, chapter 4: the gradient of a convolution with
    respect to its input is the transposed convolution.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.arange(16.0).reshape(1, 4, 4), np.ones((1, 1, 3, 3))
    >>> (dx, dweight, dbias), report = conv2d(np.ones((1, 2, 2)), x, weight)
    >>> dx[0].astype(int)
    array([[1, 2, 2, 1],
           [2, 4, 4, 2],
           [2, 4, 4, 2],
           [1, 2, 2, 1]])
    >>> dweight[0, 0].astype(int), dbias
    (array([[10, 14, 18],
           [26, 30, 34],
           [42, 46, 50]]), array([4.]))
    >>> {name: report.value(f"in bounds, {name}") for name in report.verify().parts}
    {'input': 36, 'weight': 36}
    """
    call = _call(x, weight, groups, stride, padding, dilation)
    name = "standard" if call.window.dilation == (1, 1) else "dilated"
    return run(name if call.groups == 1 else "grouped", call, dy, method, needs)


def dilated_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    dilation: int | Sequence[int] = 2,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    groups: int = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.dilated_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy, x, weight, dilation, stride, padding, groups, method, needs
        As in `conv2d`.

    Returns
    -------
    GradResult
        As of `conv2d`.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    References
    ----------
    Document §2.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.arange(5.0).reshape(1, 1, 5), np.ones((1, 1, 1, 2))
    >>> grads, report = dilated_conv2d(np.ones((1, 1, 3)), x, weight)
    >>> grads.x[0, 0], grads.weight[0, 0, 0]
    (array([1., 1., 2., 1., 1.]), array([3., 9.]))
    """
    call = _call(x, weight, groups, stride, padding, dilation)
    return run("dilated" if call.groups == 1 else "grouped", call, dy, method, needs)


def grouped_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    groups: int,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.grouped_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy, x, weight, groups, stride, padding, dilation, method, needs
        As in `conv2d`.

    Returns
    -------
    GradResult
        As of `conv2d`.

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
    >>> x, weight = np.ones((4, 3, 3)), np.ones((2, 2, 3, 3))
    >>> grads, report = grouped_conv2d(np.ones((2, 1, 1)), x, weight, groups=2)
    >>> grads.weight.shape, report.parts
    ((2, 2, 3, 3), {'input': 36, 'weight': 36})
    """
    call = _call(x, weight, groups, stride, padding, dilation)
    return run("grouped", call, dy, method, needs)


def depthwise_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.depthwise_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy, x, weight, stride, padding, dilation, method, needs
        As in `conv2d`; weight is (C·multiplier, 1, KH, KW).

    Returns
    -------
    GradResult
        As of `conv2d`.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    References
    ----------
    Document §5.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.ones((3, 8, 8)), np.ones((3, 1, 3, 3))
    >>> grads, report = depthwise_conv2d(np.ones((3, 6, 6)), x, weight, needs=("weight",))
    >>> grads.x is None, grads.weight[2, 0, 0], report.parts
    (True, array([36., 36., 36.]), {'weight': 972})
    """
    call = _call(x, weight, None, stride, padding, dilation)
    return run("depthwise", call, dy, method, needs)


def pointwise_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.pointwise_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy, x, weight, stride, method, needs
        As in `conv2d`; weight is (M, C, 1, 1) or (M, C), and so is its gradient.

    Returns
    -------
    GradResult
        As of `conv2d`.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    References
    ----------
    Document §7.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.arange(8.0).reshape(2, 2, 2), np.array([[1.0, 10.0]])
    >>> grads, report = pointwise_conv2d(np.ones((1, 2, 2)), x, weight)
    >>> grads.x[:, 0, 0], grads.weight
    (array([ 1., 10.]), array([[ 6., 22.]]))
    """
    call = pointwise_call(x, weight, None, stride)
    (dx, dweight, dbias), report = run("pointwise", call, dy, method, needs)
    if dweight is not None:
        dweight = dweight.reshape(np.shape(weight))
    return GradResult(Gradients(dx, dweight, dbias), report)


def conv_transpose2d(
    dy: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.conv_transpose2d` with respect to its arrays.

    Parameters
    ----------
    dy : array_like (N, M, OH, OW) or (M, OH, OW)
        The gradient with respect to the output, in its shape and of x's type.
    x, weight, stride, padding, output_padding, dilation, groups
        As in the forward call.
    method, needs
        As in `conv2d`.

    Returns
    -------
    GradResult
        As of `conv2d`. The gradient with respect to the input is a convolution.

    Raises
    ------
    TypeError, ValueError
        As the forward function, or if dy has not the shape of its output.

    References
    ----------
    Document §3.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.array([[[1.0, 2.0]]]), np.array([[[[3.0, 4.0]]]])
    >>> grads, report = conv_transpose2d([[[1.0, 10.0, 100.0]]], x, weight)
    >>> grads.x, grads.weight
    (array([[[ 43., 430.]]]), array([[[[ 21., 210.]]]]))
    """
    call = transposed_call(
        x,
        weight,
        None,
        output_padding=output_padding,
        groups=checks.integer("groups", groups, 1),
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    return run("transposed", call, dy, method, needs)
