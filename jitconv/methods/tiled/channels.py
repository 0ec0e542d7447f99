"""Four channels side by side, each with lines and taps of its own: depthwise convolutions.

Where an output channel reads one input channel, no two of them share a line. The tile of `lines`
then has a channel's own line in each of its rows: still four independent sums for each vector of
pixels, also where an image has few pixels. There are few taps, so that the sums go straight to the
output.
"""

from __future__ import annotations

import numba
import numpy as np

from ...call import Dense, empty
from ...costs.report import Pass
from ...jit import njit, prange
from .lines import fill
from .regions import plan
from .registers import REGISTERS, aligned, registers

LONG = 6 if REGISTERS > 16 else 2  # vectors of pixels in a tile of four channels


def make_tile(CHANNELS, VECTORS):
    """Return the loops over all taps around a tile; LLVM unrolls its extents, so they are fixed."""

    @njit
    def tile(lines, beside, begin, end, shifts, taps, weight, w, apart, bias, m, more, y, at, plane):
        # lines flat, where pixel p of channel i meets tap r at i * beside + shifts[r] + p; weight
        # flat, where that tap lies at w + i * apart + taps[r]; y flat, where it adds to
        # at + i * plane + p; bias (M,), channel i's at m + i * more. Whole tiles from `begin` on.
        acc = registers(lines, CHANNELS, VECTORS)
        PIXELS = acc.shape[1]
        multiplies = 0
        for p in range(begin, end - PIXELS + 1, PIXELS):
            for j in range(PIXELS):
                for i in range(CHANNELS):
                    acc[i, j] = bias[m + np.uintp(i) * more]
            for r in range(shifts.size):
                values, tap = shifts[r] + np.uintp(p), taps[r] + w
                for j in range(PIXELS):
                    for i in range(CHANNELS):
                        value = lines[values + np.uintp(i) * beside + np.uintp(j)]
                        acc[i, j] += value * weight[tap + np.uintp(i) * apart]
                        multiplies += 1
            to = at + np.uintp(p)
            for j in range(PIXELS):
                for i in range(CHANNELS):
                    y[to + np.uintp(i) * plane + np.uintp(j)] = acc[i, j]
        return multiplies

    return tile


long4, short4 = make_tile(4, LONG), make_tile(4, 1)
long1, short1 = make_tile(1, 8), make_tile(1, 1)


@njit
def last_pixels(lines, begin, end, shifts, taps, weight, w, start, y, at):
    # of one channel, too few for a vector
    multiplies = 0
    for p in range(begin, end):
        total = start
        for r in range(shifts.size):
            total += lines[shifts[r] + np.uintp(p)] * weight[w + taps[r]]
            multiplies += 1
        y[at + np.uintp(p)] = total
    return multiplies


@njit
def share(job, jobs, x, weight, bias, y, K, regions, all_shifts, all_taps, sizes):
    # x (N, C, H, W); weight flat (M, K); bias (M,); y (N, M, OH, OW)
    N, C, H, W = x.shape
    M, OH, OW = y.shape[1:]
    MG, fours, LANES = M // C, (C + 3) // 4, registers(y, 1, 1).shape[1]
    flat_x, flat_y = x.reshape(x.size), y.reshape(y.size)
    lines, halves, kept = aligned(sizes[0], y), aligned(sizes[1], y), aligned(sizes[2], y)
    units = N * fours * len(regions)
    multiplies, zero = 0, np.intp(0)
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        region, rest = regions[unit % len(regions)], unit // len(regions)
        n, c = rest // fours, rest % fours * 4
        some = min(4, C - c)
        fill(flat_x, n * C + c, some, H, W, region, halves, lines)
        R = region["TH"] * region["TW"]
        shifts, taps = all_shifts[region["kind"], :R], all_taps[region["kind"], :R]
        beside = region["TW"] * region["phases"] * region["size"]
        pixels = region["height"] * region["width"]
        end = pixels // LANES * LANES
        for i in range(MG):  # a channel's outputs
            m = c * MG + i
            out, corner, plane = kept, i * pixels, MG * pixels
            if region["whole"]:
                out, plane = flat_y, MG * OH * OW
                corner = ((n * M + m) * OH + region["oh"]) * OW + region["ow"]
            apart, more = np.uintp(MG * K), np.uintp(MG)
            b, w, at, step, d = np.uintp(m), np.uintp(m * K), np.uintp(corner), np.uintp(plane), np.uintp(beside)
            if some == 4:
                middle = end // (LONG * LANES) * LONG * LANES
                multiplies += long4(lines, d, zero, middle, shifts, taps, weight, w, apart, bias, b, more, out, at, step)
                multiplies += short4(lines, d, middle, end, shifts, taps, weight, w, apart, bias, b, more, out, at, step)
            for j in range(some):
                line, q, v, to = lines[j * beside :], b + np.uintp(j) * more, w + np.uintp(j) * apart, at + np.uintp(j) * step
                if some < 4:
                    middle = end // (8 * LANES) * 8 * LANES
                    multiplies += long1(line, d, zero, middle, shifts, taps, weight, v, apart, bias, q, more, out, to, step)
                    multiplies += short1(line, d, middle, end, shifts, taps, weight, v, apart, bias, q, more, out, to, step)
                multiplies += last_pixels(line, end, pixels, shifts, taps, weight, v, bias[q], out, to)
        if not region["whole"]:
            k = 0
            for m in range(c * MG, (c + some) * MG):
                for i in range(region["height"]):
                    to = ((n * M + m) * OH + region["oh"] + i * region["down"]) * OW + region["ow"]
                    for j in range(region["width"]):
                        flat_y[np.uintp(to + j * region["across"])] = kept[np.uintp(k + j)]
                    k += region["width"]
    return multiplies


@njit(parallel=True)
def channel_loops(x, weight, bias, y, K, regions, shifts, taps, sizes, counts):
    jobs = counts.size
    for job in prange(jobs):
        counts[job] = share(np.intp(job), jobs, x, weight, bias, y, K, regions, shifts, taps, sizes)


def run(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Run the lines of a convolution whose groups have one input channel each."""
    (N, C, M), window, threads = call.sizes, call.window, numba.get_num_threads()
    y = empty("output", (N, M, *window.output), call.x.dtype)
    planned = plan(N, C, M, C, window, False, y.itemsize, 4)
    regions, shifts, taps, sizes, pairs, outside = planned
    jobs = min(N * -(-C // 4) * len(regions), 2 * threads)
    counts, K = np.zeros(jobs, np.int64), window.kernel[0] * window.kernel[1]
    channel_loops(call.x, call.weight.reshape(-1), call.bias, y, K, regions, shifts, taps, sizes, counts)
    equals = "dense" if pairs == K * window.output[0] * window.output[1] else "in bounds"
    return y, (Pass("kernel", int(counts.sum()), outside * N * M, equals, follows=True),)
