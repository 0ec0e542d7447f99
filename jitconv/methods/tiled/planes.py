"""Runs of pixels of shifted copies, where a group has few channels to fill vectors with.

For each tap of a row of taps the image is copied once, shifted by that tap, zeros where it meets
padding. Then the pixels that a tap meets in all output rows are one run of memory, and pixels fill
the vector registers. The zeros are multiplied: multiplies = dense.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ...call import Dense, counted, empty
from ...costs.report import Pass
from ...jit import njit, prange
from .registers import registers

# Where planes are faster: a group with fewer output channels than FEW leaves vectors across them
# empty; one with no more than COPIES shifted copies of its input to make, for SPREAD pixels or more
# in all groups, is multiplied nearly as fast as a wide tile, without packing a weight.
FEW, COPIES, SPREAD = 16, 96, 2000
LINES = 2**18  # bytes of image rows that stay in the second-level cache


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


def are_faster(call: Dense) -> bool:
    """Return whether planes multiply a dense convolution faster than tiles do."""
    (N, C, M), groups = call.sizes, call.groups
    few_copies = C // groups * call.window.kernel[1] <= COPIES
    return M // groups < FEW or (
        few_copies and N * groups * math.prod(call.window.output) >= SPREAD
    )


def run(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Cut the work into jobs and run `plane_loops`."""
    (N, C, M), (_, CG, KH, KW), window = call.sizes, call.weight.shape, call.window
    y = empty("output", (N, M, *window.output), call.x.dtype)
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
    steps = (window.stride, (window.padding[0][0], window.padding[1][0]), window.dilation)
    plane_loops(call.x, call.weight, call.bias, y, *steps, band, step, counts)
    (done,) = counted(counts, "dense")
    return y, (done._replace(follows=True),)  # `taps_on_padding` knows where the padding is
