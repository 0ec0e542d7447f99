"""The same multiplies as the textbook loops', on numbers that stay in the processor's registers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...call import Call, Deformed, Dense, Separated
from ...costs.report import Pass
from ...shapes import Window
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
    if _is_row(call.window):
        y, done = _run(variant, _turned(call))
        return y.swapaxes(2, 3), done
    _, C, M = call.sizes
    if call.groups == C and (M == C or (M // C < 4 and not call.transposed)):
        return channels.run(call)
    return lines.run(call)


def _is_row(window: Window) -> bool:
    return window.size[0] == window.kernel[0] == window.output[0] == 1 < window.size[1]


def _turned(call: Dense) -> Dense:
    """Return rows of pixels as columns: all taps of a channel then read one line."""
    x, weight = call.x.swapaxes(2, 3), call.weight.swapaxes(2, 3)
    pairs: Any = (pair[::-1] for pair in call.window)
    return replace(call, x=x, weight=weight, window=Window(*pairs))


TILED = Method("tiled", takes=_takes, run=_run)
