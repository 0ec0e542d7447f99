"""How a call is cut: regions of the output whose lines stay in cache."""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from ...costs.report import Pass
from ...jit import get_num_threads
from ...shapes import Window
from .registers import BLOCK, BYTES, LANES
from .strips import Strip, convolution, phases

# Taps whose sums stay in registers before they are added to the output, and bytes of lines, about:
# half of the second-level cache, which is mostly smaller without AVX-512, and so is the first.
TAPS, LINES = (320, 480 * 2**10) if BYTES == 64 else (160, 240 * 2**10)
PIXELS = 4096  # of a region, about, at most
# A 1×1 kernel has lines if a group has so many channels, and all images more than so many bytes or
# the group so many output channels.
DEEP, LARGE, OUTPUTS = 64, 2**23, 256
# Measured, in cycles: a number of a line, a line besides, a weight that the last pixels need beside
# others, a region. A call is cut so that the times that so many threads take add up to the least.
FILLING, LINE, PACKING, UNIT, THREADS = 0.375, 60, 1.5, 3000, (1, 2, 4, 8)
# Taps outside the image are left out where that saves at least SAVED of the time, or where the
# output has at most TINY pixels and at most INSIDE of the taps lie in the image.
SAVED, TINY, INSIDE = 0.15, 2 * LANES, 0.6
NUMBER = 6  # multiplies that take about as long as filling a number of a line
ALONE = 50_000  # multiplies that one thread has done before another wakes up

# The fields of a strip of rows and of one of columns, and what follows from them: rows of a line,
# numbers from one line to the next, lines of a column of taps (one for each remainder modulo SH
# that its taps have), input channels at a time, which row of the tables lists the taps, whether
# those lie side by side in the weight, whether the outputs are one run of y.
REGION = np.dtype(
    [
        (name, np.intp)
        for name in (
            *("oh", "down", "height", "ih", "SH", "kh", "tap_down", "TH", "DH"),
            *("ow", "across", "width", "iw", "SW", "kw", "tap_across", "TW", "DW"),
            *("rows", "size", "row_phases", "step", "kind", "in_order", "contiguous"),
        )
    ]
)


class Plan(NamedTuple):
    """What the loops over lines walk over.

    Attributes
    ----------
    regions : numpy.ndarray of REGION
        Together they are all outputs.
    tables : numpy.ndarray (2, kinds, R)
        Of each kind of region and each tap of some channels: how far it lies from a line's first
        pixel, and from the weight's first number.
    sizes : numpy.ndarray (5,)
        Numbers that a job's buffers hold: lines, sums of a region that is not contiguous, the last
        pixels' taps, their sums, a block's taps.
    work : tuple of (int, int)
        Of each region: its multiplies for an output channel, and the numbers in its lines.
    busy : int
        How many threads have enough to do.
    parts : int
        Into how many the output channels are cut at least, so that the sums stay in cache.
    outside : int
        Pairs (output, tap) of one channel that meet padding.
    equals : str
        The formula of all pairs.
    """

    regions: np.ndarray
    tables: np.ndarray
    sizes: np.ndarray
    work: tuple[tuple[int, int], ...]
    busy: int
    parts: int
    outside: int
    equals: str

    def jobs(self, units: int) -> int:
        """Return how many jobs share so many units, some for each thread."""
        threads = min(self.busy, get_num_threads())
        return min(units, 2 * threads if threads > 1 else 1)

    def done(self, name: str, multiplies: int, channels: int) -> Pass:
        """Return a pass that multiplied every pair for so many pairs of channels."""
        return Pass(name, multiplies, self.outside * channels, self.equals, follows=True)


def equal(whole: int, most: int) -> int:
    """Return the size of the fewest equal parts no larger than `most`."""
    return -(-whole // -(-whole // max(1, most)))


def lines_of(rows: Strip) -> tuple[int, int]:
    """Return how many lines a column of taps has, and how many rows they have besides outputs."""
    reach = max(0, rows.taps - 1) * rows.per_tap
    return min(rows.per_output, reach + 1), reach // rows.per_output


def vectors(pixels: int, outputs: int) -> float:
    """Return how many vectors take about as long as so many pixels of some output channels.

    Those left over are slow, and slower where no tile of eight channels meets them together. It is
    the same on all processors, as is what leaves out taps, and so the count.
    """
    whole, left = divmod(pixels, LANES)
    each = 0.05 + (2 + 0.3 * (outputs % 8)) / outputs
    return whole + (1.3 + each * left if left else 0)


def copies_of(rows: Strip, columns: Strip, own: bool) -> int:
    """Return how many lines a channel has."""
    return 1 if own else max(1, columns.taps * lines_of(rows)[0])


def cycles(
    rows: Strip, columns: Strip, outputs: int, own: bool, height: int, width: int, parts: int = 1
) -> float:
    """Return about how many cycles an input channel takes in a region of so many pixels.

    For each of some parts of the output channels its lines are filled anew.
    """
    lines = 0 if own else (height + lines_of(rows)[1]) * width * FILLING + LINE
    tiles = outputs * rows.taps * columns.taps * vectors(height * width, outputs)
    return copies_of(rows, columns, own) * lines + tiles / parts


def strips_of(window: Window, transposed: bool, outputs: int) -> list[list[Strip]]:
    """Return the strips of rows and of columns, cut where leaving out taps saves time."""
    whole = [(phases if transposed else convolution)(window, axis) for axis in (0, 1)]
    if window.dilation == (1, 1) and not transposed:
        return whole
    cut = [
        [p for s in strips for p in s.inside(size)]
        for strips, size in zip(whole, window.size, strict=True)
    ]

    def time(strips: list[list[Strip]], in_order: bool) -> float:
        total = 0.0
        for rows, columns in itertools.product(*strips):
            total += cycles(rows, columns, outputs, False, rows.outputs, columns.outputs)
            if rows.outputs * columns.outputs % LANES > 0 and not in_order:
                total += PACKING * outputs * rows.taps * columns.taps
        return total

    inside, pairs = (
        math.prod(sum(s.outputs * s.taps for s in strips) for strips in both)
        for both in (cut, whole)
    )
    tiny = math.prod(window.output) <= TINY and inside <= INSIDE * pairs
    return cut if tiny or time(cut, False) <= (1 - SAVED) * time(whole, not transposed) else whole


def cut_to_cache(
    rows: Strip, columns: Strip, channels: int, own: bool, numbers: int, most: int
) -> tuple[int, int, int]:
    """Return how many input channels at a time, rows and columns a region of two strips may have.

    Its lines hold about so many numbers, and it has about so many pixels, at most.
    """
    halo, copies = lines_of(rows)[1], copies_of(rows, columns, own)
    step = min(channels, max(1, TAPS // max(1, rows.taps * columns.taps)))
    if LANES < step < channels:
        step -= step % LANES  # the taps of a pixel then fill vectors
    # at least two tiles of pixels, and three times the rows that are copied besides
    least = min(rows.outputs, max(1, 3 * halo, -(-6 * LANES // columns.outputs)))
    while step > 1 and step * copies * (least + halo) * columns.outputs > numbers:
        step = -(-step // 2)
    width = columns.outputs
    if not own and step * copies * (least + halo) * width > numbers:
        width = numbers // (step * copies * (least + halo)) // LANES * LANES
        width = equal(columns.outputs, max(6 * LANES, width))
    height = max(least, min(most // width, numbers // (step * copies * width) - halo))
    return step, height, width


def cut_for_threads(
    rows: Strip,
    columns: Strip,
    channels: int,
    outputs: int,
    own: bool,
    highest: int,
    width: int,
    pieces: int,
) -> int:
    """Return how many rows a region has: as many as the cache allows, or fewer.

    Images, groups and other strips cut all that is one region into so many pieces besides.
    """
    whole = rows.outputs
    pieces *= -(-columns.outputs // width)

    def unit(height: int, parts: int) -> float:
        return channels * cycles(rows, columns, outputs, own, height, width, parts) + UNIT

    def time(height: int) -> float:
        # of the slowest thread, for each number of threads with the best number of parts
        count, times = -(whole // -height), []
        for parts in (parts for parts in THREADS if parts <= -(-outputs // BLOCK)):
            each, last = (unit(h, parts) for h in (height, whole - (count - 1) * height))
            units, mean = count * pieces * parts, (each * (count - 1) + last) / count
            times.append([max(each, -(units // -threads) * mean) for threads in THREADS])
        return sum(map(min, zip(*times, strict=True)))

    least = -(whole // -highest)
    heights = {  # a few rows more may fill vectors
        min(whole, highest + max(1, highest // 16), -(whole // -count) + more)
        for count in range(least, min(whole, least + 2 * max(THREADS)) + 1)
        for more in range(LANES // math.gcd(LANES, width))
    }
    return min(sorted(heights, reverse=True), key=time)


def described(
    pieces: list[tuple[Strip, Strip, int]], window: Window, transposed: bool, per_c: int, own: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the regions, of rows, columns and input channels at a time, and tables: see `Plan`."""
    (KH, KW), (H, W), OW = window.kernel, window.size, window.output[1]
    listed: list[tuple[int, ...]] = []
    lists: list[np.ndarray] = []  # of each kind of region: shifts and taps
    known: dict[tuple, tuple[int, ...]] = {}
    for rows, columns, step in pieces:
        # what is the same for all regions of a shape that meet the same taps
        shape = (rows.outputs, *rows[4:], columns.outputs, *columns[4:], step)
        if shape not in known:
            phase, halo = lines_of(rows)
            # a vector more than its pixels: what is copied last may reach so far
            size = (-(-(rows.outputs + halo) * columns.outputs // LANES) + 1) * LANES
            c, kh, kw = np.ogrid[:step, : rows.taps, : columns.taps]
            down, among = np.divmod(kh * rows.per_tap, rows.per_output)
            line = (c * columns.taps + kw) * phase + among
            shift = line * size + down * columns.outputs
            tap = (rows.tap + kh * rows.tap_step) * KW + columns.tap + kw * columns.tap_step
            lists.append(
                np.array([(c * H * W if own else shift).ravel(), (tap + c * per_c).ravel()])
            )
            in_order = not transposed and (rows.taps, columns.taps) == (KH, KW)
            contiguous = rows.step == columns.step == 1 and (
                columns.outputs == OW or rows.outputs == 1
            )
            kind = len(lists) - 1
            known[shape] = (rows.outputs + halo, size, phase, step, kind, in_order, contiguous)
        listed.append((*rows, *columns, *known[shape]))
    tables = np.zeros((2, len(lists), max(pair.shape[1] for pair in lists)), np.uintp)
    for i, pair in enumerate(lists):
        tables[:, i, : pair.shape[1]] = pair
    return np.array(listed, REGION), tables


@functools.lru_cache(256)
def plan(
    N: int, C: int, M: int, groups: int, window: Window, transposed: bool, itemsize: int, share: int
) -> Plan:
    """Cut a convolution, or a transposed one, into regions.

    Parameters
    ----------
    N, C, M, groups : int
        Images, input channels, output channels, groups.
    window : Window
        The geometry.
    transposed : bool
        Whether it is that of `shapes.transposed_window`.
    itemsize : int
        Bytes of a number.
    share : int
        Groups whose lines are in cache at once.

    Returns
    -------
    Plan
        Of the size of the call, whatever the number of threads.
    """
    (KH, KW), (H, W), (OH, OW) = window.kernel, window.size, window.output
    CG, MG, K = C // groups, M // groups, KH * KW
    numbers, per_c = LINES // itemsize // share, MG * K if transposed else K
    # a 1×1 kernel meets the image as it is; but many channels may come faster row by row
    own = share == 1 and K == 1 and window.stride == (1, 1) and window.output == window.size
    small = MG < OUTPUTS and N * C * H * W * itemsize <= LARGE
    own = own and not transposed and (CG < DEEP or small)
    axes, pieces = strips_of(window, transposed, MG), []
    others = max(1, N) * groups * len(axes[0]) * len(axes[1])
    for rows, columns in itertools.product(*axes):
        step, highest, width = cut_to_cache(rows, columns, CG, own, numbers, share * PIXELS)
        height = cut_for_threads(rows, columns, CG, MG, own, highest, width, others)
        for a in range(0, rows.outputs, height):
            some = rows.some(a, min(height, rows.outputs - a))
            for b in range(0, columns.outputs, width):
                pieces.append((some, columns.some(b, min(width, columns.outputs - b)), step))
    pieces.sort(key=lambda piece: (piece[0].first, piece[1].first))  # phases that interleave
    regions, tables = described(pieces, window, transposed, per_c, own)
    pairs, inside = 0, 0
    for rows, columns in itertools.product(*axes):
        met = rows.outputs * rows.taps, columns.outputs * columns.taps
        pairs += met[0] * met[1]
        inside += (met[0] - rows.on_padding(H)) * (met[1] - columns.on_padding(W))
    pixels, most = regions["height"] * regions["width"], tables.shape[2]
    left = int((pixels % LANES).max())
    lines = regions["TW"] * regions["row_phases"]  # of a channel
    sizes = (
        0 if own else share * (regions["step"] * lines * regions["size"]).max(),
        share * MG * (pixels * (1 - regions["contiguous"])).max(),
        left * most,
        left * LANES * -(-MG // BLOCK) * BLOCK,
        BLOCK * most * (1 - regions["in_order"].min()),
    )
    outside, equals = pairs - inside, "phases" if transposed else "dense"
    if outside == 0 and (transposed or pairs < K * OH * OW):
        equals = "in bounds"
    parts = min(-(-MG // BLOCK), max(1, int(sizes[1]) // numbers))
    multiplies = pixels * regions["TH"] * regions["TW"] * CG
    filled = lines * regions["rows"] * regions["width"] * CG * (not own)
    work = tuple(zip(multiplies.tolist(), filled.tolist(), strict=True))
    busy = 1 + N * int(M * multiplies.sum() + NUMBER * groups * filled.sum()) // ALONE
    return Plan(regions, tables, np.array(sizes, np.intp), work, busy, parts, outside, equals)
