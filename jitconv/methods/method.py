"""What a method is: one way to do a call's multiplies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..call import Call
from ..costs.formula import Costs
from ..costs.report import Pass
from ..variant import Variant


class Method(NamedTuple):
    """A method.

    Attributes
    ----------
    name : str
        The word for ``method=``, and for the report.
    takes : callable
        Whether it can run a variant's call.
    run : callable
        Returns the output, and what each pass counted; each `Pass` names the formula that its count
        must equal.
    why_not : callable
        Why it cannot run this call, for a variant some of whose calls it can run; "" if it can run
        none of them.
    costs : callable, optional
        As `Variant.costs`: formulas of its own, besides the variant's.
    not_counted : tuple of str
        What its loops do besides, and do not count.
    """

    name: str
    takes: Callable[[Variant, Call], bool]
    run: Callable[[Variant, Call], tuple[np.ndarray, tuple[Pass, ...]]]
    why_not: Callable[[Variant, Call], str] = lambda variant, call: ""
    costs: Callable[[Call], Callable[[], Costs]] | None = None
    not_counted: tuple[str, ...] = ()
