"""Samples of a deformable convolution as lines: each is what one moved tap of one channel meets.

A job gathers the samples of some outputs, tap by tap, into lines, as many as there are taps in all;
they are multiplied as those of a 1×1 convolution.
"""

from __future__ import annotations

import numpy as np

from ...call import Deformed, empty
from ...costs.report import Pass
from ...jit import get_num_threads, njit
from ...sampling import place_samples
from ...shapes import Window
from .lines import Factors, Outputs, multiply, put, some_taps
from .regions import PIXELS, TAPS, equal, plan
from .registers import LANES, MANY, aligned, move, transpose
from .turned import turn_back

# Channels of an offset group whose pixels lie side by side, so that one load fetches most of them.
# Over fewer than 32 LLVM writes out these loops one by one, and takes no vectors.
MOST, FOUR = 32, 4
SAMPLES = 768 * 2**10  # bytes of the samples of a unit: three quarters of the second-level cache
LEAST = 6 * LANES  # pixels of a unit: of fewer, too many fill no tile
UNITS, FEW = 16, 4  # for threads to share: so many if that goes; fewer than FEW are too few
BLOCK = 128  # pixels that are sampled before they are turned into lines


@njit
def together(c, channels):
    # the first of those that channel c of so many lies side by side with, and how many they are
    if c - c % MOST + MOST <= channels:
        return c - c % MOST, MOST
    if c - c % FOUR + FOUR <= channels:
        return c - c % FOUR, FOUR
    return c, 1


@njit(jobs=True)
def interleave_loops(job, x, G, beside, jobs):
    # x (N, C, H, W); beside (N, C * (H + 3) * (W + 3)): one zero above and left, two below and
    # right, the pixels of some channels of an offset group side by side; jobs (jobs,): only says
    # how many there are, each with its share of the rows
    (N, C, H, W), many = x.shape, jobs.size
    plane, flat, square = H * W, x.reshape(x.size), aligned(LANES * LANES, x)
    rows = N * (H + 3)
    for place in range(rows * job // many, rows * (job + 1) // many):
        n, h, c, target = place // (H + 3), place % (H + 3), 0, beside[place // (H + 3)]
        while c < C:
            _, channels = together(c % (C // G), C // G)
            row = c * (H + 3) * (W + 3) + h * (W + 3) * channels
            put(target.dtype.type(0), target, row, (W + 3) * channels)
            first, at, row = (h - 1) * W, (n * C + c) * plane, row + channels
            if 1 <= h <= H and channels == MOST and plane >= LANES:
                for w in range(0, W, LANES):
                    p = min(first + w, plane - LANES)
                    for i in range(0, MOST, LANES):
                        transpose(flat, at + i * plane + p, plane, 4 * plane, square, 0, LANES)
                        for j in range(w, min(w + LANES, W)):
                            move(square, (first + j - p) * LANES, 1, target, row + j * MOST + i)
            elif 1 <= h <= H:
                for i in range(channels):
                    for w in range(W):
                        target[row + w * channels + i] = flat[at + i * plane + first + w]
            c += channels


@njit(inline=True)
def sample(CHANNELS, image, at, W, place, corners, beside, square, lines, to, apart):
    # Some channels whose pixels lie side by side: image flat ((H + 3) * (W + 3), CHANNELS) from
    # `at` on; place (pixels,), corners (4, ·); beside flat (BLOCK, CHANNELS); filled: lines
    # flat, channel i's samples from to + i * apart on
    right, below = np.uintp(CHANNELS), np.uintp(CHANNELS * (W + 3))
    multiplies, blocks = 0, (place.size + BLOCK - 1) // BLOCK
    for block in range(blocks):
        begin, end = place.size * block // blocks, place.size * (block + 1) // blocks
        for p in range(begin, end):
            first, j = np.uintp(at + place[p] * CHANNELS), np.uintp((p - begin) * CHANNELS)
            a, b, c, d = corners[0, p], corners[1, p], corners[2, p], corners[3, p]
            for i in range(CHANNELS):  # across the lanes
                k = first + np.uintp(i)
                above = a * image[k] + b * image[k + right]
                under = c * image[k + below] + d * image[k + below + right]
                beside[j + np.uintp(i)] = above + under
                multiplies += 4
        line, count = to + begin, end - begin
        if CHANNELS >= LANES:
            for i in range(0, CHANNELS, LANES):
                turn_back(beside, i, CHANNELS, count, square, lines, line + i * apart, apart)
        else:
            for p in range(count):
                for i in range(CHANNELS):
                    lines[np.uintp(line + i * apart + p)] = beside[np.uintp(p * CHANNELS + i)]
    return multiplies


@njit
def workspace(pixels, like):
    # what `fill` needs for so many outputs
    places, outsides = np.empty(pixels, np.intp), np.empty(pixels, np.bool_)
    corners, factors = np.empty((4, pixels), like.dtype), np.empty(pixels, like.dtype)
    return places, corners, outsides, factors, aligned(BLOCK * MOST, like), aligned(LANES**2, like)


@njit
def fill(image, n, offset, mask, geometry, C, corner, size, taps, space, lines, area):
    # what some taps, from number taps[0] up to taps[1], meet in the outputs of image n from the
    # corner on, size[0] rows of size[1].
    # image flat: see `interleave_loops`; offset (N, 2 * G * KH * KW, OH, OW), mask (N, ·, OH, OW)
    # or empty; geometry (5, 2): the image's size, the kernel's, stride, padding before, dilation;
    # lines flat (C * KH * KW, area). Returns the multiplies for the corners' weights, for their
    # values and by the mask, and how many samples lie outside
    (H, W), (KH, KW) = (geometry[0, 0], geometry[0, 1]), (geometry[1, 0], geometry[1, 1])
    SH, SW, (oh, ow), (rows, width) = geometry[2, 0], geometry[2, 1], corner, size
    (places, corners, outsides, factors, beside, square), K = space, KH * KW
    place, CG = places[: rows * width], C * 2 * K // offset.shape[1]  # channels of an offset group
    corner_weights, corner_values, masked, outside = 0, 0, 0, 0
    for tap in range(taps[0], taps[1]):
        g, t = tap // K, tap % K
        h = oh * SH + t // KW * geometry[4, 0] - geometry[3, 0]
        w = ow * SW + t % KW * geometry[4, 1] - geometry[3, 1]
        for i in range(rows):
            dy = offset[n, 2 * tap, oh + i, ow : ow + width]
            dx = offset[n, 2 * tap + 1, oh + i, ow : ow + width]
            a = i * width
            found = place[a:], corners[:, a:], outsides[a:]
            corner_weights += place_samples(dy, dx, h + i * SH, w, SW, H, W, *found)
            if mask.size > 0:
                for j in range(width):
                    factors[a + j] = mask[n, tap, oh + i, ow + j]
        for p in range(place.size):
            outside += CG * outsides[p]
        c, end = g * CG, (g + 1) * CG
        while c < end:
            _, some = together(c - g * CG, CG)
            at, to, apart = c * (H + 3) * (W + 3), (c * K + t) * area, K * area
            given = (image, at, W, place, corners, beside, square, lines, to, apart)
            if some == MOST:
                corner_values += sample(MOST, *given)
            elif some == FOUR:
                corner_values += sample(FOUR, *given)
            else:
                corner_values += sample(1, *given)
            if mask.size > 0:
                for i in range(some):
                    line = np.uintp(to + i * apart)
                    for p in range(place.size):
                        lines[line + np.uintp(p)] *= factors[p]
                        masked += 1
            c += some
    return corner_weights, corner_values, masked, outside


@njit(jobs=True)
def fill_loops(job, images, offset, mask, geometry, samples, counts):
    # A job has its share of the units, each a tap of an image: it fills the tap's lines.
    # images (N, C * (H + 3) * (W + 3)); offset, mask, geometry: see `fill`;
    # samples (N, C * KH * KW, OH, OW); counts (jobs, 4)
    (N, R, OH, OW), taps, jobs = samples.shape, offset.shape[1] // 2, len(counts)
    C, area, space = R // (geometry[1, 0] * geometry[1, 1]), OH * OW, workspace(OH * OW, samples)
    for unit in range(N * taps * job // jobs, N * taps * (job + 1) // jobs):
        n, tap = unit // taps, unit % taps
        lines, where = samples[n].reshape(R * area), ((0, 0), (OH, OW), (tap, tap + 1))
        given = (images[n], n, offset, mask, geometry, C)
        counted = fill(*given, *where, space, lines, area)
        for i in range(4):
            counts[job, i] += counted[i]


@njit(jobs=True)
def sample_loops(
    job, images, offset, mask, geometry, weight, bias, y, groups, height, width, counts
):
    # A job has its share of the units, each of an image and some outputs, height × width at most:
    # it fills lines with samples, and multiplies them, chunk by chunk of the taps.
    # images (N, C * (H + 3) * (W + 3)); offset, mask, geometry: see `fill`;
    # weight (M, C/groups, KH, KW); bias (M,); y (N, M, OH, OW); counts (jobs, 5)
    (M, CG, KH, KW), (N, _, OH, OW) = weight.shape, y.shape
    C, MG, R, pixels = CG * groups, M // groups, CG * KH * KW, height * width
    flat_w, flat_y = weight.reshape(weight.size), y.reshape(y.size)
    area = (pixels // LANES + 1) * LANES  # of a line
    lines, space = aligned(groups * R * area, y), workspace(pixels, y)
    windows, lane_sums = aligned(LANES * TAPS, y), aligned(LANES * LANES * (MG + MANY), y)
    buffers = windows, lane_sums, aligned(0, y)
    taps, apart = np.arange(TAPS).astype(np.uintp), np.uintp(R)
    shifts = taps * np.uintp(area)
    across, down = (OW + width - 1) // width, (OH + height - 1) // height
    units, jobs = N * down * across, len(counts)
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        n, oh, ow = unit // (down * across), unit // across % down * height, unit % across * width
        rows, columns = min(height, OH - oh), min(width, OW - ow)
        given = (images[n], n, offset, mask, geometry, C)
        where = ((oh, ow), (rows, columns), (0, offset.shape[1] // 2))
        counted = fill(*given, *where, space, lines, area)
        for i in range(4):
            counts[job, i] += counted[i]
        for g in range(groups):
            m, waiting = g * MG, 0
            outputs = Outputs(flat_y, ((n * M + m) * OH + oh) * OW + ow, OH * OW)
            for r in range(0, R, TAPS):
                some, w = min(TAPS, R - r), np.uintp(m * R + r)
                at, last = (g * R + r) * area, r + some == R
                factors = Factors(
                    lines, at, shifts[:some], flat_w, w, apart, taps[:some], MG, rows * columns
                )
                done, waiting = some_taps(
                    factors, True, bias, m, r, last, waiting, buffers, outputs
                )
                counts[job, 4] += done


def cut(N: int, R: int, output: tuple[int, int], itemsize: int) -> tuple[int, int]:
    """Return how many rows and columns of outputs, of R taps each, a unit has.

    They are one run of the output: several rows only if they are whole.
    """
    OH, OW = output
    pixels = min(PIXELS, SAMPLES // (R * itemsize))
    width = equal(OW, max(LEAST, pixels))
    if width < OW:
        return 1, width
    return equal(OH, max(-(-LEAST // width), min(pixels // width, -(-OH * N // UNITS)))), width


def run(call: Deformed) -> tuple[np.ndarray, tuple[Pass, ...]]:
    """Sample and multiply the outputs piece by piece; if they are few, sample all of them first."""
    (N, C, M), window, groups = call.sizes, call.window, call.groups
    (H, W), (OH, OW), (KH, KW) = window.size, window.output, window.kernel
    R, taps, threads = C * KH * KW, call.offset.shape[1] // 2, get_num_threads()
    y = empty("output", (N, M, OH, OW), call.x.dtype)
    images = empty("padded x", (N, C * (H + 3) * (W + 3)), y.dtype)
    interleave_loops(call.x, taps // (KH * KW), images, np.zeros(2 * threads))
    before = [ends[0] for ends in window.padding]
    geometry = np.array([window.size, window.kernel, window.stride, before, window.dilation])
    given = images, call.offset, call.mask, geometry
    height, width = cut(N, R, window.output, y.itemsize)
    units = N * -(-OH // height) * -(-OW // width)
    if units < FEW:
        samples = empty("samples", (N, R, OH, OW), y.dtype)
        counts = np.zeros((min(N * taps, 2 * threads), 4), np.int64)
        fill_loops(*given, samples, counts)
        size = window.output
        pixels = Window(size, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), size, size)
        planned = plan(N, R, M, groups, pixels, False, y.itemsize, 1)
        done = multiply(planned, samples, call.weight.reshape(M, -1, 1, 1), call.bias, y, groups)
    else:
        counts = np.zeros((min(units, 2 * threads), 5), np.int64)
        sample_loops(*given, call.weight, call.bias, y, groups, height, width, counts)
        done = int(counts[:, 4].sum())
    corner_weights, corner_values, masked, outside, *_ = counts.sum(axis=0).tolist()
    # each sample met as many output channels as there were multiplies for a sample
    on_padding = outside * (done // max(1, N * R * OH * OW))
    return y, call.passes(corner_weights, corner_values, masked, done, on_padding, follows=True)
