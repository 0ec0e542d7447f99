"""Samples of a deformable convolution as lines: each is what one moved tap of one channel meets.

The samples of some output rows are gathered, tap by tap, into an image of as many channels as there
are taps in all; the lines of a 1×1 convolution then multiply it.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from ...call import Deformed, empty
from ...costs.report import Pass
from ...jit import njit, prange
from ...sampling import place_samples
from ...shapes import Window
from .lines import multiply, put
from .regions import plan
from .registers import LANES, aligned, move, transpose
from .turned import turn_back

SAMPLES = 2**21  # bytes of samples that are gathered before they are multiplied: they stay in cache


# Channels of an offset group whose pixels lie side by side, so that one load fetches many of them.
# Over fewer than 32 LLVM writes out these loops one by one, and takes no vectors.
MANY, FOUR = 32, 4


@njit
def together(c, channels):
    # the first of those that channel c of so many lies side by side with, and how many they are
    if c - c % MANY + MANY <= channels:
        return c - c % MANY, MANY
    if c - c % FOUR + FOUR <= channels:
        return c - c % FOUR, FOUR
    return c, 1


@njit(parallel=True)
def interleave_loops(x, G, beside):
    # x (N, C, H, W); beside (N, C * (H + 3) * (W + 3)): one zero above and left, two below and
    # right, the pixels of some channels of an offset group side by side
    N, C, H, W = x.shape
    plane, flat = H * W, x.reshape(x.size)
    for job in prange(N * (H + 3)):
        n, h, c = job // (H + 3), job % (H + 3), 0
        target, square = beside[n], aligned(LANES * LANES, x)
        while c < C:
            _, channels = together(c % (C // G), C // G)
            row = c * (H + 3) * (W + 3) + h * (W + 3) * channels
            put(target.dtype.type(0), target, row, (W + 3) * channels)
            first, at, row = (h - 1) * W, (n * C + c) * plane, row + channels
            if 1 <= h <= H and channels == MANY and plane >= LANES:
                for w in range(0, W, LANES):
                    p = min(first + w, plane - LANES)
                    for i in range(0, MANY, LANES):
                        transpose(flat, at + i * plane + p, plane, 4 * plane, square, 0, LANES)
                        for j in range(w, min(w + LANES, W)):
                            move(square, (first + j - p) * LANES, 1, target, row + j * MANY + i)
            elif 1 <= h <= H:
                for i in range(channels):
                    for w in range(W):
                        target[row + w * channels + i] = flat[at + i * plane + first + w]
            c += channels


def make_sample(CHANNELS):
    """Return the loops over an output row that sample some channels whose pixels lie together."""

    @njit
    def sample(pixels, at, W, place, corners, row, square, line, to, apart):
        # pixels flat ((H + 3) * (W + 3), CHANNELS) from `at` on; place (OW,), corners (4, OW);
        # row flat (OW, CHANNELS); line flat: channel i's samples from to + i * apart on
        right, below = np.uintp(CHANNELS), np.uintp(CHANNELS * (W + 3))
        OW, multiplies = place.size, 0
        for ow in range(OW):
            first, j = np.uintp(at + place[ow] * CHANNELS), np.uintp(ow * CHANNELS)
            a, b, c, d = corners[0, ow], corners[1, ow], corners[2, ow], corners[3, ow]
            for i in range(CHANNELS):  # across the lanes
                k = first + np.uintp(i)
                above = a * pixels[k] + b * pixels[k + right]
                under = c * pixels[k + below] + d * pixels[k + below + right]
                row[j + np.uintp(i)] = above + under
                multiplies += 4
        if CHANNELS >= LANES:
            for i in range(0, CHANNELS, LANES):
                turn_back(row, i, CHANNELS, OW, square, line, to + i * apart, apart)
        else:
            for ow in range(OW):
                for i in range(CHANNELS):
                    line[np.uintp(to + i * apart + ow)] = row[np.uintp(ow * CHANNELS + i)]
        return multiplies

    return sample


many, four, one = make_sample(MANY), make_sample(FOUR), make_sample(1)


@njit(jobs=True)
def sample_loops(
    job, beside, offset, mask, first, H, W, KW, SH, SW, top, left, DH, DW, C, samples, counts
):
    # the samples of some output rows of some images, from row `first` on:
    # beside (n, C * (H + 3) * (W + 3)), offset (n, 2 * G * KH * KW, OH, OW), mask (n, ·, OH, OW)
    # or empty, samples (n, C * KH * KW, rows, OW), counts (n * rows, 4)
    _, taps, rows, OW = samples.shape
    n, row_of_image, K = job // rows, job % rows, taps // C
    G, plane, flat = offset.shape[1] // (2 * K), (H + 3) * (W + 3), samples.reshape(samples.size)
    place, outside = np.empty(OW, np.intp), np.empty(OW, np.bool_)
    corners, row = np.empty((4, OW), flat.dtype), aligned(MANY * max(OW, LANES), flat)
    square = aligned(LANES * LANES, flat)
    oh, pixels = first + row_of_image, beside[n]
    corner_weights, corner_values, masked, zeros = 0, 0, 0, 0
    for tap in range(G * K):
        g, t = tap // K, tap % K
        dy, dx = offset[n, 2 * tap, oh], offset[n, 2 * tap + 1, oh]
        h, w = oh * SH + t // KW * DH - top, t % KW * DW - left
        corner_weights += place_samples(dy, dx, h, w, SW, H, W, place, corners, outside)
        none = 0
        for ow in range(OW):
            none += outside[ow]
        c, end = g * C // G, (g + 1) * C // G  # the channels of offset group g
        zeros += none * (end - c)
        while c < end:
            _, some = together(c - g * C // G, C // G)
            at, apart = c * plane, K * rows * OW
            to = ((n * taps + c * K + t) * rows + row_of_image) * OW
            if some == MANY:
                corner_values += many(pixels, at, W, place, corners, row, square, flat, to, apart)
            elif some == FOUR:
                corner_values += four(pixels, at, W, place, corners, row, square, flat, to, apart)
            else:
                corner_values += one(pixels, at, W, place, corners, row, square, flat, to, apart)
            if mask.size > 0:
                for i in range(some):
                    line, factor = samples[n, (c + i) * K + t, row_of_image], mask[n, tap, oh]
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
    beside = empty("padded x", (N, C * (H + 3) * (W + 3)), y.dtype)
    interleave_loops(call.x, call.offset.shape[1] // (2 * K), beside)
    height = max(1, SAMPLES // (OW * K * C * y.itemsize))
    images, height = max(1, height // OH), min(OH, height)  # at once, and rows of them
    samples = empty("samples", (min(images, N) * C * K * height * OW,), y.dtype)
    weight = call.weight.reshape(M, -1, 1, 1)
    steps = (KW, *window.stride, window.padding[0][0], window.padding[1][0], *window.dilation)
    total, multiplies, on_padding = np.zeros(3, np.int64), 0, 0
    for n, first in itertools.product(range(0, N, images), range(0, OH, height)):
        rows, now = min(height, OH - first), slice(n, min(N, n + images))
        shape = (now.stop - n, C * K, rows, OW)
        some = samples[: math.prod(shape)].reshape(shape)
        counts = np.zeros((shape[0] * rows, 4), np.int64)
        sample_loops(beside[now], call.offset[now], mask[now], first, H, W, *steps, C, some, counts)
        size = (rows, OW)
        pixels = Window(size, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), size, size)
        planned = plan(shape[0], C * K, M, call.groups, pixels, False, y.itemsize, 1)
        done = multiply(planned, some, weight, call.bias, y[now], call.groups, first_row=first)
        total += counts[:, :3].sum(axis=0)
        multiplies += done
        # each sample met as many output channels as there were multiplies for a sample
        on_padding += int(counts[:, 3].sum()) * (done // some.size)
    corner_weights, corner_values, masked = total.tolist()
    return y, call.passes(
        corner_weights, corner_values, masked, multiplies, on_padding, follows=True
    )
