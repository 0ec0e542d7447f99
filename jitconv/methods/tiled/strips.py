"""The outputs of an axis that meet the same taps, as the loops walk over them."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from ...shapes import Window


class Strip(NamedTuple):
    """Outputs of an axis at even steps, and what each of them reads.

    Output ``first + a · step``, for a < outputs, reads the input ``source + a · per_output +
    t · per_tap`` with the tap ``tap + t · tap_step``, for t < taps. Inputs before the first pixel
    and after the last are zeros of the padding.
    """

    first: int
    step: int
    outputs: int
    source: int
    per_output: int
    tap: int
    tap_step: int
    taps: int
    per_tap: int

    def some(self, begin: int, outputs: int) -> Strip:
        """Return some of its outputs."""
        source = self.source + begin * self.per_output
        return self._replace(first=self.first + begin * self.step, outputs=outputs, source=source)

    def on_padding(self, size: int) -> int:
        """Return how many of its pairs (output, tap) read a zero of the padding."""
        inputs = np.add.outer(
            self.source + np.arange(self.outputs) * self.per_output,
            np.arange(self.taps) * self.per_tap,
        )
        return int(((inputs < 0) | (inputs >= size)).sum())

    def inside(self, size: int) -> list[Strip]:
        """Cut it where the taps that land in the image change; none then reads a zero.

        Examples
        --------
        A kernel of 3 on 8 pixels with 'same' padding: the first output lacks tap 0, the last tap 2.

        >>> strip = Strip(0, 1, 8, -1, 1, 0, 1, 3, 1)
        >>> [(s.first, s.outputs, s.tap, s.taps) for s in strip.inside(8)]
        [(0, 1, 1, 2), (1, 6, 0, 3), (7, 1, 0, 2)]
        """
        ends = {0, self.outputs}
        for t in range(self.taps):  # the outputs from which, and up to which, tap t is inside
            for edge in (0, size):
                reach = -((self.source + t * self.per_tap - edge) // self.per_output)
                ends.add(min(max(reach, 0), self.outputs))
        pieces = []
        for begin, end in itertools.pairwise(sorted(ends)):
            piece = self.some(begin, end - begin)
            t = min(max(-(piece.source // self.per_tap), 0), self.taps)
            stop = max(t, min(-((piece.source - size) // self.per_tap), self.taps))
            pieces.append(
                piece._replace(
                    source=piece.source + t * self.per_tap if stop > t else 0,
                    tap=self.tap + t * self.tap_step,
                    taps=stop - t,
                )
            )
        return pieces


def convolution(window: Window, axis: int) -> list[Strip]:
    """Return the outputs of a convolution's axis: one strip."""
    before, kernel = window.padding[axis][0], window.kernel[axis]
    outputs, stride = window.output[axis], window.stride[axis]
    return [Strip(0, 1, outputs, -before, stride, 0, 1, kernel, window.dilation[axis])]


def phases(window: Window, axis: int) -> list[Strip]:
    """Return those of a transposed convolution: stride interleaved convolutions.

    Output o meets the taps for which o + crop − tap · dilation is a multiple of the stride. Outputs
    `stride` apart meet the same: no zero is ever stuffed between the inputs.

    Examples
    --------
    >>> from jitconv import shapes
    >>> window = shapes.transposed_window((4, 4), (4, 4), stride=2, padding=1)
    >>> [(s.first, s.step, s.outputs, s.tap, s.tap_step, s.taps) for s in phases(window, 0)]
    [(0, 2, 4, 3, -2, 2), (1, 2, 4, 2, -2, 2)]
    """
    kernel, stride, crop = window.kernel[axis], window.stride[axis], window.padding[axis][0]
    dilation, outputs, strips = window.dilation[axis], window.output[axis], []
    tap_step = stride // math.gcd(stride, dilation)
    for first in range(min(stride, outputs)):
        count = -(-(outputs - first) // stride)
        landing = (t for t in range(kernel) if (first + crop - t * dilation) % stride == 0)
        met = next((t for t in landing if t < tap_step), None)
        if met is None:
            strips.append(Strip(first, stride, count, 0, 1, 0, 1, 0, 1))
            continue
        # the last of the taps reads the leftmost input: count them from there
        taps = -(-(kernel - met) // tap_step)
        last = met + (taps - 1) * tap_step
        source = (first + crop - last * dilation) // stride
        per_tap = tap_step * dilation // stride
        strips.append(Strip(first, stride, count, source, 1, last, -tap_step, taps, per_tap))
    return strips
