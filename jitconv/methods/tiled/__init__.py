"""The same multiplies as the textbook loops', on numbers that stay in the processor's registers."""

from __future__ import annotations

import numpy as np

from ...call import Call, Deformed, Dense, Separated
from ...costs.report import Pass
from ...variant import Variant
from ..method import Method
from . import channels, lines, passes, samples

STRIDE = 64  # at most: an image is split, or an output interleaved, into stride² parts


def _takes(variant: Variant, call: Call) -> bool:
    split = isinstance(call, (Dense, Separated)) and max(call.window.stride) <= STRIDE
    return variant.any_method and split


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    if isinstance(call, Separated):
        return passes.run_both(call)
    assert isinstance(call, Dense)
    if isinstance(call, Deformed):
        return samples.run(call)
    C, M = call.sizes[1:]
    if call.groups == C and (M == C or (M // C < 4 and not call.transposed)):
        return channels.run(call)
    return lines.run(call)


TILED = Method("tiled", takes=_takes, prefers=_takes, run=_run)
