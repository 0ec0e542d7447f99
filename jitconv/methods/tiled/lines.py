"""Every variant fills lines; one loop multiplies them.

The textbook loops fetch an input and an output from memory for every multiply. Here the same
multiplies are done on numbers that stay in the processor's registers, in three steps, which
notebook 11 builds one by one:

1. *Fill.* For each input channel and each column of taps the image's rows are copied once, shifted
   to where that column meets them, zeros where it meets padding. Such a line holds, as one run of
   memory, what a tap meets in all outputs of a region, row after row; the tap below it meets the
   same line, some rows further. A 1×1 kernel without stride or padding needs no copy: the image is
   its own line (but a large one with many channels is faster with lines).
2. *Multiply.* The sums of some output channels × some neighbouring pixels, a tile, stay in
   registers while the loop goes over all taps (c, kh, kw):

       acc[channel, pixel] += lines[shift[tap] + pixel] * weight[channel, tap]

   Once fetched, a vector of pixels serves every channel of the tile, and a weight every pixel.
   Where a region's last pixels are too few for a vector, sixteen taps of a pixel fill it instead
   (`dots`); taps that are too few for that, too, are multiplied one by one.
3. *Add.* The sums of the first few hundred taps begin with the bias, and are stored; those of the
   next are added to the output. Short sums keep float32 errors small.

The dense variants differ in nothing but which outputs make a region; `strips` tells that. All of
a standard convolution is one region, cut where its lines would leave the cache. A transposed one
has stride² of them, its phases: each is a small convolution of the image, and they interleave.
Dilated and transposed ones are also cut where their taps leave the image, if that saves time.
Depthwise ones share the lines, but not this loop, since no two output channels read the same:
`channels` has theirs, and `turned` another for wide kernels and small images.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ...call import Dense, empty
from ...costs.report import Pass
from ...jit import get_num_threads, njit
from .regions import NUMBER, TAPS, Plan, plan
from .registers import BLOCK, BYTES, LANES, MANY, aligned, move, numbers, registers, spread

# vectors of pixels in a long tile of MANY, of four, of three, and of one output channels
WIDE, FOUR, THREE, ONE = (3, 3, 2, 4) if BYTES == 64 else (2, 2, 2, 8)
PAIR = 2 if BYTES == 64 else 1  # pixels that are left over, and share what is fetched


class Factors(NamedTuple):
    """Some taps, as they meet some pixels and some output channels."""

    lines: np.ndarray  # flat, where pixel p meets tap r at `at` + shifts[r] + p
    at: int
    shifts: np.ndarray
    weight: np.ndarray  # flat, where that tap of channel i lies at w + i * apart + taps[r]
    w: int
    apart: int
    taps: np.ndarray
    channels: int
    pixels: int


class Outputs(NamedTuple):
    """Where those pixels and channels lie."""

    y: np.ndarray  # flat, where pixel p of channel i lies at `at` + i * plane + p
    at: int
    plane: int


@njit(inline=True)
def tile(acc, factors, first, end, i0, bias, m, c0, outputs):
    # For whole tiles of the pixels from the first up to the end, and channels from number i0 on,
    # whose bias lies at m + i0: the sums over all taps, acc (CHANNELS, PIXELS). Those of the first
    # input channels begin with the bias; those of others are added to y
    (lines, at, shifts, weight, w, apart, taps, _, _), (y, to, plane) = factors, outputs
    (CHANNELS, PIXELS), multiplies, zero = acc.shape, 0, y.dtype.type(0)
    w, to = w + np.uintp(i0) * apart, to + i0 * plane
    for p in range(first, end - PIXELS + 1, PIXELS):
        for i in range(CHANNELS):
            begin = zero if c0 > 0 else bias[np.uintp(m + i0 + i)]
            for j in range(PIXELS):
                acc[i, j] = begin
        for r in range(shifts.size):
            values, tap = shifts[r] + np.uintp(at + p), taps[r] + w
            for i in range(CHANNELS):
                factor = weight[tap + np.uintp(i) * apart]
                for j in range(PIXELS):  # across the lanes of the vector registers
                    acc[i, j] += lines[values + np.uintp(j)] * factor
                    multiplies += 1
        for i in range(CHANNELS):
            target = np.uintp(to + i * plane + p)
            if c0 > 0:
                for j in range(PIXELS):
                    acc[i, j] += y[target + np.uintp(j)]
            for j in range(0, PIXELS, LANES):
                move(acc, i * PIXELS + j, 1, y, target + np.uintp(j))
    return multiplies


def make_tile(CHANNELS, VECTORS):
    """Return the loops around a tile of such extents, which LLVM unrolls."""

    @njit(slp=True)
    def sized(factors, first, end, i0, bias, m, c0, outputs):
        acc = registers(factors.lines, CHANNELS, VECTORS)
        return tile(acc, factors, first, end, i0, bias, m, c0, outputs)

    return sized


@njit(inline=True)
def dot_products(acc, PIXELS, window, first, R, weight, w, apart, sums, at):
    # The loops for pixels that are left over: taps lie across the lanes of acc (SUMS, LANES), a sum
    # in each. window flat: a pixel's R taps, from the first on, the next pixel's after them; weight
    # flat: channel i's from w + i * apart on; sums flat (PIXELS, CHANNELS, LANES), from `at` on
    SUMS, CHANNELS, multiplies = len(acc), len(acc) // PIXELS, 0
    for k in range(0, SUMS * LANES, LANES):
        move(sums, at + np.uintp(k), 1, acc, k)
    for r in range(0, R - LANES + 1, LANES):
        for p in range(PIXELS):
            values = first + np.uintp(p * R) + np.uintp(r)
            for i in range(CHANNELS):
                factors = w + np.uintp(i) * apart + np.uintp(r)
                for j in range(LANES):
                    value, factor = window[values + np.uintp(j)], weight[factors + np.uintp(j)]
                    acc[p * CHANNELS + i, j] += value * factor
                    multiplies += 1
    for k in range(0, SUMS * LANES, LANES):
        move(acc, k, 1, sums, at + np.uintp(k))
    return multiplies


def make_dots(CHANNELS, PIXELS):
    """Return the loops for so many pixels that are left over, at a time."""
    SUMS = PIXELS * CHANNELS

    @njit(slp=True)
    def sized(window, first, R, weight, w, apart, sums, at):
        acc = registers(window, SUMS, 1)
        return dot_products(acc, PIXELS, window, first, R, weight, w, apart, sums, at)

    return sized


# Tiles of several vectors of pixels, and of one. Without AVX-512 LANES pixels are two vectors, and
# a tile of fewer would be no shorter.
long, long4, long3 = make_tile(MANY, WIDE), make_tile(4, FOUR), make_tile(3, THREE)
two, short, short4, short3 = long, long, long4, long3
if BYTES == 64:
    two, short = make_tile(MANY, 2), make_tile(MANY, 1)
    short4, short3 = make_tile(4, 1), make_tile(3, 1)
long1, short1 = make_tile(1, ONE), make_tile(1, 1)
dots, dots1 = make_dots(BLOCK, 1), make_dots(1, 1)
dots2 = dots if PAIR == 1 else make_dots(BLOCK, 2)  # of two pixels


@njit
def put(value, target, at, count):
    for i in range(count):
        target[np.uintp(at) + np.uintp(i)] = value


@njit
def tiles(factors, bias, m, c0, outputs):
    # all pixels that fill vectors; bias, c0: see `tile`
    channels, multiplies, zero, i = factors.channels, 0, np.intp(0), 0
    whole = factors.pixels // LANES
    end = whole * LANES
    while i < channels:
        many, vectors = 1, ONE
        if channels - i >= MANY and channels - i != MANY + 2:  # else two would be left
            many, vectors = MANY, WIDE
        elif channels - i == 3 or channels - i == 6:  # six are two tiles of three
            many, vectors = 3, THREE
        elif channels - i >= 4:
            many, vectors = 4, FOUR
        size = numbers(vectors, bias.itemsize)  # pixels of a long tile
        # four vectors are two tiles of two, rather than one of three and a slow one of one
        twos = -whole % 3 if many == MANY and size == 3 * LANES and whole > 1 else 0
        a = (end - 2 * twos * LANES) // size * size  # where tiles of two vectors begin
        b = a + 2 * twos * LANES  # and of one
        if many == MANY:
            multiplies += long(factors, zero, a, i, bias, m, c0, outputs)
            multiplies += two(factors, a, b, i, bias, m, c0, outputs)
            multiplies += short(factors, b, end, i, bias, m, c0, outputs)
        elif many == 4:
            multiplies += long4(factors, zero, a, i, bias, m, c0, outputs)
            multiplies += short4(factors, a, end, i, bias, m, c0, outputs)
        elif many == 3:
            multiplies += long3(factors, zero, a, i, bias, m, c0, outputs)
            multiplies += short3(factors, a, end, i, bias, m, c0, outputs)
        else:
            multiplies += long1(factors, zero, a, i, bias, m, c0, outputs)
            multiplies += short1(factors, a, end, i, bias, m, c0, outputs)
        i += many
    return multiplies


@njit
def gather(source, at, places, target, to):
    for r in range(places.size):
        target[np.uintp(to) + np.uintp(r)] = source[at + places[r]]


@njit
def add_up(sums, at, channels, y, to, plane):
    # adds up the lanes that `dots` left for a pixel, and clears them
    for i in range(channels):
        lanes, total = at + np.uintp(i * LANES), sums.dtype.type(0)
        for j in range(LANES):
            total += sums[lanes + np.uintp(j)]
        for j in range(LANES):
            sums[lanes + np.uintp(j)] = 0
        y[np.uintp(to + i * plane)] += total


@njit
def last_pixels(factors, in_order, windows, packed, sums, enough, outputs):
    # The pixels that are left, too few for a vector. in_order: a channel's taps lie side by side in
    # the weight, else they are copied to packed (BLOCK, R). filled: windows (left, R), what the
    # taps meet, and sums, of every BLOCK channels, or of one, (left, ·, LANES), which are added to
    # y and cleared if they are of enough taps
    (lines, at, shifts, weight, w, apart, taps, channels, pixels), (y, to, plane) = factors, outputs
    left, end = pixels % LANES, pixels // LANES * LANES
    R, multiplies, at, to = shifts.size, 0, at + end, to + end
    whole = R // LANES * LANES  # taps that fill vectors
    for first in range(0, channels, 64):  # the other taps, one by one, on sums that stay in cache
        last = min(channels, first + 64)
        for p in range(left):
            for r in range(whole, R):
                value, tap = lines[np.uintp(at + p) + shifts[r]], w + taps[r]
                for i in range(first, last):
                    y[np.uintp(to + i * plane + p)] += value * weight[tap + np.uintp(i) * apart]
                    multiplies += 1
    for p in range(left):
        gather(lines, np.uintp(at + p), shifts[:whole], windows, p * R)
    i = 0
    while i < channels and (whole > 0 or enough):  # or sums that earlier chunks left
        many = BLOCK if channels - i >= BLOCK else 1
        source, v, a = weight, w + np.uintp(i) * apart, apart
        if not in_order:
            for r in range(whole):
                for j in range(many):
                    packed[np.uintp(j * R + r)] = weight[v + np.uintp(j) * apart + taps[r]]
            source, v, a = packed, np.uintp(0), np.uintp(R)
        p = 0
        while p < left:
            q, k = np.uintp(p * R), np.uintp((i * left + p * many) * LANES)
            some = 1
            if many == BLOCK and left - p >= PAIR:
                some = PAIR
                multiplies += dots2(windows, q, R, source, v, a, sums, k)
            elif many == BLOCK:
                multiplies += dots(windows, q, R, source, v, a, sums, k)
            elif left - p >= BLOCK:  # pixels and channels swap roles
                some = BLOCK
                multiplies += dots(source, v, R, windows, q, np.uintp(R), sums, k)
            else:
                multiplies += dots1(windows, q, R, source, v, a, sums, k)
            p += some
        for p in range(left if enough else 0):
            k = np.uintp((i * left + p * many) * LANES)
            add_up(sums, k, many, y, to + i * plane + p, plane)
        i += many
    return multiplies


@njit
def some_taps(factors, in_order, bias, m, c0, last, waiting, buffers, outputs):
    # all pixels of some output channels, for the taps of some input channels from number c0 on, the
    # last or not; returns the count, and how many taps now wait in the lanes' sums
    left, (windows, lane_sums, packed) = factors.pixels % LANES, buffers
    if c0 == 0:  # as yet the last pixels are their bias, and the lanes' sums zero
        y, to, plane = outputs
        for i in range(factors.channels):
            put(bias[m + i], y, to + i * plane + factors.pixels - left, left)
        put(y.dtype.type(0), lane_sums, np.intp(0), factors.channels * left * LANES)
    multiplies = tiles(factors, bias, m, c0, outputs)
    if left > 0:
        waiting += factors.shifts.size // LANES * LANES
        enough = waiting >= LANES * TAPS or (waiting > 0 and last)
        multiplies += last_pixels(factors, in_order, windows, packed, lane_sums, enough, outputs)
        waiting = 0 if enough else waiting
    return multiplies, waiting


@njit
def copy(source, at, pitch, step, target, to, width, count, rows):
    # rows of `count` numbers, `step` apart, from source, where rows are pitch apart, to target,
    # where they are width apart; up to LANES - 1 numbers after each are overwritten. Wider steps
    # than two are rare, and fetched one by one
    most = (count + LANES - 1) // LANES if step <= 2 else 0
    for i in range(rows):
        a, b, vectors = at + i * pitch, to + i * width, most
        while vectors > 0 and a + vectors * LANES * step > source.size:
            vectors -= 1  # the last would reach out of source
        if step == 1:
            for k in range(0, vectors * LANES, LANES):
                move(source, np.uintp(a + k), 1, target, np.uintp(b + k))
        else:
            for k in range(0, vectors * LANES, LANES):
                move(source, np.uintp(a + 2 * k), 2, target, np.uintp(b + k))
        for j in range(vectors * LANES, count):
            target[np.uintp(b + j)] = source[np.uintp(a + j * step)]


@njit
def inside(first, step, count, end):
    # of `count` numbers, `step` apart from the first on, the range of those from 0 up to the end
    begin, stop = -first, end - first
    if step > 1:  # division is slow
        begin, stop = -(first // step), -(-stop // step)
    begin = min(count, max(0, begin))
    return begin, max(begin, min(count, stop))


@njit
def fill(x, channel, some, H, W, region, lines):
    # the lines of some channels, from `channel` on: of each, those of every column of taps.
    # x flat (·, H, W); lines flat (some, TW, row_phases, size)
    SH, SW, rows, width = region["SH"], region["SW"], region["rows"], region["width"]
    line, apart = np.intp(0), region["TW"] * region["row_phases"] * region["size"]
    zero = lines.dtype.type(0)
    for kw in range(region["TW"]):
        w = region["iw"] + kw * region["DW"]
        left, right = inside(w, SW, width, W)
        for phase in range(region["row_phases"]):
            h = region["ih"] + phase
            top, bottom = inside(h, SH, rows, H)
            runs, count = bottom - top, right - left
            run = count
            if SH == SW == 1 and width == W and runs > 0 and count > 0:  # one run of all rows
                runs, run = 1, count + (runs - 1) * width
            for c in range(some):
                at = ((channel + c) * H + h + top * SH) * W + w + left * SW
                to = c * apart + line
                put(zero, lines, to, top * width)
                copy(x, at, SH * W, SW, lines, to + top * width + left, width, run, runs)
                put(zero, lines, to + bottom * width, (rows - bottom) * width)
                for k in range(width - count):  # beside the image; a run left other pixels there
                    j = k if k < left else k + count
                    for i in range(top, bottom):
                        lines[np.uintp(to + i * width + j)] = 0
            line += region["size"]


@njit
def store(kept, region, channel, some, OH, OW, y):
    # a region whose outputs lie apart: kept flat (some, height, width) -> y flat (·, OH, OW)
    k, width = 0, region["width"]
    for m in range(channel, channel + some):
        for i in range(region["height"]):
            to = (m * OH + region["oh"] + i * region["down"]) * OW + region["ow"]
            if region["across"] == 2 and BYTES == 64:  # masked stores are slow without AVX-512
                for j in range(0, width, LANES):
                    spread(kept, k + j, min(LANES, width - j), y, to + 2 * j)
            else:
                for j in range(width):
                    y[np.uintp(to + j * region["across"])] = kept[np.uintp(k + j)]
            k += width


@njit(jobs=True)
def line_loops(job, x, weight, bias, y, transposed, regions, tables, sizes, groups, parts, counts):
    # A job has its share of the units, each of an image, a group, a part of the group's output
    # channels, and a region: it fills lines, chunk by chunk of the input channels, and multiplies.
    # x (N, C, H, W); weight (M, C/groups, KH, KW), or (C, M/groups, KH, KW) if transposed;
    # bias (M,); y (N, M, OH, OW); regions, tables, sizes: see `Plan`; output channels are cut into
    # parts; counts (jobs,)
    (N, C, H, W), (M, OH, OW) = x.shape, y.shape[1:]
    CG, MG, K = C // groups, M // groups, weight.shape[2] * weight.shape[3]
    per_m, per_c = (K, MG * K) if transposed else (CG * K, K)  # from channel to channel
    flat_x, flat_w, flat_y = x.reshape(x.size), weight.reshape(weight.size), y.reshape(y.size)
    lines, kept = aligned(sizes[0], y), aligned(sizes[1] + LANES, y)
    buffers = aligned(sizes[2], y), aligned(sizes[3], y), aligned(sizes[4], y)
    # a call without lines reads the image itself
    jobs, blocks, own = counts.size, (MG + BLOCK - 1) // BLOCK, sizes[0] == 0
    units = N * groups * parts * len(regions)
    multiplies, zero = 0, np.intp(0)
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        region, rest = regions[unit % len(regions)], unit // len(regions)
        part, g, n = rest % parts, rest // parts % groups, rest // parts // groups
        m0, m1 = blocks * part // parts * BLOCK, min(MG, blocks * (part + 1) // parts * BLOCK)
        m, channels, pixels = g * MG + m0, m1 - m0, region["height"] * region["width"]
        out, corner, plane = kept, 0, pixels
        if region["contiguous"]:
            out, plane = flat_y, OH * OW
            corner = ((n * M + m) * OH + region["oh"]) * OW + region["ow"]
        outputs, waiting = Outputs(out, corner, plane), 0
        for c0 in range(0, CG, region["step"]):
            some, c = min(region["step"], CG - c0), n * C + g * CG + c0
            R = some * region["TH"] * region["TW"]
            shifts, taps = tables[0, region["kind"], :R], tables[1, region["kind"], :R]
            w = np.uintp(g * MG * CG * K + m0 * per_m + c0 * per_c)
            values, base = lines, zero
            if own:
                values, base = flat_x, c * H * W + region["ih"] * W
            else:
                fill(flat_x, c, some, H, W, region, lines)
            apart, ordered, last = np.uintp(per_m), region["in_order"] == 1, c0 + some == CG
            factors = Factors(values, base, shifts, flat_w, w, apart, taps, channels, pixels)
            done, waiting = some_taps(
                factors, ordered, bias, m, c0, last, waiting, buffers, outputs
            )
            multiplies += done
        if not region["contiguous"]:
            store(kept, region, n * M + m, channels, OH, OW, flat_y)
    counts[job] = multiplies


@functools.lru_cache(256)
def parts_of(
    channels: int, images: int, regions: tuple[tuple[int, int], ...], threads: int, least: int
) -> int:
    """Return into how many parts to cut the output channels, so that no thread waits for others.

    `regions` has, of each region of an image, its multiplies for one output channel, and the
    numbers in its lines.
    """
    blocks, (multiplies, filled) = -(-channels // BLOCK), np.array(regions).T

    def longest(parts: int) -> float:
        sizes = np.diff(np.minimum(np.arange(parts + 1) * blocks // parts * BLOCK, channels))
        # in the order of `line_loops`
        units = np.tile((np.outer(sizes, multiplies) + NUMBER * filled).ravel(), images)
        ends = units.size * np.arange(threads + 1) // threads
        # measured: threads with one region of an image each are slower than if all share each
        alone = 1.05 if images == 1 < len(regions) and units.size <= threads else 1.0
        return np.diff(np.append(0, units.cumsum())[ends]).max() * alone

    most = 8 * threads // (images * len(regions))  # none, where there is much to share anyway
    most = max(least, min(blocks, max(most, threads)) if most > 0 else least)
    return min(range(least, most + 1), key=longest)


def multiply(
    planned: Plan,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    groups: int,
    transposed: bool = False,
) -> int:
    """Deal the regions out to jobs; return the count."""
    regions, tables, sizes, *_ = planned
    N, M, threads = len(x), bias.size, min(planned.busy, get_num_threads())
    images = max(1, N) * groups
    parts = parts_of(M // groups, images, planned.work, threads, planned.parts)
    counts = np.zeros(planned.jobs(images * regions.size * parts), np.int64)
    line_loops(x, weight, bias, y, transposed, regions, tables, sizes, groups, parts, counts)
    return sum(counts.tolist())


def run(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Run the lines of a dense convolution, or of a transposed one."""
    (N, C, M), window, groups, transposed = call.sizes, call.window, call.groups, call.transposed
    y = empty("output", (N, M, *window.output), call.x.dtype)
    planned = plan(N, C, M, groups, window, transposed, y.itemsize, 1)
    done = multiply(planned, call.x, call.weight, call.bias, y, groups, transposed)
    return y, (planned.done("kernel", done, N * M * (C // groups)),)
