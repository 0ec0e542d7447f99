"""Fewer multiplies than the formula: 3×3 kernels by Winograd's F(4×4, 3×3).

Two outputs of a kernel of three taps take six multiplies. Four are enough:

    y0 = m1 + m2 + m3      m1 = (d0 − d2)·g0      m2 = (d1 + d2)·(g0 + g1 + g2)/2
    y1 = m2 − m3 − m4      m4 = (d1 − d3)·g2      m3 = (d2 − d1)·(g0 − g1 + g2)/2

Why: a convolution multiplies two polynomials, and a product of polynomials is known from its values
at as many points as it has coefficients. So the inputs are evaluated at some points, the weights
too, the values are multiplied point by point, and the outputs read off: three transforms and a
product. Here four outputs come from six inputs, at the points 0, ±5/8, ±3/2 and infinity, along
one side and then the other: a tile of 4×4 outputs and 6×6 inputs takes 36 multiplies instead of
144. The transforms are the same for all channels of one side: each input tile is transformed once
for all output channels, each kernel once for all tiles, and the sum over the input channels is
taken before the outputs are read off. Many channels make the transforms cheap.

The price: the transforms add large numbers and take them away again, so the outputs are rounded
several times worse than by the tiled loops, and a NaN or an infinity spreads over its whole tile.
Padding is transformed like any pixel. "auto" never takes this method. The points were chosen for
small errors (±1 and ±2, the usual ones, give about twice as large ones) and are exact in binary.

References: Winograd, Arithmetic complexity of computations, 1980; Lavin and Gray, Fast algorithms
for convolutional neural networks, arXiv:1509.09308; Barabasz et al., Error analysis and improving
the accuracy of Winograd convolution, arXiv:1803.10986.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numba
import numpy as np

from ..call import Call, Deformed, Dense, empty
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import Pass
from ..jit import njit
from ..variant import Variant
from .method import Method
from .tiled.lines import ONE, WIDE, long, long1, put, short, short1
from .tiled.registers import BYTES, LANES, MANY, aligned, move, registers

A, B = 5 / 8, 3 / 2  # the points, besides 0 and infinity
AA, BB = A * A, B * B

BAND = 112  # tiles that are transformed before they are multiplied
MOST = 128  # values of a line of transformed inputs: all tiles of a band, of some channels
DEPTH = 64  # input channels in a line of transformed weights
LINE, STEP = MOST + LANES, DEPTH + LANES  # from line to line: 36 of them meet in no cache set
SIZE = 4000  # tiles or input channels × output channels of a block: half of the second-level cache


@njit
def input_line(like, d0, d1, d2, d3, d4, d5):
    # six pixels -> the values at 0, A, -A, B, -B, infinity; what is even and odd is shared
    number = like.dtype.type
    a, b, aa, bb, aabb = number(A), number(B), number(AA), number(BB), number(AA * BB)
    far1, far2, near1, near2 = bb * d1, bb * d2, aa * d1, aa * d2
    even_a, odd_a = d4 - far2, a * (d3 - far1)
    even_b, odd_b = d4 - near2, b * (d3 - near1)
    return (
        aabb * d0 - far2 + even_b,
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        aabb * d1 - number(AA + BB) * d3 + d5,
    )


@njit
def weight_line(like, g0, g1, g2):
    # three weights -> the values at the six points
    number = like.dtype.type
    a0, a1, a2 = (
        number(1 / (2 * AA * (AA - BB))),
        number(1 / (2 * A * (AA - BB))),
        number(1 / (2 * (AA - BB))),
    )
    b0, b1, b2 = (
        number(1 / (2 * BB * (BB - AA))),
        number(1 / (2 * B * (BB - AA))),
        number(1 / (2 * (BB - AA))),
    )
    even_a, odd_a = a0 * g0 + a2 * g2, a1 * g1
    even_b, odd_b = b0 * g0 + b2 * g2, b1 * g1
    return (
        number(1 / (AA * BB)) * g0,
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        g2,
    )


@njit
def output_line(like, m0, m1, m2, m3, m4, m5):
    # the products at the six points -> four outputs
    number = like.dtype.type
    a, b, aa, bb = number(A), number(B), number(AA), number(BB)
    even_a, odd_a, even_b, odd_b = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return (
        m0 + even_a + even_b,
        a * odd_a + b * odd_b,
        aa * even_a + bb * even_b,
        number(A * AA) * odd_a + number(B * BB) * odd_b + m5,
    )


# Multiplies that each of the three writes out; a test counts them.
IN, WEIGHT, OUT = 9, 7, 6


def make_transforms(COUNT):
    """Return the transforms of COUNT tiles, or kernels, at once: down the columns, then the rows.

    Their steps are constants, and COUNT is: else LLVM takes no vectors.
    """
    TAPS, VECTORS = 3 * COUNT, 3 * LANES * 8 // BYTES

    @njit
    def inputs(patches, k, v, to):
        # patches flat (36, LINE), from k on -> v flat (36, LINE), from `to` on
        d = registers(v, 36, 1)
        k, to, far = np.uintp(k), np.uintp(to), np.uintp(6 * LINE)
        multiplies = 0
        for j in range(COUNT):
            for i in range(6):
                p = k + np.uintp(i * LINE) + np.uintp(j)
                d[i, j], d[6 + i, j], d[12 + i, j], d[18 + i, j], d[24 + i, j], d[30 + i, j] = (
                    input_line(
                        v,
                        patches[p],
                        patches[p + far],
                        patches[p + np.uintp(2) * far],
                        patches[p + np.uintp(3) * far],
                        patches[p + np.uintp(4) * far],
                        patches[p + np.uintp(5) * far],
                    )
                )
                multiplies += IN
        for j in range(COUNT):
            for i in range(0, 36, 6):
                p, far = to + np.uintp(i * LINE) + np.uintp(j), np.uintp(LINE)
                (
                    v[p],
                    v[p + far],
                    v[p + np.uintp(2) * far],
                    v[p + np.uintp(3) * far],
                    v[p + np.uintp(4) * far],
                    v[p + np.uintp(5) * far],
                ) = input_line(
                    v, d[i, j], d[i + 1, j], d[i + 2, j], d[i + 3, j], d[i + 4, j], d[i + 5, j]
                )
                multiplies += IN
        return multiplies

    @njit
    def weights(kernels, k, u, to):
        # kernels flat (·, 3, 3), from k on -> u flat (36, STEP), from `to` on; rows first here
        d = registers(u, 6, VECTORS)
        k, to, far = np.uintp(k), np.uintp(to), np.uintp(6 * STEP)
        multiplies = 0
        for j in range(TAPS):
            p = k + np.uintp(3) * np.uintp(j)
            d[0, j], d[1, j], d[2, j], d[3, j], d[4, j], d[5, j] = weight_line(
                u, kernels[p], kernels[p + np.uintp(1)], kernels[p + np.uintp(2)]
            )
            multiplies += WEIGHT
        for j in range(COUNT):
            for i in range(6):
                p = to + np.uintp(i * STEP) + np.uintp(j)
                (
                    u[p],
                    u[p + far],
                    u[p + np.uintp(2) * far],
                    u[p + np.uintp(3) * far],
                    u[p + np.uintp(4) * far],
                    u[p + np.uintp(5) * far],
                ) = weight_line(u, d[i, 3 * j], d[i, 3 * j + 1], d[i, 3 * j + 2])
                multiplies += WEIGHT
        return multiplies

    @njit
    def outputs(p, k, line, z, to):
        # p flat (36, line), from k on -> z flat (4, 4 * LINE), from `to` on
        d = registers(p, 24, 1)
        k, to, far = np.uintp(k), np.uintp(to), np.uintp(6) * np.uintp(line)
        multiplies = 0
        for j in range(COUNT):
            for i in range(6):
                q = k + np.uintp(i) * np.uintp(line) + np.uintp(j)
                d[i, j], d[6 + i, j], d[12 + i, j], d[18 + i, j] = output_line(
                    p,
                    p[q],
                    p[q + far],
                    p[q + np.uintp(2) * far],
                    p[q + np.uintp(3) * far],
                    p[q + np.uintp(4) * far],
                    p[q + np.uintp(5) * far],
                )
                multiplies += OUT
        for j in range(COUNT):
            for i in range(4):
                q, f = to + np.uintp(4 * i * LINE) + np.uintp(4) * np.uintp(j), 6 * i
                z[q], z[q + np.uintp(1)], z[q + np.uintp(2)], z[q + np.uintp(3)] = output_line(
                    p, d[f, j], d[f + 1, j], d[f + 2, j], d[f + 3, j], d[f + 4, j], d[f + 5, j]
                )
                multiplies += OUT
        return multiplies

    return inputs, weights, outputs


inputs, weights, outputs = make_transforms(LANES)
inputs1, weights1, outputs1 = make_transforms(1)


@njit
def copy(source, at, target, to, count):
    for i in range(count):
        target[np.uintp(to) + np.uintp(i)] = source[np.uintp(at) + np.uintp(i)]


@njit
def cut(x, image, H, W, above, before, tiles, rows, patches, to):
    # neighbouring tiles of an image (H, W) of x: pixel (i, j) of each goes to line 6 * i + j of
    # patches. rows flat (6, 4 * LINE): what the tiles meet, zeros where that is padding
    zero, size = x.dtype.type(0), 4 * tiles + 2
    begin, end = min(size, max(0, -before)), max(0, min(size, W - before))
    for i in range(6):
        h, k = above + i, i * 4 * LINE
        if 0 <= h < H and begin < end:
            put(zero, rows, k, begin)
            copy(x, image + h * W + before + begin, rows, k + begin, end - begin)
            put(zero, rows, k + end, size - end)
        else:
            put(zero, rows, k, size)
    for i in range(6):
        for first in range(0, tiles, LANES):  # what is too much is overwritten by the next tiles
            for j in range(6):
                source, target = 4 * (i * LINE + first) + j, (6 * i + j) * LINE + to + first
                move(rows, np.uintp(source), 4, patches, np.uintp(target))


@njit(jobs=True)
def input_loops(job, x, v, ends, top, left, TH, TW, first, count, some, counts):
    # x (N, C, H, W) -> the tiles of a band transformed: v (C / some, 36, LINE); again, those that
    # are too few for a vector: ends (36, left, C)
    _, C, H, W = x.shape
    flat, values, last = x.reshape(x.size), v.reshape(v.size), ends.reshape(ends.size)
    rows, patches = aligned(26 * LINE, x), aligned(36 * LINE, x)
    whole = count // LANES * LANES
    multiplies, units, jobs = 0, v.shape[0], counts.size
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        c0, c1, to = unit * some, min(C, unit * some + some), unit * 36 * LINE
        for c in range(c0, c1):
            tile = first
            while tile < first + count:  # a row of tiles
                n, th, tw = tile // (TH * TW), tile // TW % TH, tile % TW
                tiles, image = min(first + count - tile, TW - tw), (n * C + c) * H * W
                above, before, k = 4 * th - top, 4 * tw - left, (c - c0) * count + tile - first
                cut(flat, image, H, W, above, before, tiles, rows, patches, k)
                tile += tiles
        end = (c1 - c0) * count
        for k in range(0, end - LANES + 1, LANES):
            multiplies += inputs(patches, k, values, to + k)
        for k in range(end // LANES * LANES, end):
            multiplies += inputs1(patches, k, values, to + k)
        for xi in range(36):
            for t in range(count - whole):
                k = np.uintp((xi * (count - whole) + t) * C)
                for c in range(c0, c1):
                    p = to + xi * LINE + (c - c0) * count + whole + t
                    last[k + np.uintp(c)] = values[np.uintp(p)]
    counts[job] = multiplies


def make_dots(CHANNELS, TILES):
    """Return the loops for tiles that are too few for a vector: channels across the lanes."""
    SUMS = CHANNELS * TILES

    @njit
    def dots(window, at, far, R, weight, w, taps, apart, sums):
        # window flat: a tile's R values from `at` on, the next tile's far from them; weight flat:
        # that of channel i for value r at w + i * apart + taps[r]; filled: sums flat (SUMS, LANES)
        acc = registers(window, SUMS, 1)
        for j in range(LANES):
            for i in range(SUMS):
                acc[i, j] = 0
        multiplies = 0
        for r in range(0, R - LANES + 1, LANES):
            value, tap = at + np.uintp(r), w + taps[np.uintp(r)]
            for j in range(LANES):
                for i in range(CHANNELS):
                    for t in range(TILES):
                        acc[i * TILES + t, j] += (
                            window[value + np.uintp(t) * far + np.uintp(j)]
                            * weight[tap + np.uintp(i) * apart + np.uintp(j)]
                        )
                        multiplies += 1
        for j in range(LANES):
            for i in range(SUMS):
                sums[np.uintp(i * LANES) + np.uintp(j)] = acc[i, j]
        return multiplies

    return dots


dots, dots4 = make_dots(MANY, 1), make_dots(4, 4)


@njit
def add_up(window, at, far, R, weight, w, taps, apart, sums, channels, tiles, p, to, left):
    # what `dots` leaves: the values too few for a vector, and the sum of its lanes
    multiplies, half = 0, LANES // 2
    while half > 0:
        for i in range(channels * tiles):
            k = np.uintp(i * LANES)
            for j in range(half):
                sums[k + np.uintp(j)] += sums[k + np.uintp(half) + np.uintp(j)]
        half //= 2
    for i in range(channels):
        for t in range(tiles):
            total = sums[np.uintp((i * tiles + t) * LANES)]
            for r in range(R // LANES * LANES, R):
                value = window[at + np.uintp(t) * far + np.uintp(r)]
                total += value * weight[w + np.uintp(i) * apart + taps[r]]
                multiplies += 1
            p[np.uintp(to + i * left + t)] = total
    return multiplies


@njit
def multiply(v, first, count, shifts, ends, at, C, u, w, taps, apart, M, sums, p, to):
    # one of the 36 products: u (M, R) · v (R, count) -> p flat, in blocks of MANY channels or one,
    # each (runs, channels, tiles of a run): see `place`
    R, whole, multiplies, m = taps.size, count // LANES * LANES, 0, np.intp(0)
    left, end, far = count - whole, first + whole, np.uintp(C)
    while m < M:
        a, k = np.uintp(w) + np.uintp(m) * apart, to + m * count
        if M - m >= MANY:
            run = registers(p, 1, WIDE).shape[1]
            middle = whole // run * run
            f = first + middle
            multiplies += long(v, first, f, shifts, u, a, taps, apart, p, k)
            multiplies += short(v, f, end, shifts, u, a, taps, apart, p, k + MANY * middle)
            k += MANY * whole
            for t in range(left // 4 * 4, left):
                q = np.uintp(at + t * C)
                multiplies += dots(ends, q, far, R, u, a, taps, apart, sums)
                multiplies += add_up(
                    ends, q, far, R, u, a, taps, apart, sums, MANY, 1, p, k + t, left
                )
            for t in range(0, left - 3, 4):
                for i in range(0, MANY, 4):
                    q, b, z = np.uintp(at + t * C), a + np.uintp(i) * apart, k + i * left + t
                    multiplies += dots4(ends, q, far, R, u, b, taps, apart, sums)
                    multiplies += add_up(ends, q, far, R, u, b, taps, apart, sums, 4, 4, p, z, left)
            m += MANY
        else:
            run = registers(p, 1, ONE).shape[1]
            middle = whole // run * run
            f = first + middle
            multiplies += long1(v, first, f, shifts, u, a, taps, apart, p, k)
            multiplies += short1(v, f, end, shifts, u, a, taps, apart, p, k + middle)
            for t in range(left):
                total, q = p.dtype.type(0), np.uintp(at + t * C)
                for r in range(R):
                    total += ends[q + np.uintp(r)] * u[a + taps[r]]
                    multiplies += 1
                p[np.uintp(k + whole + t)] = total
            m += 1
    return multiplies


@njit
def place(p, k, M, count):
    # the number k of a product: channel, tile, and how many tiles lie side by side from it on
    whole, m, channels = count // LANES * LANES, k // (MANY * count) * MANY, MANY
    run = registers(p, 1, WIDE).shape[1]
    if M - m < MANY:
        m, channels, run = k // count, 1, registers(p, 1, ONE).shape[1]
    k -= m * count
    start, middle = 0, whole // run * run
    if k >= channels * whole:
        start, run = whole, count - whole
    elif k >= channels * middle:
        start, run = middle, LANES
    k -= channels * start
    return m + k // run % channels, start + k // (channels * run) * run + k % run, run - k % run


@njit(jobs=True)
def output_loops(
    job, v, ends, weight, bias, kept, y, groups, TH, TW, first, count, some, block, counts
):
    # v, ends: see `input_loops`; weight (M, CG, 3, 3); bias (M,); y (N, M, OH, OW); kept flat: all
    # transformed weights, or nothing where there is one band of tiles
    (_, M, OH, OW), C = y.shape, ends.shape[2]
    CG, MG, left = C // groups, M // groups, ends.shape[1]
    apart = (CG + DEPTH - 1) // DEPTH * 36 * STEP
    u = kept if kept.size > 0 else aligned(block * apart, y)
    p, z = aligned(36 * (block * count + 2 * LANES), y), aligned(16 * LINE, y)
    sums, kernels = aligned(16 * LANES, y), aligned(9 * CG, y)
    shifts, taps = np.empty(C, np.uintp), np.empty(CG, np.uintp)
    for c in range(C):
        shifts[c] = c // some * 36 * LINE + c % some * count
    for c in range(CG):
        taps[c] = c // DEPTH * 36 * STEP + c % DEPTH
    for i in range(16 * LANES):
        sums[i] = 0
    flat_v, flat_e, flat_w = v.reshape(v.size), ends.reshape(ends.size), weight.reshape(weight.size)
    flat_y, parts = y.reshape(y.size), (MG + block - 1) // block
    of_weights, of_products, of_outputs, jobs = 0, 0, 0, counts.shape[0]
    for unit in range(groups * parts * job // jobs, groups * parts * (job + 1) // jobs):
        g, m = unit // parts, unit // parts * MG + unit % parts * block
        channels = min(block, (g + 1) * MG - m)
        w = m * apart if kept.size > 0 else 0
        if first == 0:
            for i in range(channels):
                copy(flat_w, (m + i) * CG * 9, kernels, np.intp(0), CG * 9)
                to = np.uintp(w + i * apart)
                for c in range(0, CG - LANES + 1, LANES):
                    of_weights += weights(kernels, 9 * c, u, to + taps[c])
                for c in range(CG // LANES * LANES, CG):
                    of_weights += weights1(kernels, 9 * c, u, to + taps[c])
        end = channels * count
        line = (end // LANES + 1 | 1) * LANES  # an odd number of cache lines
        near = shifts[g * CG : (g + 1) * CG]
        for xi in range(36):
            of_products += multiply(
                flat_v, xi * LINE, count, near, flat_e, xi * left * C + g * CG, C,
                u, w + xi * STEP, taps, np.uintp(apart), channels, sums, p, xi * line,
            )  # fmt: skip
        for f in range(0, end, MOST):
            stop = min(end, f + MOST)
            middle = f + (stop - f) // LANES * LANES
            for k in range(f, middle, LANES):
                of_outputs += outputs(p, k, line, z, 4 * (k - f))
            for k in range(middle, stop):
                of_outputs += outputs1(p, k, line, z, 4 * (k - f))
            k = f
            while k < stop:  # neighbouring tiles of one channel
                i, tile, tiles = place(p, k, channels, count)
                row, tw = (first + tile) // TW, (first + tile) % TW
                tiles = min(tiles, min(stop - k, TW - tw))
                pixels, b = min(4 * tiles, OW - 4 * tw), bias[m + i]
                for h in range(min(4, OH - 4 * (row % TH))):
                    oh = (row // TH * M + m + i) * OH + 4 * (row % TH) + h
                    source, target = np.uintp(4 * (h * LINE + k - f)), np.uintp(oh * OW + 4 * tw)
                    for j in range(pixels):
                        flat_y[target + np.uintp(j)] = z[source + np.uintp(j)] + b
                k += tiles
    counts[job, 0], counts[job, 1], counts[job, 2] = of_weights, of_products, of_outputs


def _dense(variant: Variant, call: Call) -> bool:
    moved = isinstance(call, Deformed) or (isinstance(call, Dense) and call.transposed)
    return variant.any_method and isinstance(call, Dense) and not moved


def _takes(variant: Variant, call: Call) -> bool:
    _, kernel, stride, _, dilation, *_ = call.window
    return _dense(variant, call) and (kernel, stride, dilation) == ((3, 3), (1, 1), (1, 1))


def _why_not(variant: Variant, call: Call) -> str:
    if not _dense(variant, call):
        return ""
    _, kernel, stride, _, dilation, *_ = call.window
    return (
        "needs a 3×3 kernel, stride 1 and dilation 1, got "
        f"kernel {kernel}, stride {stride} and dilation {dilation}"
    )


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    assert isinstance(call, Dense)
    (N, C, M), groups, x, threads = call.sizes, call.groups, call.x, numba.get_num_threads()
    (top, _), (left, _) = call.window.padding
    y = empty("output", (N, M, *call.window.output), x.dtype)
    TH, TW = (-(-size // 4) for size in call.window.output)
    CG, MG, tiles = C // groups, M // groups, N * TH * TW
    counted = np.zeros(4, np.int64)
    # a last band of few tiles is joined to the one before
    firsts = range(0, max(min(tiles, 1), tiles - LANES + 1), BAND)
    longest = min(tiles, BAND + LANES - 1)
    kept = 36 * STEP * -(-CG // DEPTH) * M if len(firsts) > 1 else 0
    # one piece of memory, which the allocator keeps from call to call
    held = -(-C // max(1, MOST // max(1, longest))) * 36 * LINE + 36 * LANES * C
    memory = empty("transforms", (kept + held + BYTES,), x.dtype)
    memory = memory[-memory.ctypes.data % BYTES // x.itemsize :]
    for first in firsts:
        count = (tiles if first == firsts[-1] else first + BAND) - first
        sizes = TH, TW, first, count, MOST // count
        units = -(-C // (MOST // count))
        v = memory[kept : kept + units * 36 * LINE].reshape(units, 36, LINE)
        ends = memory[kept + v.size :][: 36 * (count % LANES) * C].reshape(36, count % LANES, C)
        done = np.zeros(min(units, 2 * threads), np.int64)
        input_loops(x, v, ends, top, left, *sizes, done)
        parts = -(-MG // max(MANY, SIZE // max(count, CG)))
        parts = -(-parts * groups // threads) * threads // groups or 1  # as many for each thread
        block = -(-MG // (parts * MANY)) * MANY
        counts = np.zeros((min(groups * -(-MG // block), 2 * threads), 3), np.int64)
        output_loops(
            v, ends, call.weight, call.bias, memory[:kept], y, groups, *sizes, block, counts
        )
        counted[1] += done.sum()
        counted[[0, 2, 3]] += counts.sum(axis=0)
    names = ("weight transform", "input transform", "products", "output transform")
    return y, tuple(
        Pass(
            name,
            multiplies,
            equals=f"winograd, {name}",
            accumulates=name == "products",
            by_definition=False,
        )
        for name, multiplies in zip(names, counted.tolist(), strict=True)
    )


def _costs(call: Call) -> Callable[[], Costs]:
    assert isinstance(call, Dense)
    return partial(formulas.winograd, *call.sizes, call.window, groups=call.groups)


WINOGRAD = Method(
    "winograd",
    takes=_takes,
    prefers=lambda variant, call: False,
    run=_run,
    why_not=_why_not,
    costs=_costs,
    not_counted=("the additions of the transforms",),
)
