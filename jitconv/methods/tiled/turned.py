"""Depthwise convolutions with a channel in each lane, sixteen side by side.

Lines pay off when each is read many times. On a small image or under a wide kernel they are not:
every column of taps has its own, and the last pixels of each channel fill no vector. Here sixteen
channels go together, and a pixel is a vector:

1. *Turn.* The pixels that a region of outputs meets are laid side by side, sixteen channels of each
   in a run, with zeros where they meet padding. Where the stride skips columns, those that meet
   the same taps lie beside each other. The weights are turned likewise.
2. *Multiply.* The sums of a few outputs × sixteen channels stay in registers while the loop goes
   over all taps. A vector of weights serves all of them.
3. *Turn back.* The sums go to the output, sixteen pixels of sixteen channels at a time.
"""

from __future__ import annotations

import functools

import numpy as np

from ...call import Dense
from ...jit import njit
from ...shapes import Window
from .lines import inside, put, store
from .regions import Plan, plan
from .registers import BYTES, LANES, REGISTERS, aligned, move, registers, transpose

SOME = 7 if REGISTERS > 16 else 6  # outputs whose sums stay in registers


@njit
def turn(x, channel, H, W, region, square, pixels):
    # what a region meets in sixteen channels from `channel` on: x flat (·, H, W) -> pixels flat
    # (rows, SW, ·, LANES), column q in part q % SW; returns the numbers of such a part
    SW, plane, zero = region["SW"], H * W, x.dtype.type(0)
    rows = (region["height"] - 1) * region["SH"] + (region["TH"] - 1) * region["DH"] + 1
    columns = (region["width"] - 1) * SW + (region["TW"] - 1) * region["DW"] + 1
    begin, end = inside(region["iw"], 1, columns, W)
    part = (columns + SW - 1) // SW * LANES
    for i in range(rows):
        h, row = region["ih"] + i, i * SW * part
        stop = end if 0 <= h < H else begin
        for first in range(begin, stop, LANES):
            pixel = h * W + region["iw"] + first
            p = min(pixel, plane - LANES)
            if SW == 1 and p == pixel:  # up to LANES - 1 pixels after the row are overwritten
                to = row + first * LANES
                transpose(x, channel * plane + p, plane, 4 * plane, pixels, to, LANES)
            else:
                transpose(x, channel * plane + p, plane, 4 * plane, square, 0, LANES)
                lane, to = first % SW, row + first % SW * part + first // SW * LANES
                for k in range(pixel - p, pixel - p + min(LANES, stop - first)):
                    move(square, k * LANES, 1, pixels, to)
                    lane, to = lane + 1, to + part
                    if lane == SW:
                        lane, to = 0, to + LANES - SW * part
        for k in range(columns - (stop - begin)):  # beside the image
            q = k if k < begin else k + stop - begin
            put(zero, pixels, row + q % SW * part + q // SW * LANES, LANES)
    return part


@njit
def find(region, part, places, shifts):
    # in what `turn` has left: where the outputs' first taps lie, and how far from there the others
    SW, TW, p = region["SW"], region["TW"], 0
    for h in range(region["height"]):
        row = h * region["SH"] * SW * part
        for w in range(region["width"]):
            places[p] = np.uintp(row + w * LANES)
            p += 1
    for r in range(region["TH"] * TW):
        column = r % TW * region["DW"]
        row = (r // TW * region["DH"] * SW + column % SW) * part
        shifts[r] = np.uintp(row + column // SW * LANES)


@njit
def turn_weights(weight, first, apart, K, turned):
    # the taps of sixteen channels, the first one's from `first` on, the others apart from it ->
    # turned flat (·, LANES), from the second square on
    for k in range(0, K, LANES):
        at = min(first + k, weight.size - 15 * apart - LANES)
        if at >= 0:
            to = (LANES + at - first) * LANES
            transpose(weight, at, apart, 4 * apart, turned, to, LANES)
        else:
            for j in range(min(LANES, K - k)):
                for i in range(LANES):
                    turned[(LANES + k + j) * LANES + i] = weight[first + i * apart + k + j]


def make_some(PIXELS):
    """Return the loops over all taps around a few pixels of sixteen channels."""

    @njit(slp=BYTES < 64 or PIXELS == 1)  # one is written out number by number everywhere
    def some(pixels, places, first, shifts, taps, weights, bias, sums):
        # pixels flat, where output p meets tap r at places[p] + shifts[r]; weights flat, where that
        # tap lies at taps[r]; bias (LANES,); filled: sums flat (·, LANES), from the first output on
        acc = registers(pixels, PIXELS, 1)
        multiplies = 0
        for p in range(first, places.size - PIXELS + 1, PIXELS):
            for j in range(LANES):
                for i in range(PIXELS):
                    acc[i, j] = bias[j]
            for r in range(shifts.size):
                shift, tap = shifts[r], taps[r]
                for j in range(LANES):  # across the lanes of the vector registers
                    for i in range(PIXELS):
                        value = pixels[places[p + i] + shift + np.uintp(j)]
                        acc[i, j] += value * weights[tap + np.uintp(j)]
                        multiplies += 1
            for j in range(LANES):
                for i in range(PIXELS):
                    sums[np.uintp((p + i) * LANES) + np.uintp(j)] = acc[i, j]
        return multiplies

    return some


some, single = make_some(SOME), make_some(1)


@njit
def turn_back(sums, at, apart, count, square, y, to, plane):
    # sums flat: sixteen channels side by side, of pixel p from at + p * apart on -> y flat, of
    # channel i from to + i * plane on
    for first in range(0, count, LANES):
        p = max(0, min(first, count - LANES))  # the last ones are stored again
        if count >= LANES:
            transpose(sums, at + p * apart, apart, 4 * apart, y, to + p, plane)
        else:
            transpose(sums, at, apart, 4 * apart, square, 0, LANES)
            for i in range(LANES):
                q = np.uintp(to + i * plane)
                for j in range(count):
                    y[q + np.uintp(j)] = square[np.uintp(i * LANES) + np.uintp(j)]


@njit(jobs=True)
def turned_loops(job, x, weight, bias, y, channels, regions, tables, sizes, counts):
    # x (N, C, H, W), of which the first channels are taken; weight (M, 1, KH, KW); bias (M,);
    # y (N, M, OH, OW); regions, tables: see `Plan`; sizes: of a region's outputs, and of what it
    # meets; counts (jobs,)
    (N, C, H, W), (_, M, OH, OW) = x.shape, y.shape
    jobs, MG, K, blocks = counts.size, M // C, weight.shape[2] * weight.shape[3], channels // LANES
    flat_x, flat_w, flat_y = x.reshape(x.size), weight.reshape(weight.size), y.reshape(y.size)
    pixels, sums = aligned(sizes[1], y), aligned((sizes[0] + LANES) * LANES, y)
    square, turned = aligned(LANES * LANES, y), aligned((2 * LANES + K) * LANES, y)
    kept, biases = aligned(LANES * MG * sizes[0] + LANES, y), aligned(LANES, y)
    places, table = np.empty(sizes[0], np.uintp), np.empty((2, tables.shape[2]), np.uintp)
    multiplies, units = 0, N * blocks * len(regions)
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        region, rest = regions[unit % len(regions)], unit // len(regions)
        n, c = rest // blocks, rest % blocks * LANES
        count, R = region["height"] * region["width"], region["TH"] * region["TW"]
        part = turn(flat_x, n * C + c, H, W, region, square, pixels)
        shifts, taps, now = table[0, :R], table[1, :R], places[:count]
        find(region, part, now, shifts)
        for r in range(R):
            taps[r] = (tables[1, region["kind"], r] + np.uintp(LANES)) * np.uintp(LANES)
        out, at, plane = kept, 0, MG * count
        if region["contiguous"]:
            out, plane = flat_y, MG * OH * OW
            at = ((n * M + c * MG) * OH + region["oh"]) * OW + region["ow"]
        for i in range(MG):  # a channel's outputs
            m, left = c * MG + i, count // SOME * SOME
            turn_weights(flat_w, m * K, MG * K, K, turned)
            for j in range(LANES):
                biases[j] = bias[m + j * MG]
            multiplies += some(pixels, now, 0, shifts, taps, turned, biases, sums)
            multiplies += single(pixels, now, left, shifts, taps, turned, biases, sums)
            turn_back(sums, 0, LANES, count, square, out, at + i * (plane // MG), plane)
        if not region["contiguous"]:
            store(kept, region, n * M + c * MG, LANES * MG, OH, OW, flat_y)
    counts[job] = multiplies


@functools.lru_cache(256)
def planned_beside(N: int, C: int, M: int, window: Window, transposed: bool, itemsize: int) -> Plan:
    """Return a plan whose sizes are the outputs of a region, and the numbers of what it meets."""
    planned = plan(N, C, M, C, window, transposed, itemsize, LANES)
    regions = planned.regions
    rows, columns = (
        np.maximum(
            0, (regions[size] - 1) * regions[stride] + (regions[taps] - 1) * regions[step] + 1
        )
        for size, stride, taps, step in (("height", "SH", "TH", "DH"), ("width", "SW", "TW", "DW"))
    )
    # columns in whole strides, and after the last pixel a square that may be overwritten
    meets = (rows * (columns + regions["SW"]) + LANES).max() * LANES
    sizes = np.array([(regions["height"] * regions["width"]).max(), meets])
    return planned._replace(sizes=sizes)


def run(call: Dense, channels: int, y: np.ndarray) -> tuple[Plan, int]:
    """Fill y for the first channels of a depthwise call; return its plan and the count."""
    N, window = call.sizes[0], call.window
    planned = planned_beside(*call.sizes, window, call.transposed, y.itemsize)
    regions, tables, sizes, *_ = planned
    counts = np.zeros(planned.jobs(N * (channels // LANES) * regions.size), np.int64)
    turned_loops(call.x, call.weight, call.bias, y, channels, regions, tables, sizes, counts)
    return planned, sum(counts.tolist())
