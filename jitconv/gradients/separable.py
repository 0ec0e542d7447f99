"""Gradients of a spatially separable convolution, one pass after the other.

Each pass is a depthwise convolution with a kernel of one row or one column, the same for all
channels. So each of them runs backwards as such a one does; what the channels' weights gain is
added up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..call import Dense
from ..costs import formulas
from ..methods import run
from ..shapes import Window
from ..variants.depthwise import DEPTHWISE
from ..variants.separable import separable_call
from . import weights
from .backward import GradResult, of_input, of_outputs, result, wanted


class SeparableGradients(NamedTuple):
    """Gradients of a separable convolution's arrays; None for one that was not asked for.

    Attributes
    ----------
    x, column, row : numpy.ndarray or None
        Of the shape of the array that they belong to.
    """

    x: np.ndarray | None
    column: np.ndarray | None
    row: np.ndarray | None


def _passes(window: Window) -> tuple[Window, Window]:
    """Return how the column walks over the image, and the row over what the column leaves."""
    size, kernel, stride, padding, dilation, output, taps, _ = window
    (KH, KW), (SH, SW), (above, beside), (DH, DW) = kernel, stride, padding, dilation
    between, none = (output[0], size[1]), (0, 0)
    down = (size, (KH, 1), (SH, 1), (above, none), (DH, 1), between, (taps[0], size[1]))
    across = (between, (1, KW), (1, SW), (none, beside), (1, DW), output, (output[0], taps[1]))
    return Window(*down), Window(*across)


def separable_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    column: ArrayLike,
    row: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.separable_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy : array_like (N, C, OH, OW) or (C, OH, OW)
        The gradient with respect to the output, in its shape and of x's type.
    x, column, row, stride, padding, dilation
        As in the forward call.
    method : {'auto', 'direct', 'tiled'}
        As in the forward call.
    needs : collection of str, optional
        Which of "x", "column" and "row" to find; all where it is left out.

    Returns
    -------
    GradResult
        `grads`, with the fields x, column and row, and `report` with the parts "column pass", which
        makes again what the row's gradient needs, "row weight", "row input", "column weight" and
        "column input".

    Raises
    ------
    TypeError, ValueError
        As the forward function, or if dy has not the shape of its output.

    References
    ----------
    Document §4.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> grads, report = separable_conv2d(np.ones((1, 1, 1)), x, [1, 2, 1], [1, 0, -1])
    >>> grads.x[0]
    array([[ 1.,  0., -1.],
           [ 2.,  0., -2.],
           [ 1.,  0., -1.]])
    >>> grads.column, grads.row
    (array([-2., -2., -2.]), array([12., 16., 20.]))
    """
    call = separable_call(x, column, row, stride, padding, dilation)
    needed = wanted(needs, SeparableGradients._fields, method)
    N, C = call.x.shape[:2]
    dy = of_outputs(dy, call, C)
    down, across = _passes(call.window)
    downs = np.tile(call.column.reshape(down.kernel), (C, 1, 1, 1))
    acrosses = np.tile(call.row.reshape(across.kernel), (C, 1, 1, 1))
    dx = dcolumn = drow = None
    passes = []
    if "row" in needed:
        again = Dense(call.x, True, down, 0, downs, np.zeros(C, dy.dtype), False, C)
        between, report = run(DEPTHWISE, again, method)
        passes.append(report.passes[0].within("column pass"))
        drow, done = weights.run(between, dy, across, C, method)
        drow = drow.sum(axis=(0, 1, 2))
        passes.append(done.within("row weight"))
    if needed & {"x", "column"}:
        dbetween, done = of_input(dy, acrosses, across, C, method)
        passes.append(done.within("row input"))
    if "column" in needed:
        dcolumn, done = weights.run(call.x, dbetween, down, C, method)
        dcolumn = dcolumn.sum(axis=(0, 1, 3))
        passes.append(done.within("column weight"))
    if "x" in needed:
        dx, done = of_input(dbetween, downs, down, C, method)
        dx = dx if call.batched else dx[0]
        passes.append(done.within("column input"))
    costs = partial(formulas.separable_gradient, N, C, call.window)
    grads = SeparableGradients(dx, dcolumn, drow)
    return result("separable", grads, method, call, dy, call.parameters, passes, costs)
