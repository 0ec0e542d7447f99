"""How a call is multiplied: methods, and the one place that chooses among them."""

from __future__ import annotations

from ..call import Call
from ..costs.report import ConvResult, CostReport
from ..variant import Variant
from .direct import DIRECT
from .method import Method
from .tiled import TILED

METHODS: dict[str, Method] = {method.name: method for method in (TILED, DIRECT)}


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
    report = CostReport(
        variant.name,
        chosen.name,
        y.shape,
        call.parameters,
        passes,
        variant.costs(call),
        variant.not_counted,
    )
    return ConvResult(y, report)


def _chosen(variant: Variant, call: Call, name: str) -> Method:
    if name == "auto":
        return next(method for method in METHODS.values() if method.prefers(variant, call))
    if not isinstance(name, str) or name not in METHODS:
        words = ", ".join(map(repr, ["auto", *sorted(METHODS)]))
        raise ValueError(f"method: must be one of {words}, got {name!r}")
    if not METHODS[name].takes(variant, call):
        able = [repr(method.name) for method in METHODS.values() if method.takes(variant, call)]
        raise ValueError(
            f"method: {name!r} has no loops for this {variant.name} convolution; "
            f"write {' or '.join(able)}, or 'auto'"
        )
    return METHODS[name]
