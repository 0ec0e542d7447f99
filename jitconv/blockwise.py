"""Dask arrays, block by block: images larger than memory, and one report of the whole image.

Every function takes what the function of the same name in `jitconv` takes, but for x, which is a
Dask array. Each block of outputs reads its chunk of x and a halo of pixels around it, gets zeros
only where it touches the true border, and is a call of the ordinary function. What the blocks
count is added up, and held against the formulas of the whole image.

>>> import dask, dask.array
>>> from jitconv import blockwise
>>> image = dask.array.ones((1, 100, 100), chunks=(1, 40, 40))
>>> y, report = blockwise.conv2d(image, np.ones((1, 1, 3, 3)), padding="same")
>>> y.chunks
((1,), (40, 40, 20), (40, 40, 20))
>>> y, report = dask.compute(y, report)  # both at once: each block then runs once
>>> report.verify().multiplies, report.multiplies_on_padding
(90000, 1196)
"""

from __future__ import annotations

import inspect
import math
import multiprocessing
import operator
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks, jit, shapes
from .call import Deformed, Dense
from .costs import formulas
from .costs.formula import Costs, Formula
from .costs.report import ConvResult, CostReport, Pass
from .methods import OnPaper, both, run
from .shapes import Block, Window
from .variants import (
    deformable,
    depthwise,
    depthwise_separable,
    dilated,
    front_door,
    grouped,
    pointwise,
    separable,
    transposed,
)

try:
    import dask
    import dask.array as da
    from dask.array.overlap import ensure_minimum_chunksize, overlap
except ImportError as error:
    raise ImportError('this needs Dask: pip install "jitconv[dask]"', name=error.name) from None


class LazyResult(NamedTuple):
    """A convolution to be computed: ``y, report = dask.compute(*blockwise.conv2d(x, weight))``.

    Attributes
    ----------
    output : dask.array.Array
        Shape (N, M, OH, OW), or (M, OH, OW) for one image (C, H, W): a block for each chunk of x.
    report : dask.array.Array
        Without axes: its value is the `CostReport` of the whole image. It consists of what the
        blocks counted while they made the output, so compute both at once.
    """

    output: da.Array
    report: da.Array


class Plan(NamedTuple):
    """What every block is told.

    Attributes
    ----------
    run : callable
        Takes the arrays of a block, its rows and its columns; returns its output and its report.
    rows, columns : list of Block
        By place.
    """

    run: Callable[..., tuple[np.ndarray, CostReport]]
    rows: list[Block]
    columns: list[Block]


def _run_block(x: np.ndarray, *more: np.ndarray, plan: Plan, block_id: Sequence[int]) -> tuple:
    rows, columns = plan.rows[block_id[-2]], plan.columns[block_id[-1]]
    with jit.threads(_threads()):
        y, report = plan.run(x, *more, rows=rows, columns=columns)
    return y, _counted(report)


def _threads() -> float:
    """Return how many threads are this worker's own."""
    if "distributed" in sys.modules:
        try:
            return sys.modules["distributed"].get_worker().state.nthreads
        except ValueError:  # this is no worker
            pass
    in_pool = multiprocessing.parent_process() is not None
    if in_pool and threading.current_thread() is threading.main_thread():
        return 1  # Dask's pool has a process for each core
    return math.inf


def _call(
    x: np.ndarray, *, rows: Block, columns: Block, function: Callable, **arguments: Any
) -> ConvResult:
    """Call the ordinary function on a block's pixels, padded where they touch the true border."""
    steps = {
        "padding": (rows.padding, columns.padding),
        "output_padding": (rows.output_padding, columns.output_padding),
    }
    taken = inspect.signature(function).parameters
    arguments |= {name: pair for name, pair in steps.items() if name in taken}
    return function(x[..., slice(*rows.pixels), slice(*columns.pixels)], **arguments)


# The counts of blocks are numbers by (kind of pass, what was counted), which add up.
SAMPLES = None, "samples"


def _counted(report: CostReport) -> Counter:
    """Return what a block counted, and what it should have counted by its own formulas."""
    found = Counter({SAMPLES: _of_variant(report.find_costs).keywords.get("samples", 0)})
    for done in report.passes:
        kind = done._replace(multiplies=0, on_padding=0)
        found[kind, "blocks"] = 1
        found[kind, "multiplies"] = done.multiplies
        found[kind, "on padding"] = done.on_padding
        found[kind, "by formula"] = int(report.value(done.equals))
    return found


def _counts(block: tuple, axis: Any, keepdims: bool) -> Counter:
    return block[1]


def _added(counts: Any, axis: Any = None, keepdims: bool = True) -> Counter:
    """Add up the counts in nested lists."""
    if isinstance(counts, Counter):
        return counts
    total: Counter = Counter()
    for some in counts:
        total.update(_added(some))
    return total


def _report(counts: Any, axis: Any, keepdims: bool, whole: CostReport) -> CostReport:
    """Put what all blocks counted into the report of the whole image, which has the formulas."""
    total, find_costs = _added(counts), whole.find_costs
    if "samples" in _of_variant(find_costs).keywords:
        find_costs = partial(find_costs, samples=total[SAMPLES])
    kinds: dict[str, list[Pass]] = {}
    for kind, what in total:
        if what == "blocks":
            kinds.setdefault(kind.name, []).append(kind)

    def count(name: str, what: str) -> int:
        return sum(total[kind, what] for kind in kinds[name])

    passes = [
        some[0]._replace(multiplies=count(name, "multiplies"), on_padding=count(name, "on padding"))
        for name, some in kinds.items()
    ]
    costs = find_costs()
    if any(
        len(kinds[done.name]) > 1 or costs[done.equals].value != count(done.name, "by formula")
        for done in passes
    ):
        sums = {"by blocks": [kind for some in kinds.values() for kind in some]}
        if len(passes) > 1:
            sums |= {f"by blocks, {name}": some for name, some in kinds.items()}
        passes = [
            done._replace(equals=name)
            for done, name in zip(passes, list(sums)[-len(passes) :], strict=True)
        ]
        more = [_sum_over_blocks(name, some, total) for name, some in sums.items()]
        find_costs = partial(_with, find_costs, more)
    return replace(whole, passes=tuple(passes), find_costs=find_costs)


def _sum_over_blocks(name: str, kinds: Sequence[Pass], total: Counter) -> Formula:
    """Return the formula of counts that no formula of the whole image gives.

    Some blocks may leave out taps on padding that others multiply, and each block makes anew what
    Winograd's method makes of the weight.
    """
    blocks: Counter = Counter()
    numbers: Counter = Counter()
    for kind in kinds:
        word = kind.equals.partition(",")[0]
        blocks[word] = max(blocks[word], total[kind, "blocks"])
        numbers[word] += total[kind, "by formula"]
    return Formula(
        name,
        " + ".join(f"{word} of {some:,} blocks" for word, some in blocks.items()),
        " + ".join(map(str, numbers.values())),
        sum(numbers.values()),
        "block by block",
    )


def _with(find_costs: Callable[[], Costs], more: Sequence[Formula]) -> Costs:
    costs = find_costs()
    return Costs([*costs.values(), *more], costs.seen_as)


def _of_variant(find_costs: Any) -> partial:
    """Return the variant's own formulas, without those of a method."""
    return find_costs.args[0] if find_costs.func is both else find_costs


def _of_images(find_costs: Any, N: int) -> partial:
    """Return the formulas of a call with so many images: that is the first number of all."""
    if find_costs.func is both:
        return partial(both, *(_of_images(each, N) for each in find_costs.args))
    return partial(find_costs.func, N, *find_costs.args[1:], **find_costs.keywords)


def _lazily(
    x: da.Array,
    more: Sequence[da.Array],
    paper: CostReport,
    run: Callable[..., tuple[np.ndarray, CostReport]],
    margin: int = 0,
    is_transposed: bool = False,
) -> LazyResult:
    """Cut the image into blocks, run each, and add up their reports.

    Parameters
    ----------
    x : dask.array.Array (N, C, H, W) or (C, H, W)
    more : sequence of dask.array.Array (..., OH, OW)
        What is cut as the output is.
    paper : CostReport
        Of the same call for no image.
    run : callable
        As in `Plan`.
    margin : int
        Pixels around those that a block's windows see.
    is_transposed : bool
        Whether it is a transposed convolution.
    """
    N = x.shape[0] if x.ndim == 4 else 1
    find_costs = _of_images(paper.find_costs, N)
    window: Window = _of_variant(find_costs).args[-1]  # the last number of all formulas
    blocks, chunks, depth = [], {}, {}
    for axis in (0, 1):
        of_x = x.ndim - 2 + axis
        if is_transposed:
            halo, cut = shapes.transposed_halo(window, axis), shapes.transposed_blocks
        else:
            halo, cut = shapes.halo(window, axis), partial(shapes.blocks, margin=margin)
        low, high = halo[0] + margin, halo[1] + margin
        pixels = _no_smaller(x.chunks[of_x], max(1, low, high))
        pixels = _with_outputs(pixels, cut(window, axis, pixels))
        blocks.append(cut(window, axis, pixels))
        chunks[of_x], depth[of_x] = pixels, (low, high) if len(pixels) > 1 else 0
    x = x.rechunk({x.ndim - 3: -1, **chunks})
    rows, columns = (tuple(block.outputs for block in some) for some in blocks)
    made = (*x.chunks[:-3], (paper.output_shape[1],), rows, columns)
    if any(depth.values()):
        x = overlap(x, depth, boundary="none", allow_rechunk=False)
    if find_costs.func is formulas.separable:
        read = sum(stop - start for _, (start, stop), *_ in blocks[1])
        find_costs = partial(find_costs, columns=read)

    name = paper.variant.replace(" ", "_")
    plan = dask.delayed(Plan(run, *blocks), traverse=False, pure=True)
    empty = np.empty((0,) * x.ndim, x.dtype.newbyteorder("="))
    ran = da.map_blocks(
        *(_run_block, x),
        *(array.rechunk((*x.chunks[:-3], -1, rows, columns)) for array in more),
        plan=plan,
        token=name,
        chunks=made,
        meta=empty,
    )
    output = ran.map_blocks(operator.itemgetter(0), token=f"{name}-output", meta=empty)
    whole = replace(paper, output_shape=output.shape, find_costs=find_costs, passes=())
    report = da.reduction(
        ran,
        _counts,
        partial(_report, whole=whole),
        combine=_added,
        concatenate=False,
        dtype=object,
        meta=np.empty((), object),
        split_every=16,
        name=f"{name}-report",
    )
    return LazyResult(output, report)


def _no_smaller(chunks: tuple[int, ...], least: int) -> tuple[int, ...]:
    """Merge chunks that are smaller than a halo."""
    return ensure_minimum_chunksize(least, chunks) if sum(chunks) > least else (sum(chunks),)


def _with_outputs(chunks: Sequence[int], blocks: Sequence[Block]) -> tuple[int, ...]:
    """Merge chunks over which a stride steps, or whose outputs are cropped: some make none."""
    merged, pixels, outputs = [], 0, 0
    for more, block in zip(chunks, blocks, strict=True):
        pixels, outputs = pixels + more, outputs + block.outputs
        if outputs:
            merged.append(pixels)
            pixels, outputs = 0, 0
    merged[-1] += pixels
    return tuple(merged)


def _checked(name: str, array: Any) -> da.Array:
    """Return a Dask array, or say why it cannot be cut into blocks."""
    if not isinstance(array, da.Array):
        raise TypeError(
            f"{name}: must be a Dask array, got {type(array).__name__}; "
            f"pass dask.array.from_array({name}, chunks=...)"
        )
    if array.ndim not in (3, 4):
        raise ValueError(
            f"{name}: must have 4 axes, or 3 for one image without its batch axis, "
            f"got shape {array.shape}; a grey image is x[np.newaxis]"
        )
    if any(math.isnan(size) for size in array.shape):
        raise ValueError(
            f"{name}: has chunks of unknown size, got shape {array.shape}; "
            f"{name}.compute_chunk_sizes() finds them"
        )
    if type(da.utils.meta_from_array(array)) is not np.ndarray:
        raise TypeError(
            f"{name}: its chunks must be NumPy arrays, got "
            f"{type(da.utils.meta_from_array(array)).__name__}; pass {name}.map_blocks(np.asarray)"
        )
    return array


def _none_of(array: da.Array) -> np.ndarray:
    """Return an empty batch of such images."""
    return np.empty((0, *array.shape[-3:]), array.dtype)


def _by_blocks(function: Callable[..., ConvResult]) -> Callable[..., LazyResult]:
    """Return the function of Dask arrays for one of arrays."""
    signature = inspect.signature(function)

    def lazy(x: da.Array, *arrays: ArrayLike, **options: Any) -> LazyResult:
        arguments = signature.bind(x, *arrays, **options).arguments
        x = _checked("x", arguments.pop("x"))
        for name, value in arguments.items():
            if isinstance(value, da.Array):
                raise TypeError(f"{name}: must be a NumPy array; pass {name}.compute()")
        method = OnPaper(arguments.get("method", "auto"))
        paper = function(_none_of(x), **{**arguments, "method": method}).report
        run = partial(_call, function=function, **arguments)
        return _lazily(x, [], paper, run, is_transposed="output_padding" in signature.parameters)

    lazy.__name__ = lazy.__qualname__ = function.__name__
    lazy.__signature__ = signature.replace(return_annotation="LazyResult")
    lazy.__doc__ = _DOC.format(idea=function.__doc__.partition("\n")[0], name=function.__name__)
    return lazy


_DOC = """{idea}

Block by block, for an image that is a Dask array.

Parameters
----------
x : dask.array.Array (N, C, H, W) or (C, H, W)
    float32 or float64, in any chunks. Along C they are joined, and those smaller than a halo too.
*arrays, **options
    As in `jitconv.{name}`.

Returns
-------
LazyResult
    The output and the report, to be computed together.

Raises
------
TypeError, ValueError
    As `jitconv.{name}`, and if x is no Dask array or has chunks of unknown sizes.

References
----------
As `jitconv.{name}`.
"""

conv2d = _by_blocks(front_door.conv2d)
dilated_conv2d = _by_blocks(dilated.dilated_conv2d)
conv_transpose2d = _by_blocks(transposed.conv_transpose2d)
separable_conv2d = _by_blocks(separable.separable_conv2d)
depthwise_conv2d = _by_blocks(depthwise.depthwise_conv2d)
depthwise_separable_conv2d = _by_blocks(depthwise_separable.depthwise_separable_conv2d)
pointwise_conv2d = _by_blocks(pointwise.pointwise_conv2d)
grouped_conv2d = _by_blocks(grouped.grouped_conv2d)


def deform_conv2d(
    x: da.Array,
    offset: da.Array,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    mask: da.Array | None = None,
    method: str = "auto",
    max_offset: float | None = None,
) -> LazyResult:
    """Convolve with taps moved by offsets, block by block.

    Parameters
    ----------
    x : dask.array.Array (N, C, H, W) or (C, H, W)
        float32 or float64, in any chunks.
    offset : dask.array.Array (N, 2·G·KH·KW, OH, OW), or without N for one image
        As in `jitconv.deform_conv2d`; cut as the output is.
    weight, bias, stride, padding, dilation, method
        As in `jitconv.deform_conv2d`.
    mask : dask.array.Array (N, G·KH·KW, OH, OW), or without N for one image, optional
        Factor of each sample.
    max_offset : float, optional
        Pixels that no offset exceeds, but for infinite ones: a halo is as much wider. Where it is
        left out, the offsets are computed now, block by block, to find the largest.

    Returns
    -------
    LazyResult
        The output and the report, to be computed together.

    Raises
    ------
    TypeError, ValueError
        As `jitconv.deform_conv2d`; if an array is no Dask array or has chunks of unknown sizes; and
        while it is computed, if a block has an offset larger than `max_offset`.

    References
    ----------
    Document §9.

    Examples
    --------
    >>> x = da.ones((1, 8, 8), chunks=(1, 4, 4))
    >>> offset = da.full((18, 8, 8), 0.5, chunks=4)
    >>> y, report = deform_conv2d(x, offset, np.ones((1, 1, 3, 3)), padding=1, max_offset=1)
    >>> report.compute().verify().parts
    {'corner weights': 2304, 'corner values': 2304, 'kernel': 576}
    """
    x = _checked("x", x)
    moved = [_checked("offset", offset), *([] if mask is None else [_checked("mask", mask)])]
    for name, array in zip(("offset", "mask"), moved, strict=False):
        if array.shape[:-3] != x.shape[:-3]:
            raise ValueError(f"{name}: must have the images of x {x.shape}, got {array.shape}")
    nothing = [_none_of(array) for array in moved]
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    call = deformable.deformable_dense(_none_of(x), weight, bias, *steps.values())
    options = {**steps, "mask": nothing[1] if mask is not None else None, "method": OnPaper(method)}
    paper = deformable.deform_conv2d(_none_of(x), nothing[0], weight, bias, **options).report
    if max_offset is None:
        max_offset = _farthest(offset)
    return _moving(x, moved, paper, call, {}, method, max_offset)


def deformable_layer(
    x: da.Array,
    offset_weight: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    offset_bias: ArrayLike | None = None,
    mask_weight: ArrayLike | None = None,
    mask_bias: ArrayLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
    max_offset: float | None = None,
) -> LazyResult:
    """Run the document's two convolutions, block by block.

    Parameters
    ----------
    x : dask.array.Array (N, C, H, W) or (C, H, W)
        float32 or float64, in any chunks.
    offset_weight, weight, bias, offset_bias, mask_weight, mask_bias
        As in `jitconv.deformable_layer`.
    stride, padding, dilation, method
        As in `jitconv.deformable_layer`.
    max_offset : float, optional
        As in `deform_conv2d`; to find it, the offset branch runs once more.

    Returns
    -------
    LazyResult
        The output and the report, to be computed together.

    Raises
    ------
    TypeError, ValueError
        As `jitconv.deformable_layer` and `deform_conv2d`.

    References
    ----------
    Document §9, Layer 구조 및 동작 방식.

    Examples
    --------
    >>> x = da.ones((1, 8, 8), chunks=(1, 4, 4))
    >>> offset_weight, weight = np.full((18, 1, 3, 3), 0.1), np.ones((1, 1, 3, 3))
    >>> y, report = deformable_layer(x, offset_weight, weight, padding=1, max_offset=1)
    >>> report.compute().verify().parts["offset branch"]
    10368
    """
    x = _checked("x", x)
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    call = deformable.deformable_dense(_none_of(x), weight, bias, *steps.values())
    weights = offset_weight, offset_bias, mask_weight, mask_bias
    branches = deformable.branches_of(call, *weights)
    paper = deformable.deformable_layer(
        *(_none_of(x), offset_weight, weight, bias),
        offset_bias=offset_bias,
        mask_weight=mask_weight,
        mask_bias=mask_bias,
        **steps,
        method=OnPaper(method),
    )
    if max_offset is None:
        max_offset = _farthest(conv2d(x, *branches["offset"], **steps).output)
    return _moving(x, [], paper.report, call, branches, method, max_offset)


def _farthest(offset: da.Array) -> float:
    """Return what no offset exceeds, but for infinite ones; they are computed now."""
    if offset.size == 0:
        return 0.0
    largest = da.where(da.isfinite(offset), abs(offset), 0).max().compute()
    return 1.001 * float(largest)  # a second run may round otherwise


def _moving(
    x: da.Array,
    moved: Sequence[da.Array],
    paper: CostReport,
    call: Dense,
    branches: Mapping[str, tuple],
    method: str,
    max_offset: float,
) -> LazyResult:
    """Cut an image with the margin that moved taps need."""
    try:
        margin = math.ceil(max_offset) + 1
    except (TypeError, ValueError, OverflowError):
        margin = 0
    if margin < 1:
        raise ValueError(f"max_offset: must be a finite number, at least 0, got {max_offset!r}")
    block = partial(
        _move, call=call, branches=branches, method=method, max_offset=float(max_offset)
    )
    return _lazily(x, moved, paper, block, min(margin, max(call.window.size)))


def _move(
    x: np.ndarray,
    offset: Any = None,
    mask: Any = None,
    *,
    rows: Block,
    columns: Block,
    call: Dense,
    branches: Mapping[str, tuple],
    method: str,
    max_offset: float,
) -> tuple[np.ndarray, CostReport]:
    """Run a block whose taps may reach the pixels around those that its windows see."""
    x, batched = checks.image(x)
    offset, mask = (a if a is None else checks.floats("", a) for a in (offset, mask))
    seen = x[..., slice(*rows.pixels), slice(*columns.pixels)]
    steps = {
        "stride": call.window.stride,
        "padding": (rows.padding, columns.padding),
        "dilation": call.window.dilation,
    }
    done = {
        name: front_door.conv2d(seen, *arrays, **steps, method=method)
        for name, arrays in branches.items()
    }
    if done:
        offset = done["offset"].output
        mask = deformable.sigmoid(done["mask"].output) if "mask" in done else None
    offset, mask = (
        np.empty((0, 0, 0, 0), x.dtype) if a is None else a if a.ndim == 4 else a[np.newaxis]
        for a in (offset, mask)
    )
    farthest = np.abs(offset, where=np.isfinite(offset), out=np.zeros_like(offset)).max(initial=0)
    if farthest > max_offset:
        raise ValueError(
            f"max_offset: is {max_offset:g}, but a block has an offset of {farthest:g} pixels; "
            f"pass {math.ceil(farthest)} or more, or leave it out"
        )
    window = shapes.window(seen.shape[2:], call.window.kernel, **steps)
    before = ((block.padding[0] - block.pixels[0], 0) for block in (rows, columns))
    around = window._replace(size=x.shape[2:], padding=tuple(before))  # less than 0: begins later
    of_block = {**vars(call), "x": x, "batched": batched, "window": around}
    samples = shapes.samples_in_bounds(offset, around)
    moved = Deformed(**of_block, offset=offset, mask=mask, samples=samples)
    y, report = run(deformable.DEFORMABLE, moved, method)
    moved.window = window
    if not done:
        return y, replace(report, find_costs=deformable.DEFORMABLE.costs(moved))
    reports = {name: result.report for name, result in done.items()}
    return y, deformable.layer_report(report, reports, moved, branches)
