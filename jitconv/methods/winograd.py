"""Fewer multiplies than the formula: 3×3 kernels by Winograd's F(4×4, 3×3).

Two outputs of a kernel of three taps take six multiplies. Four are enough:

    y0 = m1 + m2 + m3      m1 = (d0 − d2)·g0      m2 = (d1 + d2)·(g0 + g1 + g2)/2
    y1 = m2 − m3 − m4      m4 = (d1 − d3)·g2      m3 = (d2 − d1)·(g0 − g1 + g2)/2

Why: a convolution multiplies two polynomials, and a product of polynomials is known from its values
at as many points as it has coefficients: two factors are evaluated, multiplied point by point, and
the coefficients read off. A layer takes this turned round, the matrices transposed: its weights are
evaluated, its inputs take the way that the coefficients had, and its outputs that of the other
factor (notebook 13 derives it). Three transforms and a product: here four outputs come from six
inputs, at the points 0, ±5/8, ±3/2 and infinity, along one side and then the other. A tile of 4×4
outputs and 6×6 inputs takes 36 multiplies instead of 144. The transforms are the same for all
channels of one side: each input tile is transformed once for all output channels, each kernel once
for all tiles, and the sum over the input channels is taken before the outputs are read off. Many
channels make the transforms cheap.

The price: the transforms add large numbers and take them away again, so the outputs are rounded
several times worse than by the tiled loops, and a NaN or an infinity spreads over every tile that
reads it.
Padding is transformed like any pixel. "auto" never takes this method. The points were chosen for
small errors (±1 and ±2, the usual ones, give about twice as large ones) and are exact in binary.

How: channels lie across the lanes of the vector registers, sixteen input channels while tiles are
transformed, output channels afterwards; squares of pixels, weights and outputs are turned on the
way. Sixteen tiles, a band, are worked on together. Where tiles outnumber the output channels, a
thread takes some of the tiles and does everything for them, with weights that were transformed
before, for all threads. Where tiles are few, a thread takes some of the output channels, and the
tiles were transformed before. (Many groups of few channels are a bad case: the weights of each take
the memory of 64 × 64.)

References: Winograd, Arithmetic complexity of computations, 1980; Lavin and Gray, Fast algorithms
for convolutional neural networks, arXiv:1509.09308; Barabasz et al., Error analysis and improving
the accuracy of Winograd convolution, arXiv:1803.10986.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..call import Call, Deformed, Dense, empty
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import Pass
from ..jit import get_num_threads, njit
from ..variant import Variant
from .method import Method
from .tiled.lines import put
from .tiled.registers import BYTES, LANES, REGISTERS, aligned, move, numbers, registers, transpose

A, B = 5 / 8, 3 / 2  # the points, besides 0 and infinity
AA, BB = A * A, B * B

TILES = 16  # of a band: they are transformed, multiplied and stored together
QUARTERS = 4  # of a depth: a thread transforms the weights of one at a time; the last may be empty
DEPTH = QUARTERS * LANES  # input channels, at most, whose products are summed before p is added to
VECTORS = 4 if REGISTERS > 16 else 2  # of output channels in a block, which has WIDTH at most
WIDTH, HALF = numbers(VECTORS, 4), LANES // 2
# Steps between the 36 numbers of a tile, or a kernel: odd numbers of cache lines, or twice odd in
# float64, so that they spread over the sets of a cache.
V_STEP, U_STEP, P_STEP = TILES * LANES + LANES, DEPTH * WIDTH + LANES, TILES * WIDTH + LANES
SHARED = 128  # tiles, at most, that are transformed once for all threads
OWN = 32 * 64  # tiles × input channels, about, that a thread transforms for itself at a time
INPUTS, WEIGHTS, PRODUCTS = range(3)  # stages: what all threads share is transformed first


@njit
def input_line(like, d0, d1, d2, d3, d4, d5):
    # Bᵀd in Lavin and Gray: six pixels -> what meets the weights' values at 0, A, -A, B, -B and
    # infinity; what is even and odd is shared
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
    # Gg: three weights -> their values at the six points, scaled
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
    # Aᵀm: the products at the six points -> four outputs
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


@njit
def inputs(patches, k, count, v, to):
    # some tiles side by side. patches flat (6 rows, 6 columns, V_STEP), from k on -> v flat
    # (36, V_STEP), from `to` on
    d = registers(v, 36, 1)
    k, to, down, on = np.uintp(k), np.uintp(to), np.uintp(6 * V_STEP), np.uintp(V_STEP)
    multiplies = 0
    for j in range(count):
        for i in range(6):  # down the columns
            p = k + np.uintp(i * V_STEP) + np.uintp(j)
            d[i, j], d[6 + i, j], d[12 + i, j], d[18 + i, j], d[24 + i, j], d[30 + i, j] = (
                input_line(
                    v,
                    patches[p],
                    patches[p + down],
                    patches[p + np.uintp(2) * down],
                    patches[p + np.uintp(3) * down],
                    patches[p + np.uintp(4) * down],
                    patches[p + np.uintp(5) * down],
                )
            )
            multiplies += IN
    for j in range(count):
        for i in range(0, 36, 6):  # along the rows
            p = to + np.uintp(i * V_STEP) + np.uintp(j)
            (
                v[p],
                v[p + on],
                v[p + np.uintp(2) * on],
                v[p + np.uintp(3) * on],
                v[p + np.uintp(4) * on],
                v[p + np.uintp(5) * on],
            ) = input_line(
                v, d[i, j], d[i + 1, j], d[i + 2, j], d[i + 3, j], d[i + 4, j], d[i + 5, j]
            )
            multiplies += IN
    return multiplies


@njit
def weights(kernels, k, count, u, to):
    # some kernels side by side. kernels flat (3 rows, 3 columns, WIDTH), from k on -> u flat
    # (36, U_STEP), from `to` on
    d = registers(u, 18, 1)
    k, to, down = np.uintp(k), np.uintp(to), np.uintp(6 * U_STEP)
    multiplies = 0
    for j in range(count):
        for i in range(3):  # along the rows
            p = k + np.uintp(3 * i * WIDTH) + np.uintp(j)
            d[i, j], d[3 + i, j], d[6 + i, j], d[9 + i, j], d[12 + i, j], d[15 + i, j] = (
                weight_line(
                    u, kernels[p], kernels[p + np.uintp(WIDTH)], kernels[p + np.uintp(2 * WIDTH)]
                )
            )
            multiplies += WEIGHT
    for j in range(count):
        for i in range(6):  # down the columns
            p = to + np.uintp(i * U_STEP) + np.uintp(j)
            (
                u[p],
                u[p + down],
                u[p + np.uintp(2) * down],
                u[p + np.uintp(3) * down],
                u[p + np.uintp(4) * down],
                u[p + np.uintp(5) * down],
            ) = weight_line(u, d[3 * i, j], d[3 * i + 1, j], d[3 * i + 2, j])
            multiplies += WEIGHT
    return multiplies


@njit
def outputs(p, k, count, biases, z):
    # some tiles side by side. p flat (6 rows, 6 columns, P_STEP) and biases flat, from k on -> z
    # flat (4 rows, 4 columns, P_STEP), from k on
    d = registers(p, 24, 1)
    k, down, on = np.uintp(k), np.uintp(6 * P_STEP), np.uintp(P_STEP)
    multiplies = 0
    for j in range(count):
        for i in range(6):  # down the columns
            q = k + np.uintp(i * P_STEP) + np.uintp(j)
            d[i, j], d[6 + i, j], d[12 + i, j], d[18 + i, j] = output_line(
                p,
                p[q],
                p[q + down],
                p[q + np.uintp(2) * down],
                p[q + np.uintp(3) * down],
                p[q + np.uintp(4) * down],
                p[q + np.uintp(5) * down],
            )
            multiplies += OUT
    for j in range(count):
        for i in range(4):  # along the rows
            q, f, b = k + np.uintp(4 * i * P_STEP) + np.uintp(j), 6 * i, biases[k + np.uintp(j)]
            y0, y1, y2, y3 = output_line(
                p, d[f, j], d[f + 1, j], d[f + 2, j], d[f + 3, j], d[f + 4, j], d[f + 5, j]
            )
            z[q], z[q + on] = y0 + b, y1 + b
            z[q + np.uintp(2) * on], z[q + np.uintp(3) * on] = y2 + b, y3 + b
            multiplies += OUT
    return multiplies


@njit
def place_of(tile, TH, TW):
    # where a tile lies: image, row, column
    return tile // (TH * TW), tile // TW % TH, tile % TW


@njit
def transform_inputs(x, sizes, first, tiles, chunk, pixels, patches, v, to):
    # the tiles of a band, in a chunk of the input channels. x flat (N, C, H, W) -> v flat
    # (36, V_STEP), from `to` on: of each tile the channels side by side
    N, C, H, W, top, left, TH, TW, groups = sizes
    CG, plane, tile, zero = C // groups, H * W, 0, x.dtype.type(0)
    c = chunk % -(-CG // LANES) * LANES
    some, channel = min(LANES, CG - c), chunk // -(-CG // LANES) * CG + c
    while tile < tiles:  # neighbours in a row; pixels flat (·, LANES): a row of theirs, to be cut
        n, th, tw = place_of(first + tile, TH, TW)
        row, w = min(tiles - tile, TW - tw), 4 * tw - left
        size, begin = 4 * row + 2, max(0, -w)
        # Squares of pixels and channels are fetched. Near the end of x they begin earlier: `skip`
        # channels precede those that are wanted, and pixels are fetched twice. Pixel q of the row
        # lies at (LANES + q) * LANES + skip; what is outside the image is zeroed last.
        lowest = min(n * C + channel, N * C - LANES)
        square = plane >= LANES and lowest >= 0
        skip = n * C + channel - lowest if square else 0
        for i in range(6):
            h = 4 * th - top + i
            end = max(begin, min(size, W - w)) if 0 <= h < H else begin
            for q in range(begin, end, LANES):
                pixel = h * W + w + q
                if square:
                    p = min(pixel, plane - LANES)
                    at = (LANES + q - pixel + p) * LANES
                    transpose(x, lowest * plane + p, plane, 4 * plane, pixels, at, LANES)
                else:
                    for lane in range(some):
                        for j in range(min(LANES, end - q)):
                            p = (n * C + channel + lane) * plane + pixel + j
                            pixels[(LANES + q + j) * LANES + lane] = x[p]
            put(zero, pixels, LANES * LANES + skip, min(begin, size) * LANES)
            put(zero, pixels, (LANES + end) * LANES + skip, (size - end) * LANES)
            for j in range(6):
                p = np.uintp((LANES + j) * LANES + skip)
                q = np.uintp((6 * i + j) * V_STEP + tile * some)
                for _ in range(row):
                    move(pixels, p, 1, patches, q)
                    p += np.uintp(4 * LANES)
                    q += np.uintp(some)
        tile += row
    multiplies, end = 0, tiles * some
    for k in range(0, end, LANES):
        multiplies += inputs(patches, k, min(LANES, end - k), v, to + k)
    return multiplies


@njit
def transform_weights(weight, CG, m, width, c0, some, kernels, u, to):
    # weight flat (M, CG, 3, 3), of some input channels from c0 on and a block of output channels
    # -> u flat (36, U_STEP), from `to` on: (some, width)
    at, far, multiplies = (m * CG + c0) * 9, CG * 9, 0
    if width >= LANES:  # fetched as squares; WIDTH numbers are kept for each tap
        whole = 9 * some // LANES * LANES
        for i in range(0, width, LANES):
            for k in range(0, whole, LANES):
                transpose(weight, at + i * far + k, far, 4 * far, kernels, k * WIDTH + i, WIDTH)
            for k in range(whole, 9 * some):
                for j in range(i, i + LANES):
                    kernels[k * WIDTH + j] = weight[at + j * far + k]
        for c in range(some):
            for i in range(0, width, LANES):
                multiplies += weights(kernels, c * 9 * WIDTH + i, LANES, u, to + c * width + i)
        return multiplies
    for i in range(width):
        for c in range(some):
            f = c * width + i
            for k in range(9):
                q = (f // WIDTH * 9 + k) * WIDTH + f % WIDTH
                kernels[q] = weight[at + i * far + 9 * c + k]
    for f in range(0, some * width, LANES):
        k = f // WIDTH * 9 * WIDTH + f % WIDTH
        multiplies += weights(kernels, k, min(LANES, some * width - f), u, to + f)
    return multiplies


@njit(inline=True)
def products(acc, WIDTH, v, at, first, tiles, u, k, some, p, to, onto):
    # The loops of the 36 products, for ROWS tiles × a block of WIDTH output channels, in acc
    # (ROWS, WIDTH or more). v: a tile's values lie apart from the next one's, those of LANES
    # channels in a run; u flat (some, WIDTH), from k on; p flat (tiles, WIDTH), from `to` on,
    # filled or added onto
    ROWS, apart, multiplies, zero = len(acc), min(LANES, some), 0, p.dtype.type(0)
    for _ in range(36):
        for tile in range(first, tiles - ROWS + 1, ROWS):
            for j in range(WIDTH):
                for i in range(ROWS):
                    acc[i, j] = 0
            row = np.uintp(k)
            for c in range(0, some, LANES):
                value = np.uintp(at + c // LANES * 36 * V_STEP + tile * apart)
                for _ in range(min(LANES, some - c)):
                    for j in range(WIDTH):  # across the lanes of the vector registers
                        for i in range(ROWS):
                            acc[i, j] += v[value + np.uintp(i * apart)] * u[row + np.uintp(j)]
                            multiplies += 1
                    value += np.uintp(1)
                    row += np.uintp(WIDTH)
            for j in range(WIDTH):
                for i in range(ROWS):
                    q = np.uintp(to + (tile + i) * WIDTH) + np.uintp(j)
                    p[q] = (p[q] if onto else zero) + acc[i, j]
        at, k, to = at + V_STEP, k + U_STEP, to + P_STEP
    return multiplies


def make_product(ROWS, VECTORS, SHARE=1):
    """Return the loops for so many tiles and a share of so many vectors, which LLVM unrolls."""

    @njit(slp=BYTES < 64)
    def sized(v, at, first, tiles, u, k, some, p, to, onto):
        acc = registers(p, ROWS, VECTORS)
        return products(acc, acc.shape[1] // SHARE, v, at, first, tiles, u, k, some, p, to, onto)

    return sized


wide5, wide, wide1 = (make_product(rows, VECTORS) for rows in (5, 4, 1))
thin, half = make_product(4, 1), make_product(TILES, 1, 2)


@njit
def rest(v, at, first, tiles, u, k, some, width, sums, p, to, onto):
    # the same for the tiles that are left, and for any width; sums flat (tiles, width)
    multiplies, zero, end = 0, p.dtype.type(0), (tiles - first) * width
    for _ in range(36 if end > 0 else 0):
        for i in range(end):
            sums[i] = 0
        for c in range(some):
            value, row = at + c // LANES * 36 * V_STEP + c % LANES, np.uintp(k + c * width)
            for tile in range(first, tiles):
                a, q = v[value + tile * min(LANES, some)], np.uintp((tile - first) * width)
                for j in range(width):
                    sums[q + np.uintp(j)] += a * u[row + np.uintp(j)]
                    multiplies += 1
        for i in range(end):
            q = to + first * width + i
            p[q] = (p[q] if onto else zero) + sums[i]
        at, k, to = at + V_STEP, k + U_STEP, to + P_STEP
    return multiplies


@njit
def multiply(v, at, some, tiles, u, k, width, sums, p, to, onto):
    # a band: 36 times v (tiles, some) · u (some, width) -> p (tiles, width)
    done, multiplies = tiles // 4 * 4, 0
    if width == numbers(VECTORS, p.itemsize):  # else some would be left, one by one
        fives = 5 * min(tiles % 4, tiles // 5)
        done = fives + (tiles - fives) // 4 * 4
        multiplies += wide5(v, at, 0, fives, u, k, some, p, to, onto)
        multiplies += wide(v, at, fives, done, u, k, some, p, to, onto)
        return multiplies + wide1(v, at, done, tiles, u, k, some, p, to, onto)
    if width == LANES:
        multiplies += thin(v, at, 0, tiles, u, k, some, p, to, onto)
    elif width == HALF and tiles == TILES:
        multiplies += half(v, at, 0, tiles, u, k, some, p, to, onto)
    else:
        done = 0
    return multiplies + rest(v, at, done, tiles, u, k, some, width, sums, p, to, onto)


@njit
def transform_outputs(p, sizes, first, tiles, m, width, biases, z, square, y):
    # the tiles of a band, in a block of output channels. p flat (36, P_STEP) -> y flat
    # (N, M, OH, OW); z flat (16, P_STEP), square flat (LANES, LANES)
    M, OH, OW, TH, TW = sizes
    multiplies, end, tile, plane = 0, tiles * width, 0, OH * OW
    for k in range(0, end, LANES):
        multiplies += outputs(p, k, min(LANES, end - k), biases, z)
    while tile < tiles:  # neighbours in a row
        n, th, tw = place_of(first + tile, TH, TW)
        row = min(tiles - tile, TW - tw)
        for h in range(min(4, OH - 4 * th)):
            to = ((n * M + m) * OH + 4 * th + h) * OW + 4 * tw
            for t in range(0, row, 4):
                count = min(LANES, min(4 * (row - t), OW - 4 * (tw + t)))
                if t > 0 and count < LANES and count % 4 == 0:  # some are stored again
                    t, count = row - 4, LANES
                for i in range(0, width, LANES):
                    k, q = 4 * h * P_STEP + (tile + t) * width + i, to + i * plane + 4 * t
                    if count == LANES <= width:
                        transpose(z, k, P_STEP, width, y, q, plane)
                    else:
                        transpose(z, k, P_STEP, width, square, 0, LANES)
                        for lane in range(min(width, LANES)):
                            for j in range(count):
                                y[q + lane * plane + j] = square[lane * LANES + j]
        tile += row
    return multiplies


@njit(jobs=True)
def winograd_loops(
    job, x, weight, bias, v, u, y, top, left, groups, blocks, cuts, depths, stage, units, counts
):
    # x (N, C, H, W); weight (M, CG, 3, 3); bias (M,); y (N, M, OH, OW). What a stage before has
    # transformed for all threads, else empty: v flat (bands of tiles, chunks of input channels, 36,
    # V_STEP); u flat (groups, blocks, depths, 36, U_STEP). blocks of output channels and depths of
    # input channels (·, 2): the first, and how many; cuts: where parts of the blocks begin, and the
    # last ends; counts (jobs, 4)
    (N, C, H, W), (_, M, OH, OW), jobs = x.shape, y.shape, counts.shape[0]
    CG, MG, TH, TW = C // groups, M // groups, (OH + 3) // 4, (OW + 3) // 4
    in_sizes, out_sizes = (N, C, H, W, top, left, TH, TW, groups), (M, OH, OW, TH, TW)
    tiles, fours = N * TH * TW, (N * TH * TW + 3) // 4
    all_blocks, all_depths = blocks.shape[0], depths.shape[0]
    parts, per_group = cuts.size - 1, -(-CG // LANES)
    chunks, bands, own_tiles = groups * per_group, -(-tiles // TILES), u.size > 0
    flat_x, flat_w, flat_y = x.reshape(x.size), weight.reshape(weight.size), y.reshape(y.size)
    pixels, patches = aligned((4 * TILES + 2 + 2 * LANES) * LANES, y), aligned(36 * V_STEP, y)
    kernels, square = aligned(DEPTH * 9 * WIDTH, y), aligned(LANES * LANES, y)
    sums, biases = aligned(P_STEP, y), aligned(TILES * WIDTH, y)
    z, u_depth = aligned(16 * P_STEP + 4 * WIDTH, y), 36 * U_STEP
    of_weights, of_inputs, of_products, of_outputs = 0, 0, 0, 0
    if stage == PRODUCTS:
        if own_tiles:
            bands = -(-fours // (units * TILES // 4))
            v = aligned(bands * chunks * 36 * V_STEP, y)
        else:
            u = aligned(u_depth, y)
            u_depth = 0
        p = aligned(bands * 36 * P_STEP, y)
    for unit in range(units * job // jobs, units * (job + 1) // jobs):
        if stage == INPUTS:
            band, chunk = unit % bands, unit // bands
            first, to = band * TILES, (band * chunks + chunk) * 36 * V_STEP
            of_inputs += transform_inputs(
                flat_x, in_sizes, first, min(TILES, tiles - first), chunk, pixels, patches, v, to
            )
            continue
        if stage == WEIGHTS:
            piece, c = unit // QUARTERS, unit % QUARTERS * LANES
            d, b = piece % all_depths, piece // all_depths % all_blocks
            g = piece // all_depths // all_blocks
            of_weights += transform_weights(
                *(flat_w, CG, g * MG + blocks[b, 0], blocks[b, 1], depths[d, 0] + c),
                *(max(0, min(LANES, depths[d, 1] - c)), kernels, u),
                piece * u_depth + c * blocks[b, 1],
            )
            continue
        # Of the products, a unit is either some tiles, whose inputs it transforms for itself, or a
        # part of the output channels of a group, whose weights it transforms.
        t0, t1, first_part, last_part = 0, tiles, unit, unit + 1
        if own_tiles:
            t0, t1 = 4 * (fours * unit // units), min(tiles, 4 * (fours * (unit + 1) // units))
            first_part, last_part = 0, groups
            for i in range(-(-(t1 - t0) // TILES) * chunks):
                first = t0 + i // chunks * TILES
                of_inputs += transform_inputs(
                    *(flat_x, in_sizes, first, min(TILES, t1 - first), i % chunks),
                    *(pixels, patches, v, i * 36 * V_STEP),
                )
        bands = -(-(t1 - t0) // TILES)
        for part in range(first_part, last_part):
            g = part // parts
            for b in range(cuts[part % parts], cuts[part % parts + 1]):
                m, width = g * MG + blocks[b, 0], blocks[b, 1]
                for d in range(all_depths):
                    c0, some = depths[d, 0], depths[d, 1]
                    to = ((g * all_blocks + b) * all_depths + d) * u_depth
                    if not own_tiles:
                        of_weights += transform_weights(
                            flat_w, CG, m, width, c0, some, kernels, u, to
                        )
                    for band in range(bands):
                        at = (band * chunks + g * per_group + c0 // LANES) * 36 * V_STEP
                        of_products += multiply(
                            *(v, at, some, min(TILES, t1 - t0 - band * TILES)),
                            *(u, to, width, sums, p, band * 36 * P_STEP, d > 0),
                        )
                for i in range(TILES * width):
                    biases[i] = bias[m + i % width]
                for band in range(bands):
                    first = t0 + band * TILES
                    of_outputs += transform_outputs(
                        *(p[band * 36 * P_STEP :], out_sizes, first, min(TILES, t1 - first)),
                        *(m, width, biases, z, square, flat_y),
                    )
    counts[job, 0], counts[job, 1] = of_weights, of_inputs
    counts[job, 2], counts[job, 3] = of_products, of_outputs


def _cut(first: int, end: int, *sizes: int) -> list[tuple[int, int]]:
    """Cut a range into pieces of the first size that fits, each as first and length."""
    pieces = []
    while first < end:
        size = next((size for size in sizes if size <= end - first), end - first)
        pieces.append((first, size))
        first += size
    return pieces


class Plan(NamedTuple):
    """How a call is cut: the tables of `winograd_loops`, its stages, and what threads share."""

    tables: list[np.ndarray]
    stages: tuple[tuple[int, int], ...]  # each, and its units
    inputs: int  # numbers of v
    weights: int  # numbers of u


@functools.lru_cache(256)
def _plan(C: int, M: int, groups: int, tiles: int, itemsize: int, threads: int) -> Plan:
    CG, MG = C // groups, M // groups
    chunks, sixteens, bands = groups * -(-CG // LANES), -(-MG // LANES), -(-tiles // TILES)
    depths = _cut(0, CG // LANES * LANES, DEPTH) + _cut(CG // LANES * LANES, CG)
    # tiles are shared by all threads if output channels keep as many of them busy as tiles would
    few = tiles <= min(SHARED, MG) and groups * sixteens >= min(threads, -(-tiles // 4))
    parts = min(sixteens, -(-threads // groups)) if few else 1
    widths = numbers(VECTORS, itemsize), LANES, HALF
    ends = [min(MG, sixteens * part // parts * LANES) for part in range(parts + 1)]
    blocks, cuts = [], [0]
    for first, end in itertools.pairwise(ends):
        blocks += _cut(first, end, *widths)
        cuts.append(len(blocks))
    tables = [np.array(table, np.int64) for table in (blocks, cuts, depths)]
    if few:
        stages = (INPUTS, bands * chunks), (PRODUCTS, groups * parts)
        return Plan(tables, stages, bands * chunks * 36 * V_STEP, 0)
    pieces = groups * len(blocks) * len(depths)
    rounds = -(-tiles // (threads * max(TILES, OWN // C)))
    stages = (
        (WEIGHTS, pieces * QUARTERS),
        (PRODUCTS, min(-(-tiles // 4), threads * rounds)),
    )
    return Plan(tables, stages, 0, pieces * 36 * U_STEP)


def _dense(variant: Variant, call: Call) -> bool:
    dense = isinstance(call, Dense) and not isinstance(call, Deformed) and not call.transposed
    return variant.any_method and dense


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


def _memory(size: int, dtype: np.dtype) -> np.ndarray:
    memory = empty("transforms", (size + BYTES,), dtype)
    return memory[-memory.ctypes.data % BYTES // dtype.itemsize :][:size]


def _run(variant: Variant, call: Call) -> tuple[np.ndarray, tuple[Pass, ...]]:
    assert isinstance(call, Dense)
    (N, C, M), groups, x, threads = call.sizes, call.groups, call.x, get_num_threads()
    (top, _), (left, _) = call.window.padding
    y = empty("output", (N, M, *call.window.output), x.dtype)
    OH, OW = call.window.output
    tiles = N * -(-OH // 4) * -(-OW // 4)
    plan = _plan(C, M, groups, tiles, x.itemsize, threads)
    v, u = _memory(plan.inputs, x.dtype), _memory(plan.weights, x.dtype)
    counted = np.zeros(4, np.int64)
    for stage, units in plan.stages if tiles else ():
        counts = np.zeros((min(units, 2 * threads), 4), np.int64)
        winograd_loops(
            *(x, call.weight, call.bias, v, u, y, top, left, groups),
            *(*plan.tables, stage, units, counts),
        )
        counted += counts.sum(axis=0)
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
    return functools.partial(formulas.winograd, *call.sizes, call.window, groups=call.groups)


WINOGRAD = Method(
    "winograd",
    takes=_takes,
    run=_run,
    why_not=_why_not,
    costs=_costs,
    not_counted=("the additions of the transforms",),
)
