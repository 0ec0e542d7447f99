"""The same multiplies as the textbook loops', on numbers that stay in the processor's registers."""

from __future__ import annotations

import numpy as np

from ...call import Call, Deformed, Dense, Separated
from ...costs.report import Pass
from ...variant import Variant
from ..method import Method
from . import channels, lines, passes, samples


def _takes(variant: Variant, call: Call) -> bool:
    return variant.any_method and isinstance(call, (Dense, Separated))


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    if isinstance(call, Separated):
        return passes.run_both(call)
    assert isinstance(call, Dense)
    if isinstance(call, Deformed):
        return samples.run(call)
    C, M = call.sizes[1:]
    if call.groups == C and M // C < 4 and not call.transposed:
        return channels.run(call)
    return lines.run(call)


TILED = Method("tiled", takes=_takes, prefers=_takes, run=_run)
