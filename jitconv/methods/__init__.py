"""How a call is multiplied: methods, and the one place that chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..call import Call, Dense
from ..costs.formula import Costs
from ..costs.report import ConvResult, CostReport, Pass
from ..variant import Variant
from .direct import DIRECT
from .method import Method
from .tiled import TILED
from .winograd import WINOGRAD

METHODS: dict[str, Method] = {method.name: method for method in (TILED, DIRECT, WINOGRAD)}


class OnPaper(str):
    """A method's name that runs nothing: the checks, shape and formulas of an empty batch.

    Loops of no image would still need its padding, which may be larger than memory.
    """


def run(variant: Variant, call: Call, method: str) -> ConvResult:
    """Run a checked call, and report what its loops counted.

    Parameters
    ----------
    variant : Variant
        Whose call it is.
    call : Call
        What the variant's function checked.
    method : str
        The name of a method, or "auto" for the first that takes the call.

    Returns
    -------
    ConvResult
        The output and its report.

    Raises
    ------
    ValueError
        If `method` is no such word, or cannot run the call.
    """
    chosen = _chosen(variant, call, method)
    y, passes = (_not_run if isinstance(method, OnPaper) else chosen.run)(variant, call)
    if not call.batched:
        y = y[0]
    costs = variant.costs(call)
    if chosen.costs is not None:
        costs = partial(both, costs, chosen.costs(call))
    report = CostReport(
        variant.name,
        chosen.name,
        y.shape,
        call.parameters,
        passes,
        costs,
        variant.not_counted + chosen.not_counted,
    )
    return ConvResult(y, report)


def _not_run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    channels = call.sizes[2] if isinstance(call, Dense) else call.x.shape[1]
    return np.empty((0, channels, *call.window.output), call.x.dtype), (Pass("kernel", 0),)


def both(variant: Callable[[], Costs], method: Callable[[], Costs]) -> Costs:
    """Return the formulas of a variant, and those of a method."""
    formulas = variant()
    return Costs([*formulas.values(), *method().values()], formulas.seen_as)


def _chosen(variant: Variant, call: Call, name: str) -> Method:
    if not isinstance(name, str) or name not in ("auto", *METHODS):
        words = ", ".join(map(repr, ["auto", *sorted(METHODS)]))
        raise ValueError(f"method: must be one of {words}, got {name!r}")
    if name == "auto":
        return next(method for method in METHODS.values() if method.takes(variant, call))
    if not METHODS[name].takes(variant, call):
        able = [repr(method.name) for method in METHODS.values() if method.takes(variant, call)]
        why = METHODS[name].why_not(variant, call)
        raise ValueError(
            f"method: {name!r} {why or f'has no loops for this {variant.name} convolution'}; "
            f"write {' or '.join(able)}, or 'auto'"
        )
    return METHODS[name]
