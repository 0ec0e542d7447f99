"""The textbook loops, each in the file of its variant. They multiply what the definition says."""

from __future__ import annotations

import numpy as np

from ..call import Call
from ..costs.report import Pass
from ..variant import Variant
from .method import Method


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    assert variant.direct is not None  # a variant made of others is never run itself
    return variant.direct(call)


DIRECT = Method("direct", takes=lambda variant, call: True, run=_run)
