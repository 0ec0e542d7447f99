"""The outputs of an axis, cut where the taps that land in the image change."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

# Consecutive outputs of an axis that meet the same taps in the image: output first + a · step, for
# a < count, reads the input source + a · per_output + t · per_tap with the tap tap + t · tap_step,
# for t < taps. Not one of these inputs lies outside.
STRIP = np.dtype(
    {
        "names": [
            "first",
            "step",
            "count",
            "source",
            "per_output",
            "tap",
            "tap_step",
            "taps",
            "per_tap",
        ],
        "formats": [np.int64] * 9,
    }
)


@functools.lru_cache
def strips(size: int, kernel_size: int, stride: int, before: int, dilation: int, outputs: int):
    """Cut the outputs of a convolution's axis where the taps that land in the image change.

    Parameters
    ----------
    size, kernel_size, stride, dilation, outputs : int
        Pixels of one axis, and its outputs.
    before : int
        Zeros of padding before the first pixel.

    Returns
    -------
    numpy.ndarray of STRIP
        In the order of the outputs; together they are all of them.

    Examples
    --------
    A kernel of 3 on 8 pixels with 'same' padding: the first output lacks tap 0, the last tap 2.

    >>> cut = strips(8, 3, 1, 1, 1, 8)
    >>> [(int(s["first"]), int(s["count"]), int(s["tap"]), int(s["taps"])) for s in cut]
    [(0, 1, 1, 2), (1, 6, 0, 3), (7, 1, 0, 2)]
    """
    axis = (0, 1, outputs, -before, stride, 0, 1, kernel_size, dilation)
    return _frozen(_cut(axis, size))


@functools.lru_cache
def transposed_strips(
    size: int, kernel_size: int, stride: int, crop: int, dilation: int, outputs: int
):
    """Cut the outputs of a transposed convolution's axis alike: stride interleaved convolutions.

    Output o meets the taps for which o + crop − tap · dilation is a multiple of the stride. Outputs
    `stride` apart meet the same: no zero is ever stuffed between the inputs.

    Parameters
    ----------
    size, kernel_size, stride, dilation, outputs : int
        Pixels of one axis, and its outputs.
    crop : int
        Outputs cropped before the first.

    Returns
    -------
    numpy.ndarray of STRIP
        Together they are all outputs.

    Examples
    --------
    >>> cut = transposed_strips(4, 4, 2, 1, 1, 8)
    >>> [(int(s["first"]), int(s["step"]), int(s["count"]), int(s["taps"])) for s in cut]
    [(0, 2, 1, 1), (2, 2, 3, 2), (1, 2, 3, 2), (7, 2, 1, 1)]
    """
    pieces: list[tuple[int, ...]] = []
    tap_step = stride // math.gcd(stride, dilation)
    for first in range(min(stride, outputs)):
        count = (outputs - first + stride - 1) // stride
        met = [
            t
            for t in range(min(kernel_size, tap_step))
            if not (first + crop - t * dilation) % stride
        ]
        if not met:
            pieces.append((first, stride, count, 0, 0, 0, 0, 0, 0))
            continue
        # the last of the taps reads the leftmost input: count them from there
        taps = (kernel_size - met[0] + tap_step - 1) // tap_step
        last = met[0] + (taps - 1) * tap_step
        source = (first + crop - last * dilation) // stride
        per_tap = tap_step * dilation // stride
        pieces += _cut((first, stride, count, source, 1, last, -tap_step, taps, per_tap), size)
    return _frozen(pieces)


def _cut(axis: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    first, step, count, source, per_output, tap, tap_step, taps, per_tap = axis
    ends = {0, count}
    for t in range(taps):  # the outputs from which, and up to which, tap t lands in the image
        for edge in (0, size):
            ends.add(min(max(-((source + t * per_tap - edge) // per_output), 0), count))
    pieces: list[tuple[int, ...]] = []
    for begin, end in itertools.pairwise(sorted(ends)):
        start = source + begin * per_output
        t = min(max(-(start // per_tap), 0), taps)
        stop = max(t, min(-((start - size) // per_tap), taps))
        inputs = (start + t * per_tap, per_output) if stop > t else (0, 0)
        met = (tap + t * tap_step, tap_step, stop - t, per_tap)
        pieces.append((first + begin * step, step, end - begin, *inputs, *met))
    return pieces


def _frozen(pieces: list[tuple[int, ...]]) -> np.ndarray:
    strips = np.array(pieces, STRIP)
    strips.flags.writeable = False  # the cache hands out the same array again
    return strips
