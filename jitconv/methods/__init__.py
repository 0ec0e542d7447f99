"""How a call is multiplied: methods, and the one place that chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..call import Call
from ..costs.formula import Costs
from ..costs.report import ConvResult, CostReport
from ..variant import Variant
from .direct import DIRECT
from .method import Method
from .tiled import TILED
from .winograd import WINOGRAD

METHODS: dict[str, Method] = {method.name: method for method in (TILED, DIRECT, WINOGRAD)}


def run(variant: Variant, call: Call, method: str) -> ConvResult:
    """Run a checked call, and report what its loops counted.

    Parameters
    ----------
    variant : Variant
        Whose call it is.
    call : Call
        What the variant's function checked.
    method : str
        The name of a method, or "auto" for the first that would be faster than those after it.

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
    y, passes = chosen.run(variant, call)
    if not call.batched:
        y = y[0]
    costs = variant.costs(call)
    if chosen.costs is not None:
        costs = partial(_both, costs, chosen.costs(call))
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


def _both(variant: Callable[[], Costs], method: Callable[[], Costs]) -> Costs:
    formulas = variant()
    return Costs([*formulas.values(), *method().values()], formulas.seen_as)


def _chosen(variant: Variant, call: Call, name: str) -> Method:
    if name == "auto":
        return next(method for method in METHODS.values() if method.prefers(variant, call))
    if not isinstance(name, str) or name not in METHODS:
        words = ", ".join(map(repr, ["auto", *sorted(METHODS)]))
        raise ValueError(f"method: must be one of {words}, got {name!r}")
    if not METHODS[name].takes(variant, call):
        able = [repr(method.name) for method in METHODS.values() if method.takes(variant, call)]
        why = METHODS[name].why_not(variant, call)
        raise ValueError(
            f"method: {name!r} {why or f'has no loops for this {variant.name} convolution'}; "
            f"write {' or '.join(able)}, or 'auto'"
        )
    return METHODS[name]
