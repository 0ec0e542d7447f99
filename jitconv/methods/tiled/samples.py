"""Samples of a deformable convolution, gathered so that tiles can multiply them.

The samples of some output rows lie side by side, all channels of a tap next to each other. Then
they are a 1×1 convolution.
"""

from __future__ import annotations

import itertools

import numpy as np

from ...call import Deformed, empty
from ...costs.report import Pass
from ...jit import njit, prange
from ...sampling import place_samples
from .strips import STRIP
from .tiles import multiply

SAMPLES = 2**21  # bytes of samples that are gathered before they are multiplied: they stay in cache


@njit(parallel=True)
def channels_last(x, padded):
    # x (N, C, H, W), padded (N, H + 3, W + 3, C): one zero above and left, two below and right
    N, C, H, W = x.shape
    for job in prange(N * (H + 3)):
        n, h = job // (H + 3), job % (H + 3)
        line = padded[n, h]
        for w in range(W + 3):
            for c in range(C):
                line[w, c] = 0
        if 1 <= h <= H:
            for c in range(C):
                row, column = x[n, c, h - 1], line[1:, c]
                for w in range(W):
                    column[w] = row[w]


@njit
def sample_pixel(pixels, W, place, corner, outside, sample):
    # pixels ((H + 3) * (W + 3), channels), corner (4,); filled: sample (channels,)
    left, right = pixels[place], pixels[place + 1]
    below_left, below_right = pixels[place + W + 3], pixels[place + W + 4]
    a, b, c, d = corner[0], corner[1], corner[2], corner[3]
    multiplies, zeros = 0, 0
    for i in range(sample.size):
        sample[i] = a * left[i] + b * right[i] + (c * below_left[i] + d * below_right[i])
        multiplies += 4
        zeros += outside
    return multiplies, zeros


@njit(parallel=True)
def sample_loops(x, offset, mask, first, image, steps, y, counts):
    # the samples of some output rows of one image, from the first on, all channels side by side:
    # x ((H + 3) * (W + 3), C) padded, image (H, W), offset (2 * G * KH * KW, OH, OW), mask
    # (·, OH, OW) or empty, y (rows, OW, KH, KW, C), counts (rows, 4)
    rows, OW, KH, KW, C = y.shape
    H, W = image
    SH, SW, top, left, DH, DW = steps
    G = offset.shape[0] // (2 * KH * KW)
    for job in prange(rows):
        oh = first + job
        place, outside = np.empty(OW, np.intp), np.empty(OW, np.bool_)
        corners, corner = np.empty((4, OW), y.dtype), np.empty(4, y.dtype)
        corner_weights, corner_values, masked, zeros = 0, 0, 0, 0
        for tap in range(G * KH * KW):
            g, kh, kw = tap // (KH * KW), tap // KW % KH, tap % KW
            dy, dx = offset[2 * tap, oh], offset[2 * tap + 1, oh]
            h, w = oh * SH + kh * DH - top, kw * DW - left
            corner_weights += place_samples(dy, dx, h, w, SW, H, W, place, corners, outside)
            begin, end = g * C // G, (g + 1) * C // G  # the channels of offset group g
            pixels = x[:, begin:end]
            for ow in range(OW):
                for i in range(4):
                    corner[i] = corners[i, ow]
                sample = y[job, ow, kh, kw, begin:end]
                values, none = sample_pixel(pixels, W, place[ow], corner, outside[ow], sample)
                corner_values += values
                zeros += none
                if mask.size > 0:
                    factor = mask[tap, oh, ow]
                    for i in range(sample.size):
                        sample[i] *= factor
                        masked += 1
        counts[job, 0], counts[job, 1] = corner_weights, corner_values
        counts[job, 2], counts[job, 3] = masked, zeros


def run(call: Deformed) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Gather the samples of a few pixels, multiply them in tiles, and go on to the next."""
    (N, C, M), window, groups = call.sizes, call.window, call.groups
    (H, W), (OH, OW), kernel, mask = window.size, window.output, window.kernel, call.mask
    K = kernel[0] * kernel[1]
    y = empty("output", (N, M, OH, OW), call.x.dtype)
    padded = empty("padded x", (N, H + 3, W + 3, C), y.dtype)
    channels_last(call.x, padded)
    padded = padded.reshape(N, (H + 3) * (W + 3), C)
    weight = call.weight.reshape(groups, M // groups, 1, C // groups * K)
    height = min(OH, max(1, SAMPLES // (OW * K * C * y.itemsize)))
    samples = empty("samples", (height, OW, *kernel, C), y.dtype)
    rows = np.array([(0, 1, 1, 0, 0, 0, 1, K, 1)], STRIP)  # the taps, one below the other
    steps = (*window.stride, window.padding[0][0], window.padding[1][0], *window.dilation)
    total, multiplies, on_padding = np.zeros(3, np.int64), 0, 0
    for n, first in itertools.product(range(N), range(0, OH, height)):
        some = samples[: OH - first]
        counts = np.zeros((len(some), 4), np.int64)
        factors = mask[n] if mask.size else np.empty((0, 0, 0), y.dtype)
        sample_loops(padded[n], call.offset[n], factors, first, (H, W), steps, some, counts)
        columns = np.array([(first * OW, 1, len(some) * OW, 0, K * C, 0, 1, 1, 0)], STRIP)
        plane = y[n : n + 1].reshape(1, M, 1, OH * OW)
        done = multiply(some, weight, call.bias, plane, (K, 1), (0, 1, C), rows, columns)
        total += counts[:, :3].sum(axis=0)
        multiplies += int(done.sum())
        # each sample met as many output channels as there were multiplies for a sample
        on_padding += int(counts[:, 3].sum()) * (int(done.sum()) // some.size)
    corner_weights, corner_values, masked = total.tolist()
    return y, call.passes(
        corner_weights, corner_values, masked, multiplies, on_padding, follows=True
    )
