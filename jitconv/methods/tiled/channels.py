"""Four channels side by side, each with lines and taps of its own: depthwise convolutions.

Where an output channel reads one input channel, no two of them share a line. The tile of `lines`
then has a channel's own line in each of its rows: still four independent sums for each vector of
pixels, also where an image has few pixels. There are few taps, so that the sums go straight to the
output.
"""

from __future__ import annotations

import numpy as np

from ...call import Dense, empty
from ...costs.report import Pass
from ...jit import njit
from . import turned
from .lines import fill, store
from .regions import plan
from .registers import BYTES, LANES, REGISTERS, aligned, move, registers

# vectors of pixels in a run of four channels, and of one
FOUR, ONE = (6, 8) if REGISTERS > 16 else (2, 8)
# Sixteen channels at a time are `turned` under a kernel of at least WIDE columns, or where the
# output has at most SMALL pixels.
WIDE, SMALL = 4, 200


def make_run(CHANNELS, LONG):
    """Return the loops over all taps around runs of pixels of some channels."""

    @njit(slp=BYTES < 64)
    def run(
        lines, first, beside, pixels, shifts, taps, weight, w, apart, bias, m, more, y, at, plane
    ):
        # lines flat, where pixel p of channel i meets tap r at first + i * beside + shifts[r] + p;
        # weight flat, where that tap lies at w + i * apart + taps[r]; bias (M,), channel i's at
        # m + i * more; filled: y flat, pixel p of channel i at at + i * plane + p
        # One function for long tiles, short ones and the last pixels: where an image is small, a
        # call takes as long as a tile.
        many, few = registers(lines, CHANNELS, LONG), registers(lines, CHANNELS, 1)
        PIXELS = many.shape[1]
        multiplies, p = 0, np.intp(0)
        while p + PIXELS <= pixels:
            for j in range(PIXELS):
                for i in range(CHANNELS):
                    many[i, j] = bias[m + np.uintp(i) * more]
            for r in range(shifts.size):
                values, tap = first + shifts[r] + np.uintp(p), taps[r] + w
                for j in range(PIXELS):
                    for i in range(CHANNELS):
                        value = lines[values + np.uintp(i) * beside + np.uintp(j)]
                        many[i, j] += value * weight[tap + np.uintp(i) * apart]
                        multiplies += 1
            for i in range(CHANNELS):
                for j in range(0, PIXELS, LANES):
                    to = at + np.uintp(p) + np.uintp(i) * plane + np.uintp(j)
                    move(many, i * PIXELS + j, 1, y, to)
            p += PIXELS
        while p + LANES <= pixels:
            for j in range(LANES):
                for i in range(CHANNELS):
                    few[i, j] = bias[m + np.uintp(i) * more]
            for r in range(shifts.size):
                values, tap = first + shifts[r] + np.uintp(p), taps[r] + w
                for j in range(LANES):
                    for i in range(CHANNELS):
                        value = lines[values + np.uintp(i) * beside + np.uintp(j)]
                        few[i, j] += value * weight[tap + np.uintp(i) * apart]
                        multiplies += 1
            for i in range(CHANNELS):
                move(few, i * LANES, 1, y, at + np.uintp(p) + np.uintp(i) * plane)
            p += LANES
        for i in range(CHANNELS):  # pixels too few for a vector
            line, k = first + np.uintp(i) * beside, w + np.uintp(i) * apart
            for q in range(p, pixels):
                total = bias[m + np.uintp(i) * more]
                for r in range(shifts.size):
                    total += lines[line + shifts[r] + np.uintp(q)] * weight[k + taps[r]]
                    multiplies += 1
                y[at + np.uintp(q) + np.uintp(i) * plane] = total
        return multiplies

    return run


run_four, run_one = make_run(4, FOUR), make_run(1, ONE)


@njit(jobs=True)
def channel_loops(job, x, weight, bias, y, first, regions, tables, sizes, counts):
    # x (N, C, H, W), from channel `first` on; weight (M, 1, KH, KW); bias (M,); y (N, M, OH, OW)
    N, C, H, W = x.shape
    M, OH, OW = y.shape[1:]
    jobs, MG, fours = counts.size, M // C, (C - first + 3) // 4
    K = weight.shape[2] * weight.shape[3]
    flat_x, flat_w, flat_y = x.reshape(x.size), weight.reshape(weight.size), y.reshape(y.size)
    lines, kept = aligned(sizes[0], y), aligned(sizes[1] + LANES, y)
    units, apart, more = N * fours * len(regions), np.uintp(MG * K), np.uintp(MG)
    multiplies = 0
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        region, rest = regions[unit % len(regions)], unit // len(regions)
        n, c = rest // fours, first + rest % fours * 4
        some = min(4, C - c)
        fill(flat_x, n * C + c, some, H, W, region, lines)
        R = region["TH"] * region["TW"]
        shifts, taps = tables[0, region["kind"], :R], tables[1, region["kind"], :R]
        beside = np.uintp(region["TW"] * region["row_phases"] * region["size"])
        pixels = region["height"] * region["width"]
        for i in range(MG):  # a channel's outputs
            m, out, at, plane = np.uintp(c * MG + i), kept, i * pixels, MG * pixels
            if region["contiguous"]:
                out, plane = flat_y, MG * OH * OW
                at = ((n * M + c * MG + i) * OH + region["oh"]) * OW + region["ow"]
            to, step = np.uintp(at), np.uintp(plane)
            for j in range(1 if some == 4 else some):
                q, f, o = m + np.uintp(j) * more, np.uintp(j) * beside, to + np.uintp(j) * step
                w = q * np.uintp(K)
                read = (lines, f, beside, pixels, shifts, taps, flat_w, w, apart)
                written = (bias, q, more, out, o, step)
                if some == 4:
                    multiplies += run_four(*read, *written)
                else:
                    multiplies += run_one(*read, *written)
        if not region["contiguous"]:
            store(kept, region, n * M + c * MG, some * MG, OH, OW, flat_y)
    counts[job] = multiplies


def run(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Run the lines of a convolution whose groups have one input channel each.

    Of a transposed one, too, if they have one output channel each.
    """
    (N, C, M), window = call.sizes, call.window
    y = empty("output", (N, M, *window.output), call.x.dtype)
    multiplies, turns = 0, 0
    if window.size[0] * window.size[1] >= LANES and (
        window.kernel[1] >= WIDE or window.output[0] * window.output[1] <= SMALL
    ):
        turns = C // LANES * LANES
    if turns > 0:
        planned, multiplies = turned.run(call, turns, y)
    if turns < C:
        planned = plan(N, C, M, C, window, call.transposed, y.itemsize, 4)
        regions, tables, sizes, *_ = planned
        counts = np.zeros(planned.jobs(N * -(-(C - turns) // 4) * regions.size), np.int64)
        channel_loops(call.x, call.weight, call.bias, y, turns, regions, tables, sizes, counts)
        multiplies += sum(counts.tolist())
    return y, (planned.done("kernel", multiplies, N * M),)
