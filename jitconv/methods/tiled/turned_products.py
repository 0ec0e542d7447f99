"""Gradients of depthwise weights with a channel in each lane, sixteen side by side.

A weight's gradient is the sum, over all outputs, of dy × what its tap met. Along a line, the lanes
of a vector hold outputs of one channel, and must be added up at the end; a depthwise convolution
has so few taps a channel that this takes longer than the products. Here, as in `turned`, the pixels
of sixteen channels lie side by side, and so do their dy. Each lane sums for a channel of its own.

Where channels are few, threads share the images and their regions too. What each share sums is kept
apart and added in order: so the gradient has the same bits on any number of threads.
"""

from __future__ import annotations

import numpy as np

from ...costs.report import Pass
from ...jit import get_num_threads, njit
from ...shapes import Window
from . import products
from .regions import TAPS as SHORT
from .registers import LANES, REGISTERS, aligned, registers, transpose
from .turned import find, planned_beside, turn

TAPS = 8 if REGISTERS > 16 else 6  # whose sums stay in registers
UNITS = 64  # of work for threads to share, about


def make_sums(TAPS):
    """Return the loops over some outputs of sixteen channels, for some taps."""

    @njit(slp=True)
    def sums(pixels, places, outputs, first, shifts, r, total):
        # pixels flat, where output p meets tap r at places[p] + shifts[r]; outputs flat (·, LANES),
        # from the first one on; total flat (·, LANES), of each tap, is added to
        acc = registers(outputs, TAPS, 1)
        multiplies = 0
        for j in range(LANES):
            for t in range(TAPS):
                acc[t, j] = 0
        for p in range(places.size):
            at, value = places[p], np.uintp((first + p) * LANES)
            for j in range(LANES):  # across the lanes of the vector registers
                for t in range(TAPS):
                    pixel = pixels[at + shifts[r + np.uintp(t)] + np.uintp(j)]
                    acc[t, j] += outputs[value + np.uintp(j)] * pixel
                    multiplies += 1
        for j in range(LANES):
            for t in range(TAPS):
                total[(r + np.uintp(t)) * np.uintp(LANES) + np.uintp(j)] += acc[t, j]
        return multiplies

    return sums


some, single = make_sums(TAPS), make_sums(1)


@njit
def turn_outputs(dy, at, plane, OW, height, width, outputs):
    # a region of sixteen channels, whose corner lies at `at`: dy flat -> outputs flat (·, LANES)
    for h in range(height):
        q, to = at + h * OW, h * width
        if width < LANES:
            for i in range(LANES):
                for j in range(width):
                    outputs[(to + j) * LANES + i] = dy[q + i * plane + j]
            continue
        for first in range(0, width, LANES):
            p = min(first, width - LANES)  # the last ones are stored again
            transpose(dy, q + p, plane, 4 * plane, outputs, (to + p) * LANES, LANES)


@njit
def sum_taps(pixels, places, outputs, shifts, total):
    # for all taps what `sums` does for some, in short sums; total is cleared before
    multiplies, end = 0, shifts.size // TAPS * TAPS
    total[:] = 0
    for first in range(0, places.size, SHORT):
        now = places[first : min(places.size, first + SHORT)]
        for r in range(0, end, TAPS):
            multiplies += some(pixels, now, outputs, first, shifts, np.uintp(r), total)
        for r in range(end, shifts.size):
            multiplies += single(pixels, now, outputs, first, shifts, np.uintp(r), total)
    return multiplies


@njit(jobs=True)
def turned_product_loops(job, x, dy, partial, channels, regions, tables, sizes, counts):
    # x (N, C, H, W), of which the first channels are taken; dy (N, M, OH, OW); partial zeros
    # (shares of the images' regions, channels · M / C, K); regions, tables: see `Plan`; sizes: of a
    # region's outputs, and of what it meets; counts (jobs,)
    (N, C, H, W), (_, M, OH, OW), (shares, _, K) = x.shape, dy.shape, partial.shape
    jobs, MG, blocks, plane = counts.size, M // C, channels // LANES, OH * OW
    every, units = N * len(regions), shares * blocks
    flat_x, flat_dy = x.reshape(x.size), dy.reshape(dy.size)
    pixels, outputs = aligned(sizes[1], dy), aligned(sizes[0] * LANES, dy)
    square, total = aligned(LANES * LANES, dy), aligned(K * LANES, dy)
    places, shifts = np.empty(sizes[0], np.uintp), np.empty(K, np.uintp)
    multiplies = 0
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        share, c = unit // blocks, unit % blocks * LANES
        for number in range(every * share // shares, every * (share + 1) // shares):
            n, region = number // len(regions), regions[number % len(regions)]
            height, width, R = region["height"], region["width"], region["TH"] * region["TW"]
            now, taps = places[: height * width], tables[1, region["kind"], :R]
            part = turn(flat_x, n * C + c, H, W, region, square, pixels)
            find(region, part, now, shifts)
            if region["contiguous"]:
                height, width = 1, now.size
            for i in range(MG):  # a channel's outputs
                m = c * MG + i
                at = ((n * M + m) * OH + region["oh"]) * OW + region["ow"]
                turn_outputs(flat_dy, at, MG * plane, OW, height, width, outputs)
                multiplies += sum_taps(pixels, now, outputs, shifts[:R], total)
                for r in range(R):
                    for j in range(LANES):
                        partial[share, m + j * MG, taps[r]] += total[r * LANES + j]
    counts[job] = multiplies


def run(x: np.ndarray, dy: np.ndarray, window: Window) -> tuple[np.ndarray, Pass]:
    """Return the gradient of a depthwise weight, x (N, C, H, W) and dy (N, M, OH, OW) given."""
    (N, C), M, K = x.shape[:2], dy.shape[1], window.kernel[0] * window.kernel[1]
    channels, threads = C // LANES * LANES, get_num_threads()
    planned = planned_beside(N, C, M, window, False, dy.itemsize)
    regions, tables, sizes, *_ = planned
    blocks = channels // LANES
    shares = min(N * regions.size, -(-UNITS // blocks))
    partial = np.zeros((shares, channels * (M // C), K), dy.dtype)
    counts = np.zeros(min(shares * blocks, 2 * threads), np.int64)
    turned_product_loops(x, dy, partial, channels, regions, tables, sizes, counts)
    dweight, multiplies = partial.sum(axis=0), sum(counts.tolist())
    if channels < C:  # the others go along lines
        others = (
            np.ascontiguousarray(x[:, channels:]),
            np.ascontiguousarray(dy[:, len(dweight) :]),
        )
        rest, done = products.run(*others, window, C - channels)
        dweight = np.concatenate([dweight, rest.reshape(-1, K)])
        multiplies += done.multiplies
    return dweight.reshape(M, 1, *window.kernel), planned.done("weight", multiplies, N * M)
