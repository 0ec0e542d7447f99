"""An image in chunks: which pixels a block of outputs reads, and the graph of its tasks.

A chunk is read once. It hands copies of its edges to the chunks around it, since a view of them
would keep all of it in memory; with the edges of those, a block runs. Its counts are added to those
of the blocks before it, one after the other. That gives the graph an order: computed with its
report, an image of more than three rows of chunks is gone through row by row, and little more than
one row is held.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import operator
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask.array.overlap import ensure_minimum_chunksize
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from .. import jit, shapes
from ..costs import formulas
from ..costs.report import CostReport
from ..shapes import Block, Pair, Window
from .counting import counted, of_images, of_variant, report_of_whole


class LazyResult(NamedTuple):
    """A convolution to be computed: ``y, report = dask.compute(*blockwise.conv2d(x, weight))``.

    Attributes
    ----------
    output : dask.array.Array
        Shape (N, M, OH, OW), or (M, OH, OW) for one image (C, H, W): a block for each chunk of x.
    report : dask.array.Array
        Without axes: its value is the `CostReport` of the whole image. It consists of what the
        blocks counted while they made the output, so compute both in one `dask.compute`. Dask
        plans what `dask.delayed` makes of the output, or what goes through `dask.optimize`, apart
        from the report; every block then runs twice.
    """

    output: da.Array
    report: da.Array


class Axis(NamedTuple):
    """An axis of an image, cut.

    Attributes
    ----------
    chunks : tuple of int
        Pixels of each chunk, none fewer than a halo's or without outputs.
    halo : (int, int)
        Pixels that a block reads before and after its chunk.
    blocks : list of Block
        One a chunk.
    """

    chunks: tuple[int, ...]
    halo: Pair
    blocks: list[Block]

    def near(self, i: int) -> range:
        """Return how far from chunk i those lie that its block reads: −1, 0 and 1."""
        low, high = self.halo
        return range(-1 if low and i > 0 else 0, 2 if high and i + 1 < len(self.chunks) else 1)


class Plan(NamedTuple):
    """What every block is told.

    Attributes
    ----------
    run : callable
        Takes the arrays of a block, its rows and its columns; returns its output and its report.
    rows, columns : Axis
    """

    run: Callable[..., tuple[np.ndarray, CostReport]]
    rows: Axis
    columns: Axis


def edges(x: np.ndarray, rows: Pair, columns: Pair) -> dict[Pair, np.ndarray]:
    """Return what the chunks around one read of it, by where it lies from there.

    Parameters
    ----------
    x : numpy.ndarray (..., H, W)
        The chunk.
    rows, columns : (int, int)
        The halo: pixels before and after.

    Returns
    -------
    dict of (int, int) to numpy.ndarray
        At (−1, 0) for the chunk below: the last rows.
    """
    H, W = x.shape[-2:]
    heights = {-1: slice(H - rows[0], H), 0: slice(H), 1: slice(rows[1])}
    widths = {-1: slice(W - columns[0], W), 0: slice(W), 1: slice(columns[1])}
    pieces = {
        (down, right): x[..., heights[down], widths[right]]
        for down in heights
        for right in widths
        if (down, right) != (0, 0)
    }
    if sum(piece.nbytes for piece in pieces.values()) >= x.nbytes:
        # they keep the whole chunk in memory, which is no more than copies would take
        return pieces
    return {place: piece.copy() for place, piece in pieces.items()}


def run_block(
    parts: list[list], moved: list[np.ndarray], plan: Plan, i: int, j: int
) -> tuple[np.ndarray, Counter]:
    """Run the block of chunk (i, j): return its output and what it counted.

    Parameters
    ----------
    parts : list of list
        The chunk, and the edges of those around it.
    moved : list of numpy.ndarray
        Blocks of what is cut as the output is.
    plan : Plan
    i, j : int
        Place of the chunk.
    """
    down, right = plan.rows.near(i), plan.columns.near(j)
    x = parts[0][0]
    if len(down) > 1 or len(right) > 1:
        pieces = [
            [part[a, b] if a or b else part for b, part in zip(right, line, strict=True)]
            for a, line in zip(down, parts, strict=True)
        ]
        x = np.block(pieces)
    with jit.limited_threads(own_threads()):
        y, report = plan.run(x, *moved, rows=plan.rows.blocks[i], columns=plan.columns.blocks[j])
    return y, counted(report)


def output(ran: tuple[np.ndarray, Counter]) -> np.ndarray:
    """Return the output of a block that has run; Dask names tasks by their function."""
    return ran[0]


def own_threads() -> float:
    """Return how many threads this worker may use: all, if it is none of several."""
    if "distributed" in sys.modules:
        try:
            return sys.modules["distributed"].get_worker().state.nthreads
        except ValueError:  # this is no worker
            pass
    in_pool = multiprocessing.parent_process() is not None
    if in_pool and threading.current_thread() is threading.main_thread():
        return 1  # Dask's pool has a process for each core
    return math.inf


def cut(
    x: da.Array,
    moved: Sequence[da.Array],
    paper: CostReport,
    run: Callable[..., tuple[np.ndarray, CostReport]],
    margin: int = 0,
    transposed: bool = False,
) -> LazyResult:
    """Cut a convolution into blocks.

    Parameters
    ----------
    x : dask.array.Array (N, C, H, W) or (C, H, W)
    moved : sequence of dask.array.Array (..., OH, OW)
        What is cut as the output is.
    paper : CostReport
        Of the same call for no image.
    run : callable
        As in `Plan`.
    margin : int
        Pixels around those that a block's windows see.
    transposed : bool
        Whether it is a transposed convolution.

    Returns
    -------
    LazyResult
        Nothing is computed yet.
    """
    find_costs = of_images(paper.find_costs, x.shape[0] if x.ndim == 4 else 1)
    window: Window = of_variant(find_costs).args[-1]  # the last of the formulas' sizes
    rows, columns = (
        cut_axis(window, axis, x.chunks[axis - 2], margin, transposed) for axis in (0, 1)
    )
    if find_costs.func is formulas.separable:
        read = sum(stop - start for _, (start, stop), *_ in columns.blocks)
        find_costs = partial(find_costs, columns=read)
    x = x.rechunk({x.ndim - 3: -1, x.ndim - 2: rows.chunks, x.ndim - 1: columns.chunks})
    outputs = (tuple(block.outputs for block in axis.blocks) for axis in (rows, columns))
    chunks = (*x.chunks[:-3], (paper.output_shape[1],), *outputs)
    moved = [array.rechunk((*chunks[:-3], -1, *chunks[-2:])) for array in moved]

    empty = np.empty((0,) * x.ndim, x.dtype.newbyteorder("="))
    run = copy.deepcopy(run)  # so that weights may change until it is computed
    plan = dask.delayed(Plan(run, rows, columns), traverse=False, pure=True)
    around = x.map_blocks(edges, rows.halo, columns.halo, meta=empty)
    token = tokenize(x, moved, plan)
    kind = paper.variant.replace(" ", "-")
    words = kind, "counts", "total", "report"
    block, counts, total, report = (f"{word}-{token}" for word in words)
    blocks: dict[tuple, tuple] = {}
    sums: dict[tuple, Any] = {(total, -1): Counter()}
    for k, place in enumerate(np.ndindex(x.numblocks)):
        *front, i, j = place
        parts = [
            [(around.name if a or b else x.name, *front, i + a, j + b) for b in columns.near(j)]
            for a in rows.near(i)
        ]
        others = [(array.name, *place) for array in moved]
        blocks[(block, *place)] = run_block, parts, others, plan.key, i, j
        sums[(counts, k)] = operator.itemgetter(1), (block, *place)
        sums[(total, k)] = operator.add, (total, k - 1), (counts, k)
    graph = HighLevelGraph.from_collections(block, blocks, dependencies=[x, around, *moved, plan])
    ran = da.Array(graph, block, chunks, meta=empty)
    y = ran.map_blocks(output, meta=empty)
    paper = replace(paper, output_shape=y.shape, passes=(), find_costs=find_costs)
    sums[(report,)] = report_of_whole, (total, len(blocks) - 1), paper
    graph = HighLevelGraph.from_collections(report, sums, dependencies=[ran])
    return LazyResult(y, da.Array(graph, report, (), meta=np.empty((), object)))


def cut_axis(
    window: Window, axis: int, chunks: tuple[int, ...], margin: int, transposed: bool
) -> Axis:
    """Join chunks that are too small, and find the block of each."""
    if transposed:
        (low, high), find_blocks = shapes.transposed_halo(window, axis), shapes.transposed_blocks
    else:
        (low, high), find_blocks = shapes.halo(window, axis), partial(shapes.blocks, margin=margin)
    low, high = low + margin, high + margin
    least = max(low, high, 1)
    chunks = ensure_minimum_chunksize(least, chunks) if sum(chunks) > least else (sum(chunks),)
    joined, pixels, outputs = [], 0, 0
    for some, block in zip(chunks, find_blocks(window, axis, chunks), strict=True):
        pixels, outputs = pixels + some, outputs + block.outputs
        if outputs:
            joined.append(pixels)
            pixels, outputs = 0, 0
    joined[-1] += pixels
    return Axis(tuple(joined), (low, high), find_blocks(window, axis, joined))
