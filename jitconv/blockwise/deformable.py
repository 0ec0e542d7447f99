"""Deformable convolution of Dask arrays: a halo is as wide as the farthest tap reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..call import Deformed, Dense
from ..costs.report import CostReport
from ..methods import run
from ..shapes import Block
from ..variants import deformable
from ..variants.front_door import conv2d as conv2d_of_arrays
from .cutting import LazyResult, cut
from .functions import checked, conv2d, no_dask, no_images, on_paper, shapes_of


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
        float32 or float64.
    offset : dask.array.Array (N, 2·G·KH·KW, OH, OW), or without N for one image
        As in `jitconv.deform_conv2d`.
    weight, bias, stride, padding, dilation, method
        As in `jitconv.deform_conv2d`.
    mask : dask.array.Array (N, G·KH·KW, OH, OW), or without N for one image, optional
        Factor of each sample.
    max_offset : float, optional
        Pixels that no finite offset exceeds: a halo is wider by that and one more. Where it is left
        out, all offsets are computed at once, block by block, to find the largest.

    Returns
    -------
    LazyResult
        The output and the report, to be computed together.

    Raises
    ------
    TypeError, ValueError
        As `jitconv.deform_conv2d`; if x, offset or mask is no Dask array, or has chunks of unknown
        sizes; when it is computed, if a block has an offset larger than `max_offset`.

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
    no_dask(weight=weight, bias=bias)
    x, moved = checked("x", x), [checked("offset", offset)]
    if mask is not None:
        moved.append(checked("mask", mask))
    for name, array in zip(("offset", "mask"), moved, strict=False):
        if array.shape[:-3] != x.shape[:-3]:
            raise ValueError(f"{name}: must have the images of x {x.shape}, got {array.shape}")
    steps: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    with shapes_of(x):
        call = deformable.deformable_dense(no_images(x), weight, bias, *steps.values())
        paper = deformable.deform_conv2d(
            *(no_images(x), no_images(offset), weight, bias),
            **steps,
            mask=None if mask is None else no_images(mask),
            method=on_paper(method),
        )
    if max_offset is None:
        max_offset = farthest_of_all(offset)
    return cut_moved(x, moved, paper.report, call, {}, method, max_offset)


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
        float32 or float64.
    offset_weight, weight, bias, offset_bias, mask_weight, mask_bias
        As in `jitconv.deformable_layer`.
    stride, padding, dilation, method
        As in `jitconv.deformable_layer`.
    max_offset : float, optional
        As in `deform_conv2d`; to find it, the offset branch runs once more, which is not counted.

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
    no_dask(offset_weight=offset_weight, weight=weight, bias=bias)
    no_dask(offset_bias=offset_bias, mask_weight=mask_weight, mask_bias=mask_bias)
    x = checked("x", x)
    steps: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    with shapes_of(x):
        call = deformable.deformable_dense(no_images(x), weight, bias, *steps.values())
        branches = deformable.branches_of(call, offset_weight, offset_bias, mask_weight, mask_bias)
        paper = deformable.deformable_layer(
            *(no_images(x), offset_weight, weight, bias),
            offset_bias=offset_bias,
            mask_weight=mask_weight,
            mask_bias=mask_bias,
            **steps,
            method=on_paper(method),
        )
    if max_offset is None:
        offset = conv2d(x, *branches["offset"], **steps).output
        max_offset = 1.001 * farthest_of_all(offset)  # what runs again may round otherwise
    return cut_moved(x, [], paper.report, call, branches, method, max_offset)


def farthest(offset: np.ndarray) -> Any:
    """Return the largest offset but for infinite ones."""
    return np.abs(offset[np.isfinite(offset)]).max(initial=0)


def farthest_of_all(offset: da.Array) -> float:
    """Compute the largest offset, block by block."""
    ones = (1,) * offset.ndim
    each = offset.map_blocks(lambda some: np.full(ones, farthest(some)), chunks=ones, dtype=float)
    return float(each.max().compute())


def cut_moved(
    x: da.Array,
    moved: Sequence[da.Array],
    paper: CostReport,
    call: Dense,
    branches: Mapping[str, tuple],
    method: str,
    max_offset: float,
) -> LazyResult:
    """Cut an image with the margin that moved taps need; `call` is the same call for no image."""
    try:
        reach = float(max_offset)
    except (OverflowError, TypeError, ValueError):
        reach = -1.0
    if not 0 <= reach < math.inf:
        raise ValueError(f"max_offset: must be a finite number, at least 0, got {max_offset!r}")
    run = partial(run_moved, call=call, branches=branches, method=method, max_offset=reach)
    # a place between pixels needs one more
    return cut(x, moved, paper, run, math.ceil(reach) + 1)


def run_moved(
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
    """Run a block whose taps reach the pixels around those that its windows see."""
    x, batched = checks.image(x)
    seen = x[..., slice(*rows.pixels), slice(*columns.pixels)]
    steps: dict[str, Any] = {
        "stride": call.window.stride,
        "padding": (rows.padding, columns.padding),
        "dilation": call.window.dilation,
    }
    done = {
        name: conv2d_of_arrays(seen, *arrays, **steps, method=method)
        for name, arrays in branches.items()
    }
    if done:
        offset = done["offset"].output
        mask = deformable.sigmoid(done["mask"].output) if "mask" in done else None
    if mask is None:
        mask = np.empty((0, 0, 0, 0), x.dtype)
    offset, mask = (
        checks.floats(name, array if array.ndim == 4 else array[np.newaxis])
        for name, array in (("offset", offset), ("mask", mask))
    )
    reach = float(farthest(offset))
    if reach > max_offset * (1 + np.finfo(x.dtype).eps):  # it may have been rounded to x's type
        raise ValueError(
            f"max_offset: is {max_offset:g}, but a block has an offset of {reach:g} pixels; "
            f"pass {math.ceil(reach)} or more, or leave it out"
        )
    window = shapes.window(seen.shape[2:], call.window.kernel, **steps)
    # in all pixels of the block, the first window may begin further on: less than no padding
    top, left = (block.padding[0] - block.pixels[0] for block in (rows, columns))
    around = window._replace(size=x.shape[2:], padding=((top, 0), (left, 0)))
    of_block = {**vars(call), "x": x, "batched": batched, "window": around}
    samples = shapes.samples_in_bounds(offset, around)
    moving = Deformed(**of_block, offset=offset, mask=mask, samples=samples)
    y, report = run(deformable.DEFORMABLE, moving, method)
    on_paper = replace(moving, window=window)
    if not done:
        return y, replace(report, find_costs=deformable.DEFORMABLE.costs(on_paper))
    reports = {name: result.report for name, result in done.items()}
    return y, deformable.layer_report(report, reports, on_paper, branches)
