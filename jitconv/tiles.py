"""The textbook loops, a small tile of outputs at a time: as fast as the vendor libraries.

The direct loops of each variant fetch an input and an output from memory for every multiply. Here
a tile of outputs, a few pixels × a few vectors of channels, stays in the processor's registers
while the loops run over all taps (c, kh, kw). A weight vector, once fetched, serves every pixel of
the tile, and a pixel serves every channel:

    acc[pixel, channel] += x[start[pixel] + shift[tap]] * weight[tap, channel]

That is the definition of each dense variant; they differ in where a pixel's window starts and how
far its taps lie apart. Two preparations make it so simple. The weights of a block of channels are
packed so that the channels of a tap are neighbours, and fill vector registers. And the output is
cut into regions (`shapes.strips`) whose pixels all meet the same taps in the image: inside nine
tenths of a photo all of them, at its border fewer. So no zero of a padding is ever multiplied, no
image is copied to be padded, and no tile hangs over an edge: multiplies = in bounds.

Where a group has few channels, pixels fill the vectors instead (`plane_loops`): runs of pixels of a
copy of the input, shifted by a tap, zeros of the padding included: multiplies = dense.
"""

from __future__ import annotations

import math

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array, populate_array

from . import arrays, shapes
from .checks import Layer
from .jit import njit, prange


def _vectors() -> tuple[int, int]:
    """Return how many bytes a vector register of this machine has, and how many registers."""
    features = llvmlite.binding.get_host_cpu_features()
    if numba.config.CPU_FEATURES is not None:
        features = {name[1:]: name[0] == "+" for name in numba.config.CPU_FEATURES.split(",")}
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx2"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


BYTES, REGISTERS = _vectors()
# A wide tile: 6 pixels × 4 vectors of channels, or 3 where registers are few; vectors of 16 bytes
# go by eight. Channels that fill no wide tile go to narrow ones, of 12 pixels × 1 vector, and the
# last few to single ones, of 12 pixels × 1 channel. Pixels that fill no tile of a region go to
# smaller tiles, down to one pixel.
WIDE = 4 if BYTES > 16 else 8
PIXELS, SOME = (6, 3) if WIDE * 7 < REGISTERS else (3, 2)
# Where planes are faster: a group with fewer output channels than FEW leaves vectors across them
# empty; one with no more than COPIES shifted copies of its input to make, for SPREAD pixels or more
# in all groups, is multiplied nearly as fast as a wide tile, without packing a weight.
FEW, COPIES, SPREAD = 16, 96, 2000
LINES = 2**18  # bytes of image rows that stay in the second-level cache
CACHED = 1024  # taps whose packed weights stay in the second-level cache


def registers(like, pixels, vectors):
    """Return an uninitialised array that LLVM keeps in registers.

    Its shape is (pixels, channels), as many channels as vectors of like's type hold; 0 vectors mean
    one channel.
    """
    return np.empty((pixels, vectors * (BYTES // like.itemsize) or 1), like.dtype)


@overload(registers, inline="always", prefer_literal=True)
def _registers(like, pixels, vectors):
    return lambda like, pixels, vectors: _on_stack(like, pixels, vectors)


@intrinsic
def _on_stack(typing_context, like, rows, vectors):
    # np.empty would lie on the heap, where LLVM must store and reload it at every step
    if not all(isinstance(size, types.IntegerLiteral) for size in (rows, vectors)):
        return None
    array_type = types.Array(like.dtype, 2, "C")

    def codegen(context, builder, signature, arguments):
        element = context.get_data_type(array_type.dtype)
        itemsize = context.get_abi_sizeof(element)
        shape = (rows.literal_value, vectors.literal_value * (BYTES // itemsize) or 1)
        # For some processors LLVM fills only half of a register unless it is told otherwise;
        # set.add, because llvmlite refuses the names of attributes that it does not know.
        set.add(builder.function.attributes, f'"prefer-vector-width"="{8 * BYTES}"')
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(element, math.prod(shape)))
            memory.align = BYTES
        array = make_array(array_type)(context, builder)
        integers = [
            context.get_constant(types.intp, n) for n in (*shape, shape[1] * itemsize, itemsize)
        ]
        populate_array(
            array,
            data=builder.bitcast(memory, element.as_pointer()),
            shape=cgutils.pack_array(builder, integers[:2]),
            strides=cgutils.pack_array(builder, integers[2:]),
            itemsize=integers[3],
            meminfo=None,
        )
        return array._getvalue()

    return array_type(like, rows, vectors), codegen


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


def make_run(CHANNELS, VECTORS):
    """Return the loops over all taps around runs of pixels of some output channels."""

    @njit
    def run(lines, begin, end, shifts, weight, m, tap, y, out, plane):
        # lines flat, where pixel p lies at p, and its taps at p + shifts (R,); weight (M, ·), from
        # m and tap on; y flat: the sum of pixel p goes on at out + p, and a plane further for the
        # next channel. Whole runs from begin on.
        acc = registers(lines, CHANNELS, VECTORS)
        PIXELS = acc.shape[1]
        multiplies = 0
        for first in range(begin, end - PIXELS + 1, PIXELS):
            for i in range(CHANNELS):
                sums = y[out + i * plane + first :]
                for j in range(PIXELS):
                    acc[i, j] = sums[j]
            for r in range(shifts.size):
                values, w = lines[first + shifts[r] :], weight[m:]
                for j in range(PIXELS):  # across the lanes of the vector registers
                    for i in range(CHANNELS):
                        acc[i, j] += values[j] * w[i, np.uintp(tap + r)]
                        multiplies += 1
            for i in range(CHANNELS):
                sums = y[out + i * plane + first :]
                for j in range(PIXELS):
                    sums[j] = acc[i, j]
        return multiplies

    return run


# long runs of eight vectors, or of four for four channels that share what they fetch, then shorter
run_long, run_some, run_short, run_one = (make_run(1, VECTORS) for VECTORS in (8, 3, 1, 0))
runs_long, runs_short, runs_one = (make_run(4, VECTORS) for VECTORS in (4, 1, 0))


@njit
def copy_plane(images, channel, start, begin, end, OW, lines, line):
    # images (N·C, H·W), lines (·, rows·OW): row after row of one channel in a single copy, from
    # pixel start on. It leaves neighbours of a row where padding should be, before begin and from
    # end on.
    images, lines = images[channel], lines[line]
    low = min(lines.size, max(0, -start))
    high = max(low, min(lines.size, images.size - start))
    for i in range(low):
        lines[np.uintp(i)] = 0
    for i in range(low, high):
        lines[np.uintp(i)] = images[np.uintp(start + i)]
    for i in range(high, lines.size):
        lines[np.uintp(i)] = 0
    for i in range(begin + OW - end):
        column = i if i < begin else i - begin + end
        for row in range(lines.size // OW):
            lines[np.uintp(row * OW + column)] = 0


@njit
def copy_rows(images, channel, ih, column, begin, end, stride, sizes, lines, line):
    # images (N·C, H·W), lines (·, SH·rows·OW): rows ih, ih + SH, …, then ih + 1, ih + 1 + SH, … of
    # one channel, from column on; sizes: H, W, OW
    (SH, SW), (H, W, OW) = stride, sizes
    images, lines = images[channel], lines[line]
    rows = lines.size // (SH * OW)
    for phase in range(SH):
        for row in range(rows):
            h, target = ih + phase + row * SH, (phase * rows + row) * OW
            source = h * W + column
            if 0 <= h < H:
                if SW == 1:
                    for i in range(begin, end):
                        lines[np.uintp(target + i)] = images[np.uintp(source + i)]
                else:
                    for i in range(end - begin):
                        lines[np.uintp(target + begin + i)] = images[
                            np.uintp(source + (begin + i) * SW)
                        ]
            else:
                for i in range(begin, end):
                    lines[np.uintp(target + i)] = 0


@njit
def taps_on_padding(ih, height, stride, dilation, KH, H, OW, begins, ends):
    # of one input channel, for some output rows, the first of which starts at image row ih
    count = 0
    for row in range(height):
        for kh in range(KH):
            inside = 0 <= ih + row * stride + kh * dilation < H
            for kw in range(begins.size):
                count += OW - (ends[kw] - begins[kw]) * inside
    return count


@njit(parallel=True)
def plane_loops(x, weight, bias, y, stride, before, dilation, band, step, counts):
    # pixels lie across the lanes. x (N, C, H, W); weight (M, C/g, KH, KW);
    # bias (M,); y (N, M, OH, OW); before: padding (above, left); band: output rows at a time;
    # step: input channels at a time; counts (jobs, 2)
    N, C, H, W = x.shape
    M, CG, KH, KW = weight.shape
    OH, OW = y.shape[2:]
    (SH, SW), (top, left), (DH, DW) = stride, before, dilation
    G, bands, jobs = C // CG, (OH + band - 1) // band, counts.shape[0]
    units, MG, LANES = N * G * bands, M // G, registers(y, 1, 1).shape[1]
    rows = band + (KH - 1) * DH // SH + 1
    images, sums = x.reshape((N * C, H * W)), y.reshape(y.size)
    weights = weight.reshape((M, CG * KH * KW))
    for job in prange(jobs):
        # for each tap of a row of taps the pixels that it meets in an image row, zeros where it
        # meets padding. Image rows SH apart follow each other, so that the pixels that tap (kh, kw)
        # meets in all output rows are one run of memory.
        lines = np.zeros((step * KW, SH * rows * OW), x.dtype)
        begins, ends = np.empty(KW, np.intp), np.empty(KW, np.intp)
        for kw in range(KW):
            column = kw * DW - left
            begins[kw] = min(OW, max(0, -(column // SW)))
            ends[kw] = max(begins[kw], min(OW, (W - 1 - column) // SW + 1))
        all_shifts = np.empty(step * KH * KW, np.intp)
        for r in range(all_shifts.size):
            c, kh, kw = r // (KH * KW), r // KW % KH, r % KW
            all_shifts[r] = (((c * KW + kw) * SH + kh * DH % SH) * rows + kh * DH // SH) * OW
        multiplies, on_padding, zeros = 0, 0, 0
        for unit in range(units * job // jobs, units * (job + 1) // jobs):
            n, g, oh = unit // (G * bands), unit // bands % G, unit % bands * band
            ih, height = oh * SH - top, min(band, OH - oh)
            if bands > 1 or unit == units * job // jobs:
                zeros = CG * taps_on_padding(ih, height, SH, DH, KH, H, OW, begins, ends)
            on_padding += MG * zeros
            plane, end = OH * OW, height * OW
            out, short = ((n * M + g * MG) * OH + oh) * OW, end // LANES * LANES
            for i in range(MG):
                for pixel in range(end):
                    sums[np.uintp(out + i * plane + pixel)] = bias[g * MG + i]
            for first in range(0, CG, step):
                some_c = min(step, CG - first)
                for k in range(some_c * KW):
                    channel, kw = n * C + g * CG + first + k // KW, k % KW
                    begin, stop, column = begins[kw], ends[kw], kw * DW - left
                    if SH == 1 and SW == 1 and OW == W:
                        copy_plane(images, channel, ih * W + column, begin, stop, OW, lines, k)
                    else:
                        sizes = (H, W, OW)
                        copy_rows(images, channel, ih, column, begin, stop, stride, sizes, lines, k)
                a, shifts, t = (
                    lines.reshape(lines.size),
                    all_shifts[: some_c * KH * KW],
                    first * KH * KW,
                )
                m, o = g * MG, out
                while m < (g + 1) * MG:
                    if m + 4 <= (g + 1) * MG:
                        long = end // (4 * LANES) * 4 * LANES
                        multiplies += runs_long(a, 0, long, shifts, weights, m, t, sums, o, plane)
                        multiplies += runs_short(
                            a, long, short, shifts, weights, m, t, sums, o, plane
                        )
                        multiplies += runs_one(a, short, end, shifts, weights, m, t, sums, o, plane)
                        m, o = m + 4, o + 4 * plane
                    else:
                        long = end // (8 * LANES) * 8 * LANES
                        some = long + (end - long) // (3 * LANES) * 3 * LANES
                        multiplies += run_long(a, 0, long, shifts, weights, m, t, sums, o, plane)
                        multiplies += run_some(a, long, some, shifts, weights, m, t, sums, o, plane)
                        multiplies += run_short(
                            a, some, short, shifts, weights, m, t, sums, o, plane
                        )
                        multiplies += run_one(a, short, end, shifts, weights, m, t, sums, o, plane)
                        m, o = m + 1, o + plane
        counts[job, 0], counts[job, 1] = multiplies, on_padding


def chosen(method: str, fills_vectors: bool = True) -> str:
    """Return "direct" or "tiled": the method asked for, or for "auto" the one that is faster.

    The tiled loops are, but for a transposed or deformable convolution whose output channels do not
    fill vectors.

    Raises
    ------
    ValueError
        If `method` is no such word.
    """
    if method not in ("auto", "direct", "tiled"):
        raise ValueError(f"method: must be 'auto', 'direct' or 'tiled', got {method!r}")
    if method == "auto":
        return "tiled" if fills_vectors else "direct"
    return method


def run(
    layer: Layer, window: shapes.Window, groups: int = 1, *, transposed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Run the tiled loops of a dense convolution, or of a transposed one.

    Returns
    -------
    y : numpy.ndarray (N, M, OH, OW)
    counts : numpy.ndarray (jobs, 2)
        The multiplies of each job. None is on padding.
    """
    N, C, M = layer.sizes
    y = arrays.empty("output", (N, M, *window.output), layer.x.dtype)
    (H, W), CG, MG = window.size, C // groups, M // groups
    few_copies = CG * window.kernel[1] <= COPIES
    spread = N * groups * math.prod(window.output) >= SPREAD
    if not transposed and (MG < FEW or (few_copies and spread)):
        return y, planes(layer, window, y)
    taps = window.kernel[0] * window.kernel[1]
    if transposed:
        cut, weight = shapes.transposed_strips, layer.weight.reshape(groups, CG, MG, taps)
        weight = weight.swapaxes(1, 2)
    else:
        cut, weight = shapes.strips, layer.weight.reshape(groups, MG, 1, CG * taps)
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
    counts = multiply(
        layer.x, weight, layer.bias, y, window.kernel, (C * H * W, H * W, W), rows, columns
    )
    return y, counts


def planes(layer: Layer, window: shapes.Window, y: np.ndarray) -> np.ndarray:
    """Cut the work into jobs, run `plane_loops`, and return the counts of the jobs."""
    (N, C, _), (_, CG, KH, KW) = layer.sizes, layer.weight.shape
    (OH, OW), (SH, _), threads = window.output, window.stride, numba.get_num_threads()
    row, more = KW * SH * OW * y.itemsize, (KH - 1) * window.dilation[0] // SH + 1
    # as many output rows as leave all channels' lines in cache, but not fewer than the rows that
    # are copied besides; then as many channels
    band = min(OH, max(LINES // (CG * row) - more, more, 4))
    units = N * (C // CG) * -(-OH // band)
    if units < 2 * threads:
        band = -(-OH // (2 * threads))
        units = N * (C // CG) * -(-OH // band)
    step = min(CG, max(1, LINES // ((band + more) * row)))
    counts = np.zeros((min(units, 2 * threads), 2), np.int64)
    before = (window.padding[0][0], window.padding[1][0])
    plane_loops(
        layer.x,
        layer.weight,
        layer.bias,
        y,
        window.stride,
        before,
        window.dilation,
        band,
        step,
        counts,
    )
    return counts


def multiply(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    kernel: shapes.Pair,
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
