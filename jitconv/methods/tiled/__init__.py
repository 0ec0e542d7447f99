"""The same multiplies as the textbook loops', on numbers that stay in the processor's registers."""

from __future__ import annotations

import numpy as np

from ...call import Call, Deformed, Dense
from ...costs.report import Pass
from ...variant import Variant
from ..method import Method
from . import planes, samples, tiles


def _takes(variant: Variant, call: Call) -> bool:
    return variant.any_method and isinstance(call, Dense)


def _prefers(variant: Variant, call: Call) -> bool:
    """Return whether it is faster than the direct loops, as measured."""
    if not (isinstance(call, Dense) and variant.any_method):
        return False
    (_, C, M), few = call.sizes, planes.FEW
    if isinstance(call, Deformed):  # its samples are gathered for all channels of a pixel at once
        return M // call.groups >= few and (2 * few <= C or M // call.groups >= 4 * few)
    return not call.transposed or M // call.groups >= few or C // call.groups >= few


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    assert isinstance(call, Dense)
    if isinstance(call, Deformed):
        return samples.run(call)
    if not call.transposed and planes.are_faster(call):
        return planes.run(call)
    return tiles.run(call)


TILED = Method("tiled", _takes, _prefers, _run)
