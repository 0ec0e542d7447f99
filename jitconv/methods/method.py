"""What a method is: one way to do a call's multiplies."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..call import Call
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
    prefers : callable
        Whether "auto" runs the call by it.
    run : callable
        Returns the output, and what each pass counted; each `Pass` names the formula that its count
        must equal.
    """

    name: str
    takes: Callable[[Variant, Call], bool]
    prefers: Callable[[Variant, Call], bool]
    run: Callable[[Variant, Call], tuple[np.ndarray, tuple[Pass, ...]]]
