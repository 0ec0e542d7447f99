"""Samples of a deformable convolution as lines: each is what one moved tap of one channel meets.

The samples of some output rows are gathered, tap by tap, into an image of as many channels as there
are taps in all; the lines of a 1×1 convolution then multiply it.
"""

from __future__ import annotations

import itertools

import numpy as np

from ...call import Deformed, empty
from ...costs.report import Pass
from ...jit import njit, prange
from ...sampling import place_samples
from ...shapes import Window
from .lines import multiply
from .regions import plan

SAMPLES = 2**21  # bytes of samples that are gathered before they are multiplied: they stay in cache
FOUR = 4  # channels whose pixels lie side by side, so that one load fetches them


@njit(parallel=True)
def interleave_loops(x, G, fours):
    # x (N, C, H, W); fours (N, C * (H + 3) * (W + 3)): one zero above and left, two below and
    # right, the pixels of four channels of an offset group side by side, then those of single ones
    N, C, H, W = x.shape
    plane = (H + 3) * (W + 3)
    for job in prange(N * C):
        n, c = job // C, job % C
        begin, end = c // (C // G) * (C // G), (c // (C // G) + 1) * (C // G)
        whole = begin + (end - begin) // FOUR * FOUR
        at, step = c * plane, 1
        if c < whole:
            at, step = (c - (c - begin) % FOUR) * plane + (c - begin) % FOUR, FOUR
        target = fours[n]
        for h in range(H + 3):
            k = at + h * (W + 3) * step
            inside = 1 <= h <= H
            for w in range(W + 3):
                value = x[n, c, h - 1, w - 1] if inside and 1 <= w <= W else 0
                target[np.uintp(k)] = value
                k += step


def make_sample(CHANNELS):
    """Return the loops over an output row that sample some channels whose pixels lie together."""

    @njit
    def sample(pixels, at, W, place, corners, line, to, apart):
        # pixels flat ((H + 3) * (W + 3), CHANNELS) from `at` on; place (OW,), corners (4, OW);
        # line flat: channel i's samples from to + i * apart on
        right, below = np.uintp(CHANNELS), np.uintp(CHANNELS * (W + 3))
        multiplies = 0
        for ow in range(place.size):
            first = np.uintp(at + place[ow] * CHANNELS)
            a, b, c, d = corners[0, ow], corners[1, ow], corners[2, ow], corners[3, ow]
            for i in range(CHANNELS):
                k = first + np.uintp(i)
                above = a * pixels[k] + b * pixels[k + right]
                under = c * pixels[k + below] + d * pixels[k + below + right]
                line[np.uintp(to + ow) + np.uintp(i) * np.uintp(apart)] = above + under
                multiplies += 4
        return multiplies

    return sample


four, one = make_sample(FOUR), make_sample(1)


@njit(jobs=True)
def sample_loops(
    job, fours, offset, mask, first, H, W, KW, SH, SW, top, left, DH, DW, C, samples, counts
):
    # the samples of some output rows of one image, from the first on: fours flat,
    # offset (2 * G * KH * KW, OH, OW), mask (·, OH, OW) or empty,
    # samples (C * KH * KW, rows, OW), counts (rows, 4)
    taps, rows, OW = samples.shape
    K = taps // C
    G, plane, flat = offset.shape[0] // (2 * K), (H + 3) * (W + 3), samples.reshape(samples.size)
    oh = first + job
    place, outside = np.empty(OW, np.intp), np.empty(OW, np.bool_)
    corners = np.empty((4, OW), samples.dtype)
    corner_weights, corner_values, masked, zeros = 0, 0, 0, 0
    for tap in range(G * K):
        g, t = tap // K, tap % K
        dy, dx = offset[2 * tap, oh], offset[2 * tap + 1, oh]
        h, w = oh * SH + t // KW * DH - top, t % KW * DW - left
        corner_weights += place_samples(dy, dx, h, w, SW, H, W, place, corners, outside)
        none = 0
        for ow in range(OW):
            none += outside[ow]
        c, end = g * C // G, (g + 1) * C // G  # the channels of offset group g
        zeros += none * (end - c)
        while c < end:
            to, apart = ((c * K + t) * rows + job) * OW, K * rows * OW
            if end - c >= FOUR:
                some = FOUR
                corner_values += four(fours, c * plane, W, place, corners, flat, to, apart)
            else:
                some = 1
                corner_values += one(fours, c * plane, W, place, corners, flat, to, apart)
            if mask.size > 0:
                for i in range(some):
                    line, factor = samples[(c + i) * K + t, job], mask[tap, oh]
                    for ow in range(OW):
                        line[ow] *= factor[ow]
                        masked += 1
            c += some
    counts[job, 0], counts[job, 1] = corner_weights, corner_values
    counts[job, 2], counts[job, 3] = masked, zeros


def run(call: Deformed) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Gather the samples of some output rows, multiply them as lines, and go on to the next."""
    (N, C, M), window, mask = call.sizes, call.window, call.mask
    (H, W), (OH, OW), (KH, KW) = window.size, window.output, window.kernel
    K = KH * KW
    y = empty("output", (N, M, OH, OW), call.x.dtype)
    fours = empty("padded x", (N, C * (H + 3) * (W + 3)), y.dtype)
    interleave_loops(call.x, call.offset.shape[1] // (2 * K), fours)
    height = min(OH, max(1, SAMPLES // (OW * K * C * y.itemsize)))
    samples = empty("samples", (C * K * height * OW,), y.dtype)
    weight = call.weight.reshape(M, -1, 1, 1)
    steps = (KW, *window.stride, window.padding[0][0], window.padding[1][0], *window.dilation)
    total, multiplies, on_padding = np.zeros(3, np.int64), 0, 0
    for n, first in itertools.product(range(N), range(0, OH, height)):
        rows = min(height, OH - first)
        some = samples[: C * K * rows * OW].reshape(C * K, rows, OW)
        counts = np.zeros((rows, 4), np.int64)
        factors = mask[n] if mask.size else np.empty((0, 0, 0), y.dtype)
        sample_loops(fours[n], call.offset[n], factors, first, H, W, *steps, C, some, counts)
        size = (rows, OW)
        pixels = Window(size, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), size, size)
        planned = plan(1, C * K, M, call.groups, pixels, False, y.itemsize, 1)
        done = multiply(
            planned, some[np.newaxis], weight, call.bias, y[n : n + 1], call.groups, first_row=first
        )
        total += counts[:, :3].sum(axis=0)
        multiplies += done
        # each sample met as many output channels as there were multiplies for a sample
        on_padding += int(counts[:, 3].sum()) * (done // some.size)
    corner_weights, corner_values, masked = total.tolist()
    return y, call.passes(
        corner_weights, corner_values, masked, multiplies, on_padding, follows=True
    )
