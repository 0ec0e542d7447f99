"""Gradients of weights as products of lines.

What a weight's gradient sums over all outputs is dy at the output times what the weight's tap met
there. A line holds just that, pixel after pixel: so the gradient of some channels' weights is the
product of their dy, channels × pixels, and of the lines, taps × pixels. The same lines as in the
forward pass, the same regions; but now the pixels lie across the lanes of every sum, and the lanes
are added up at the end of a region.

Where a region has few pixels, that would take longer than the products. There the lines are turned,
all taps of a pixel side by side, and the tiles of the forward pass run over them, with the taps in
the place of pixels and the pixels in that of taps. Of depthwise convolutions, sixteen channels at a
time go side by side: see `turned_products`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ...costs.report import Pass
from ...jit import get_num_threads, njit
from ...shapes import Window
from .lines import Factors, Outputs, copy, fill, gather, parts_of, put, tiles
from .regions import plan
from .registers import BLOCK, LANES, REGISTERS, aligned, move, registers, transpose_rows

# channels × taps of a tile: their sums, a vector of pixels each, fill the registers
CHANNELS, TAPS = (4, 6) if REGISTERS > 16 else (2, 3)
PIXELS = 1100  # of a region whose lines are turned, at most; half as many again from 64 outputs on
SHARE = 160  # taps, at most, that a job fills lines for; twice as many where pixels are few


@njit(inline=True)
def products(acc, TAPS, dy, at, plane, lines, base, shifts, r, end, sums):
    # The loops over the pixels of a region, for some channels and taps, acc (SUMS, LANES). dy flat:
    # channel i's pixels from at + i * plane on; lines flat: where tap r + t meets pixel p at
    # base + shifts[r + t] + p; filled: sums flat (CHANNELS, TAPS, LANES)
    SUMS, CHANNELS, multiplies = len(acc), len(acc) // TAPS, 0
    for i in range(SUMS):
        for j in range(LANES):
            acc[i, j] = 0
    for p in range(0, end - LANES + 1, LANES):
        for t in range(TAPS):
            values = base + shifts[r + np.uintp(t)] + np.uintp(p)
            for i in range(CHANNELS):
                factors = at + np.uintp(i) * plane + np.uintp(p)
                for j in range(LANES):
                    value, factor = lines[values + np.uintp(j)], dy[factors + np.uintp(j)]
                    acc[i * TAPS + t, j] += value * factor
                    multiplies += 1
    for k in range(0, SUMS * LANES, LANES):
        move(acc, k, 1, sums, k)
    return multiplies


def make_products(CHANNELS, TAPS):
    """Return the loops for so many channels and taps, which LLVM unrolls."""
    SUMS = CHANNELS * TAPS

    @njit(slp=True)
    def sized(dy, at, plane, lines, base, shifts, r, end, sums):
        acc = registers(dy, SUMS, 1)
        return products(acc, TAPS, dy, at, plane, lines, base, shifts, r, end, sums)

    return sized


many, thin = make_products(CHANNELS, TAPS), make_products(CHANNELS, 1)
many1, thin1 = make_products(1, TAPS), make_products(1, 1)


@njit
def add_up(read, r, some, sums, target):
    # what `products` leaves: the sums of the lanes, and the pixels too few for a vector
    (dy, at, plane, lines, base, shifts, channels, pixels) = read
    (dweight, w, apart, taps), multiplies = target, 0
    for i in range(channels):
        for t in range(some):
            k, half = np.uintp((i * some + t) * LANES), LANES // 2
            while half > 0:
                for j in range(half):
                    sums[k + np.uintp(j)] += sums[k + np.uintp(half) + np.uintp(j)]
                half //= 2
            total, value = sums[k], at + np.uintp(i) * plane
            tap = base + shifts[r + np.uintp(t)]
            for p in range(pixels // LANES * LANES, pixels):
                total += dy[value + np.uintp(p)] * lines[tap + np.uintp(p)]
                multiplies += 1
            dweight[w + np.uintp(i) * apart + taps[r + np.uintp(t)]] += total
    return multiplies


@njit
def straight(read, first, sums, target):
    # The gradients of some channels' taps, from number `first` on: `products` and what it leaves.
    # dy flat: channel i's pixels from at + i * plane on; lines flat: where tap r meets pixel p at
    # base + shifts[r] + p; dweight flat: tap r of channel i at w + i * apart + taps[r]
    (dy, at, plane, lines, base, shifts, channels, pixels) = read
    (dweight, w, apart, taps), multiplies, m = target, 0, 0
    while m < channels:
        now = CHANNELS if channels - m >= CHANNELS else 1
        a, v, tap = at + np.uintp(m) * plane, w + np.uintp(m) * apart, first
        while tap < shifts.size:
            some, r = TAPS if shifts.size - tap >= TAPS else 1, np.uintp(tap)
            if now > 1 and some > 1:
                multiplies += many(dy, a, plane, lines, base, shifts, r, pixels, sums)
            elif now > 1:
                multiplies += thin(dy, a, plane, lines, base, shifts, r, pixels, sums)
            elif some > 1:
                multiplies += many1(dy, a, plane, lines, base, shifts, r, pixels, sums)
            else:
                multiplies += thin1(dy, a, plane, lines, base, shifts, r, pixels, sums)
            these = (dy, a, plane, lines, base, shifts, now, pixels)
            multiplies += add_up(these, r, some, sums, (dweight, v, apart, taps))
            tap += some
        m += now
    return multiplies


@njit
def turn_lines(lines, base, shifts, pixels, windows):
    # lines flat: where tap r meets pixel p at base + shifts[r] + p -> windows flat (pixels, R), of
    # the taps that fill vectors; of all taps where the pixels fill none
    R = shifts.size
    if pixels < LANES:
        for p in range(pixels):
            gather(lines, base + np.uintp(p), shifts, windows, p * R)
        return
    for first in range(0, pixels, LANES):
        p = min(first, pixels - LANES)  # the last ones are stored again
        for r in range(0, R - LANES + 1, LANES):
            transpose_rows(lines, base + np.uintp(p), shifts, r, windows, p * R + r, R)


@njit
def turned(factors, taps, sums, outputs, in_order):
    # The gradients of whole vectors of taps: factors are windows, what each tap of a pixel meets,
    # and dy; outputs dweight, where they lie in order, or each where taps say
    (R, M), (dweight, w, apart) = (factors.pixels, factors.channels), outputs
    if in_order:
        return tiles(factors, sums, 0, 1, Outputs(dweight, w + np.intp(taps[0]), apart))
    end = R // LANES * LANES
    put(dweight.dtype.type(0), sums, 0, M * R)
    multiplies = tiles(factors, sums, 0, 1, Outputs(sums, 0, R))
    for i in range(M):
        for r in range(end):
            dweight[np.uintp(w + i * apart) + taps[r]] += sums[np.uintp(i * R + r)]
    return multiplies


@njit(jobs=True)
def product_loops(job, x, dy, dweight, regions, tables, sizes, groups, cuts, parts, few, counts):
    # x (N, C, H, W); dy (N, M, OH, OW); dweight (M, C/g, KH, KW) zeros; regions, tables, sizes:
    # see `Plan`; cuts: where shares of the input channels begin, and the last ends; few: the pixels
    # of the largest region, or 0 where lines are not turned. A job has input channels or output
    # channels to itself, and adds over the images.
    (N, C, H, W), (_, M, OH, OW), (_, CG, KH, KW) = x.shape, dy.shape, dweight.shape
    MG, K = M // groups, KH * KW
    flat_x, flat_dy, flat_dw = x.reshape(x.size), dy.reshape(dy.size), dweight.reshape(dweight.size)
    lines, kept = aligned(sizes[0], dy), aligned(sizes[1] + LANES, dy)
    most = np.diff(cuts).max() * K
    sums = aligned(max(CHANNELS * TAPS * LANES, MG * most if few > 0 else 0), dy)
    windows = aligned(few * most, dy)
    rows = np.arange(few).astype(np.uintp)
    jobs, own, chunks = counts.size, sizes[0] == 0, cuts.size - 1
    block = BLOCK if few > 0 else CHANNELS
    blocks, apart = (MG + block - 1) // block, np.uintp(CG * K)
    multiplies, units = 0, groups * chunks * parts
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        part, chunk, g = unit % parts, unit // parts % chunks, unit // parts // chunks
        m0 = g * MG + blocks * part // parts * block
        m1 = g * MG + min(MG, blocks * (part + 1) // parts * block)
        c0, some = cuts[chunk], cuts[chunk + 1] - cuts[chunk]
        for n in range(N):
            for region in regions:
                R, pixels = some * region["TH"] * region["TW"], region["height"] * region["width"]
                shifts, taps = tables[0, region["kind"], :R], tables[1, region["kind"], :R]
                values, base = lines, np.uintp(0)
                channel = n * C + g * CG + c0
                if own:
                    values, base = flat_x, np.uintp(channel * H * W + region["ih"] * W)
                else:
                    fill(flat_x, channel, some, H, W, region, lines)
                source, plane, first = flat_dy, OH * OW, 0
                at = ((n * M + m0) * OH + region["oh"]) * OW + region["ow"]
                if not region["contiguous"]:
                    width = region["width"]
                    for m in range(m1 - m0):
                        k, begin = m * pixels, at + m * plane
                        copy(flat_dy, begin, OW, 1, kept, k, width, width, region["height"])
                    source, plane, at = kept, pixels, 0
                a, p, w, channels = np.uintp(at), np.uintp(plane), m0 * CG * K + c0 * K, m1 - m0
                if few > 0:
                    turn_lines(values, base, shifts, pixels, windows)
                    now = rows[:pixels]  # a window of R taps for each
                    begins = np.uintp(R) * now
                    factors = Factors(windows, 0, begins, source, a, p, now, channels, R)
                    outputs = Outputs(flat_dw, w, CG * K)
                    multiplies += turned(factors, taps, sums, outputs, region["in_order"] == 1)
                    first = R // LANES * LANES  # the other taps are too few for a vector
                read = (source, a, p, values, base, shifts, channels, pixels)
                multiplies += straight(read, first, sums, (flat_dw, np.uintp(w), apart, taps))
    counts[job] = multiplies


@functools.lru_cache(256)
def _cuts(channels: int, most: int) -> np.ndarray:
    """Return where the input channels of a group are cut evenly, in whole vectors if that goes."""
    if channels <= most:
        return np.array([0, channels])
    whole = LANES if most >= LANES and channels % LANES == 0 else 1
    wholes = channels // whole
    shares = -(-wholes // (most // whole))
    shares = min(wholes, shares + shares % 2)  # threads mostly come in pairs
    return np.arange(shares + 1) * wholes // shares * whole


def run(x: np.ndarray, dy: np.ndarray, window: Window, groups: int) -> tuple[np.ndarray, Pass]:
    """Return the gradient of a weight, x (N, C, H, W) and dy (N, M, OH, OW) given."""
    (N, C), M, threads = x.shape[:2], dy.shape[1], get_num_threads()
    CG, MG, K = C // groups, M // groups, math.prod(window.kernel)
    planned = plan(N, C, M, groups, window, False, dy.itemsize, 1)
    regions, tables, sizes, *_ = planned
    dweight = np.zeros((M, CG, *window.kernel), dy.dtype)
    pixels = int((regions["height"] * regions["width"]).max())
    most = (2 if pixels <= PIXELS // 4 else 1) * SHARE // K
    cuts = _cuts(CG, min(max(1, most), int(regions["step"].min())))
    shares = groups * (cuts.size - 1)
    limit = PIXELS if MG < 64 else 3 * PIXELS // 2
    if pixels > limit or MG < BLOCK or np.diff(cuts).max() * K < 2 * LANES:
        pixels = 0
    # measured: filling lines takes as long as two channels, filling and turning them as eight
    parts = parts_of(MG, shares, ((3, 4 if pixels else 1),), threads, 1)
    counts = np.zeros(min(shares * parts, 2 * threads), np.int64)
    settings = (regions, tables, sizes, groups, cuts, parts, pixels)
    product_loops(x, dy, dweight, *settings, counts)
    return dweight, planned.done("weight", sum(counts.tolist()), N * M * CG)
