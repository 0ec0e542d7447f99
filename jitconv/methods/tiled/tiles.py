"""The textbook loops, a small tile of outputs at a time.

The direct loops of each variant fetch an input and an output from memory for every multiply. Here
a tile of outputs, a few pixels × a few vectors of channels, stays in the processor's registers
while the loops run over all taps (c, kh, kw). A weight vector, once fetched, serves every pixel of
the tile, and a pixel serves every channel:

    acc[pixel, channel] += x[start[pixel] + shift[tap]] * weight[tap, channel]

That is the definition of each dense variant; they differ in where a pixel's window starts and how
far its taps lie apart. Two preparations make it so simple. The weights of a block of channels are
packed so that the channels of a tap are neighbours, and fill vector registers. And the output is
cut into regions (`strips`) whose pixels all meet the same taps in the image: inside nine
tenths of a photo all of them, at its border fewer. So no zero of a padding is ever multiplied, no
image is copied to be padded, and no tile hangs over an edge: multiplies = in bounds.

Where a group has few channels, pixels fill the vectors instead: see `planes`.
"""

from __future__ import annotations

import numba
import numpy as np

from ...call import Dense, counted, empty
from ...costs.report import Pass
from ...jit import njit, prange
from ...shapes import Pair
from .registers import BYTES, REGISTERS, registers
from .strips import strips, transposed_strips

# A wide tile: 6 pixels × 4 vectors of channels, or 3 where registers are few; vectors of 16 bytes
# go by eight. Channels that fill no wide tile go to narrow ones, of 12 pixels × 1 vector, and the
# last few to single ones, of 12 pixels × 1 channel. Pixels that fill no tile of a region go to
# smaller tiles, down to one pixel.
WIDE = 4 if BYTES > 16 else 8
PIXELS, SOME = (6, 3) if WIDE * 7 < REGISTERS else (3, 2)
CACHED = 1024  # taps whose packed weights stay in the second-level cache


def make_tile(PIXELS, VECTORS):
    """Return the loops over all taps around a tile; LLVM unrolls its extents, so they are fixed."""

    @njit
    def tile(x, starts, shifts, weight, taps, sums):
        # x flat; starts (PIXELS,), where each pixel's window begins; shifts (R,) from there to its
        # taps; weight (·, CHANNELS), of which taps (R,) names the rows; sums (PIXELS, CHANNELS)
        acc = registers(weight, PIXELS, VECTORS)
        CHANNELS = acc.shape[1]
        for j in range(CHANNELS):
            for i in range(PIXELS):
                acc[i, j] = sums[i, j]
        multiplies = 0
        for r in range(shifts.size):
            values, w = x[shifts[r] :], weight[taps[r]]
            for j in range(CHANNELS):  # across the lanes of the vector registers
                for i in range(PIXELS):
                    acc[i, j] += values[starts[i]] * w[j]
                    multiplies += 1
        for j in range(CHANNELS):
            for i in range(PIXELS):
                sums[i, j] = acc[i, j]
        return multiplies

    return tile


wide, wide_some, wide_one = make_tile(PIXELS, WIDE), make_tile(SOME, WIDE), make_tile(1, WIDE)
narrow, narrow_one = make_tile(12, 1), make_tile(1, 1)
single, single_one = make_tile(12, 0), make_tile(1, 0)


@njit
def aligned(rows, columns, like):
    # an array that begins where a cache line does: no vector of it lies across two of them
    numbers = np.empty(rows * columns + BYTES // like.itemsize, like.dtype)
    first = -numbers.ctypes.data % BYTES // like.itemsize
    return numbers[first : first + rows * columns].reshape((rows, columns))


@njit
def pack(weight, packed):
    # weight (channels, runs, taps) -> packed (taps of all runs, channels), 16 taps at a time
    _, runs, T = weight.shape
    for run in range(runs):
        for tap in range(0, T, 16):
            target = packed[run * T + tap :]
            for m in range(packed.shape[1]):
                source = weight[m, run, tap : tap + 16]
                for t in range(source.size):
                    target[t, m] = source[t]


@njit
def list_taps(row, column, C, channel, line, kernel, shifts, taps):
    # the taps of a region: how far from its window's start, and which of the packed weights
    KH, KW = kernel
    r = 0
    for c in range(C):
        for kh in range(row["taps"]):
            for kw in range(column["taps"]):
                shifts[r] = c * channel + kh * row["per_tap"] * line + kw * column["per_tap"]
                h, w = row["tap"] + kh * row["tap_step"], column["tap"] + kw * column["tap_step"]
                taps[r] = (c * KH + h) * KW + w
                r += 1
    return r


@njit
def list_pixels(first, row, column, image, line, out_image, out_line, starts, ends):
    # pixels of a region, from the first on: where their windows start, and where their sums go
    rows, columns = row["count"], column["count"]
    n, a, b = first // (rows * columns), first // columns % rows, first % columns
    for i in range(starts.size):
        ih, iw = row["source"] + a * row["per_output"], column["source"] + b * column["per_output"]
        oh, ow = row["first"] + a * row["step"], column["first"] + b * column["step"]
        starts[i], ends[i] = n * image + ih * line + iw, n * out_image + oh * out_line + ow
        b += 1
        if b == columns:
            a, b = a + 1, 0
        if a == rows:
            n, a = n + 1, 0


@njit(parallel=True)
def tiled_loops(x, weight, bias, y, kernel, strides, rows, columns, parts, counts):
    # x flat, its strides (image, channel, line); weight (g, M/g, runs, taps of a run);
    # bias (M,); y (N, M, OH, OW); rows, columns: the strips; counts (parts * g * blocks, 2)
    N, M, OH, OW = y.shape
    G, MG, runs, T = weight.shape
    image, channel, line = strides
    K = kernel[0] * kernel[1]
    C = runs * T // K
    LANES = registers(y, 1, 1).shape[1]
    wides = MG // (WIDE * LANES)
    narrows = MG // LANES % WIDE
    blocks = wides + narrows + MG % LANES
    step = min(C, max(1, CACHED // K))
    flat = y.reshape(y.size)
    for job in prange(parts * G * blocks):  # a part of the pixels of a block of channels
        part, g, block = job // (G * blocks), job // blocks % G, job % blocks
        if block < wides:
            most, some, CHANNELS, m = PIXELS, SOME, WIDE * LANES, block * WIDE * LANES
        elif block < wides + narrows:
            most, some, CHANNELS, m = 12, 12, LANES, (wides * WIDE + block - wides) * LANES
        else:
            most, some, CHANNELS, m = 12, 12, 1, MG - blocks + block
        first = g * MG + m
        shifts, taps = np.empty(step * K, np.intp), np.empty(step * K, np.intp)
        starts, ends = np.empty(most, np.uintp), np.empty(most, np.uintp)
        packed, sums = aligned(step * K, CHANNELS, y), aligned(most, CHANNELS, y)
        multiplies = 0
        for c in range(0, C, step):  # as many input channels as packed weights stay in cache
            some_c = min(step, C - c)
            if runs == 1:
                pack(weight[g, m : m + CHANNELS, :, c * K : (c + some_c) * K], packed)
            else:
                pack(weight[g, m : m + CHANNELS, c : c + some_c], packed)
            values = x[(g * C + c) * channel :]
            for row in rows:
                for column in columns:
                    R = list_taps(row, column, some_c, channel, line, kernel, shifts, taps)
                    s, t = shifts[:R], taps[:R]
                    pixels = N * row["count"] * column["count"]
                    tiles = (pixels + most - 1) // most
                    pixel = tiles * part // parts * most
                    end = min(pixels, tiles * (part + 1) // parts * most)
                    while pixel < end:
                        left = end - pixel
                        n = most if left >= most else some if left >= some else 1
                        p, q = starts[:n], ends[:n]
                        list_pixels(pixel, row, column, image, line, M * OH * OW, OW, p, q)
                        if c == 0:
                            for i in range(n):
                                for j in range(CHANNELS):
                                    sums[i, j] = bias[first + j]
                        else:  # the sums go on from those of the input channels before
                            for j in range(CHANNELS):
                                plane = flat[(first + j) * OH * OW :]
                                for i in range(n):
                                    sums[i, j] = plane[q[i]]
                        if CHANNELS == 1:
                            if n == 12:
                                multiplies += single(values, p, s, packed, t, sums)
                            else:
                                multiplies += single_one(values, p, s, packed, t, sums)
                        elif block < wides and n == PIXELS:
                            multiplies += wide(values, p, s, packed, t, sums)
                        elif block < wides and n == SOME:
                            multiplies += wide_some(values, p, s, packed, t, sums)
                        elif block < wides:
                            multiplies += wide_one(values, p, s, packed, t, sums)
                        elif n == 12:
                            multiplies += narrow(values, p, s, packed, t, sums)
                        else:
                            multiplies += narrow_one(values, p, s, packed, t, sums)
                        for j in range(CHANNELS):
                            plane = flat[(first + j) * OH * OW :]
                            for i in range(n):
                                plane[q[i]] = sums[i, j]
                        pixel += n
        counts[job, 0] = multiplies


def run(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Run the tiles of a dense convolution, or of a transposed one. None meets padding."""
    (N, C, M), (H, W), window, groups = call.sizes, call.window.size, call.window, call.groups
    y = empty("output", (N, M, *window.output), call.x.dtype)
    taps = window.kernel[0] * window.kernel[1]
    if call.transposed:
        cut, weight = transposed_strips, call.weight.reshape(groups, C // groups, M // groups, taps)
        weight = weight.swapaxes(1, 2)
    else:
        cut, weight = strips, call.weight.reshape(groups, M // groups, 1, C // groups * taps)
    rows, columns = (
        cut(
            window.size[axis],
            window.kernel[axis],
            window.stride[axis],
            window.padding[axis][0],
            window.dilation[axis],
            window.output[axis],
        )
        for axis in (0, 1)
    )
    steps = (C * H * W, H * W, W)
    counts = multiply(call.x, weight, call.bias, y, window.kernel, steps, rows, columns)
    return y, counted(counts, "in bounds")


def multiply(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    kernel: Pair,
    strides: tuple[int, int, int],
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Cut the work into jobs, run `tiled_loops`, and return the counts of the jobs."""
    groups, channels = weight.shape[:2]
    lanes, threads = BYTES // x.itemsize, numba.get_num_threads()
    wides, rest = divmod(channels, WIDE * lanes)
    narrows, singles = divmod(rest, lanes)
    blocks = groups * (wides + narrows + singles)
    alike = sum(map(bool, (wides, narrows, singles))) == 1
    # every thread does the same: some blocks each, or a part of each block
    parts = 1 if alike and blocks % threads == 0 else threads
    counts = np.zeros((parts * blocks, 2), np.int64)
    tiled_loops(x.reshape(-1), weight, bias, y, kernel, strides, rows, columns, parts, counts)
    return counts
