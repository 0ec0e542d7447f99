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
    """Return whether it is faster than the direct loops.

    It is, but for a transposed or deformable convolution whose output channels fill no vectors.
    """
    if not (variant.any_method and isinstance(call, Dense)):
        return False
    fills_vectors = call.bias.size // call.groups >= planes.FEW
    return fills_vectors or not (call.transposed or isinstance(call, Deformed))


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    assert isinstance(call, Dense)
    if isinstance(call, Deformed):
        return samples.run(call)
    if not call.transposed and planes.are_faster(call):
        return planes.run(call)
    return tiles.run(call)


TILED = Method("tiled", _takes, _prefers, _run)
