"""What all gradients share: their checks, the gradient of the input, the result.

Forward, a pixel is multiplied by a weight and lands in an output. Backward, what matters about the
output, dy, is multiplied by the same weight and lands back in the pixel. That is section 3's
transposed convolution of dy with the same weight, and the other way round for a transposed
convolution: no loops are new, and in bounds as many multiplies as forward.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import checks, shapes
from ..call import Call, Dense
from ..costs.formula import Costs
from ..costs.report import CostReport, Pass
from ..methods import run
from ..shapes import Window
from ..variants.grouped import GROUPED
from ..variants.transposed import TRANSPOSED

NOT_COUNTED = ("the bias (its gradient is a sum of dy)", "index arithmetic", "comparisons")


class GradResult(NamedTuple):
    """Gradients and their costs: ``grads, report = gradients.conv2d(dy, x, weight)``.

    Attributes
    ----------
    grads : NamedTuple
        Fields are named as the forward function names its arrays; None where not asked for.
    report : CostReport
        Counted multiplies beside the formulas, part by part.
    """

    grads: Any
    report: CostReport


def wanted(needs: Collection[str] | None, names: Sequence[str], method: object) -> set[str]:
    """Return which gradients are wanted: all of `names`, or those in `needs`."""
    if not isinstance(method, str) or method not in ("auto", "direct", "tiled"):
        raise ValueError(f"method: must be one of 'auto', 'direct', 'tiled', got {method!r}")
    if needs is None:
        return set(names)
    known = isinstance(needs, Collection) and all(name in names for name in needs)
    if isinstance(needs, str) or not known:
        raise ValueError(f"needs: must hold some of {', '.join(map(repr, names))}, got {needs!r}")
    return set(needs)


def of_outputs(dy: object, call: Call, channels: int) -> np.ndarray:
    """Return dy as an array (N, M, OH, OW) that fits the output of a checked call."""
    array = checks.floats("dy", dy, call.x.dtype)
    expected = (call.x.shape[0], channels, *call.window.output)[not call.batched :]
    if array.shape != expected:
        raise ValueError(
            f"dy: needs the shape that the forward pass gives, {expected}, got shape {array.shape}"
        )
    return array if call.batched else array[np.newaxis]


def of_input(
    dy: np.ndarray,
    weight: np.ndarray,
    window: Window,
    groups: int,
    method: str,
    transposed: bool = False,
) -> tuple[np.ndarray, Pass]:
    """Return the gradient with respect to the images, and what was counted.

    Parameters
    ----------
    dy : numpy.ndarray (N, M, OH, OW)
        The gradient with respect to the outputs.
    weight, window, groups, transposed
        Of the forward pass.
    method : str
        As in `conv2d`.

    Returns
    -------
    dx : numpy.ndarray (N, C, H, W)
    done : Pass
    """
    C = weight.shape[0] if transposed else weight.shape[1] * groups
    settings = (weight, np.zeros(C, dy.dtype), False, groups, not transposed)
    call = Dense(dy, True, shapes.reversed_window(window), 0, *settings)
    dx, report = run(GROUPED if transposed else TRANSPOSED, call, method)
    return dx, report.passes[0]


def result(
    name: str,
    grads: NamedTuple,
    method: str,
    call: Call,
    dy: np.ndarray,
    parameters: int,
    passes: Sequence[Pass],
    costs: Callable[..., Costs],
    besides: tuple[str, ...] = (),
) -> GradResult:
    """Return gradients with their report; `costs` takes the parts that were run."""
    parts = [done.name for done in passes]
    report = CostReport(
        f"gradient of {name}",
        "direct" if method == "direct" else "tiled",
        dy.shape if call.batched else dy.shape[1:],
        parameters,
        tuple(passes),
        lambda: costs(parts=parts),
        NOT_COUNTED + besides,
    )
    return GradResult(grads, report)
