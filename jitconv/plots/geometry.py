"""Where convolutions look: sampling grids, receptive fields, matrices, Winograd's tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..tracing import Step, trace
from ..variants import VARIANTS
from ..variants.dilated import dilated_conv2d
from ..variants.front_door import conv2d
from ..variants.transposed import convolution_matrix
from .style import FORMULA, GROUPS, INK, MEASURED, SAMPLE, panel


def plot_sampling_grids() -> Figure:
    """Draw which inputs one output of each variant reads, found by tracing its loops.

    Each input pixel is a square of four channels, from left to right; coloured ones are read by
    the output in the middle of channel 0. All kernels are 3×3, on an image of 9×9.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Examples
    --------
    >>> len(plot_sampling_grids().axes)
    9
    """
    rng = np.random.default_rng(3)
    size = (9, 3.3 * math.ceil(len(VARIANTS) / 3))
    figure, panels = plt.subplots(
        math.ceil(len(VARIANTS) / 3), 3, figsize=size, dpi=100, layout="constrained"
    )
    plt.close(figure)
    for ax in panels.flat[len(VARIANTS) :]:
        ax.remove()
    sizes = {"C": 4, "B": 4, "M": 4, "H": 9, "W": 9, "KH": 3, "KW": 3}
    for variant, ax in zip(VARIANTS.values(), panels.flat, strict=False):
        options = variant.options
        found = variant.shapes({**sizes, "g": options.get("groups", 1)}, **options)
        arrays = [
            rng.normal(scale=0.8, size=found[name])
            if variant.arrays[name].role == "positions"
            else np.ones(found[name])
            for name in variant.needed
        ]
        multiplies, read = _read_by_the_middle(trace(variant.name, *arrays, **options))
        _draw_channels(ax, read)
        title = f"{variant.name}\n{multiplies} multiplies, {read.sum()} inputs"
        ax.set_title(title, fontsize=9)
    return figure


def _read_by_the_middle(steps: Sequence[Step]) -> tuple[int, np.ndarray]:
    """Return the multiplies towards the middle output of channel 0, and the inputs (C, H, W)."""
    last = max(step.stage for step in steps)
    OH, OW = (
        1 + max(s.output[axis] for s in steps if s.stage == last and len(s.output) == 4)
        for axis in (2, 3)
    )
    middle, multiplies = (OH // 2, OW // 2), 0
    wanted = {(0, 0, *middle)}  # of the image that a stage makes
    for stage in range(last, -1, -1):
        mine = [
            step
            for step in steps
            if step.stage == stage
            and (
                step.output in wanted
                if len(step.output) == 4  # or what the loops keep for the output row of a job
                else (step.output[0] % OH, step.output[-1]) == middle
            )
        ]
        multiplies += len(mine)
        wanted = {step.input for step in mine if step.input is not None and len(step.input) == 4}
    read = np.zeros((4, 9, 9), bool)
    for _, c, h, w in wanted:
        read[c, h, w] = True
    return multiplies, read


def _draw_channels(ax: Axes, read: np.ndarray) -> None:
    C, H, W = read.shape
    picture = np.zeros((H, W * C))
    for c in range(C):
        picture[:, c::C] = np.where(read[c], c + 1, 0)
    colours = ListedColormap(["white", *GROUPS])
    ax.imshow(picture, cmap=colours, vmin=0, vmax=C, extent=(0, W, H, 0), interpolation="nearest")
    ax.set_xticks(range(W + 1), [])
    ax.set_yticks(range(H + 1), [])
    ax.grid(color="#bbbbbb", linewidth=0.6)
    ax.tick_params(length=0)


def plot_receptive_field(layers: Sequence[Sequence[int]], ax: Axes | None = None) -> Figure:
    """Draw which inputs change the middle output of a stack of convolutions, and in how many ways.

    Every input is perturbed in turn, and the stack of `conv2d` run; the formula,
    `jitconv.shapes.receptive_field`, stands in the title.

    Parameters
    ----------
    layers : sequence of (kernel_size, stride, dilation)
        First layer first; stride and dilation may be left out and are then 1.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure where it is left out.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    TypeError, ValueError
        As `receptive_field`; or if the field is wider than 41 pixels, which is slow.

    Examples
    --------
    >>> figure = plot_receptive_field([(3,), (3, 1, 2)])
    >>> figure.axes[0].get_title()
    'measured 7×7, formula 7×7'
    """
    layers, field = list(layers), shapes.receptive_field(layers)
    if field > 41:
        raise ValueError(f"layers: their field of {field} pixels is wider than 41; take fewer")
    size = field + 2  # a ring that must not matter
    y = np.eye(size * size).reshape(size * size, 1, size, size)
    y = y[:, :, 1:, 1:]  # the field of output (0, 0) starts at pixel (1, 1)
    for layer in layers:
        kernel, stride, dilation = (*layer, 1, 1)[:3]
        weight = np.ones((1, 1, kernel, kernel))
        y = conv2d(y, weight, stride=stride, dilation=dilation).output
    ways = y[:, 0, 0, 0].reshape(size, size)
    rows, columns = (np.flatnonzero(ways.any(axis=axis)) for axis in (1, 0))
    measured = f"{rows[-1] - rows[0] + 1}×{columns[-1] - columns[0] + 1}"
    figure, ax = panel(ax, (5, 4.2))
    picture = ax.imshow(np.where(ways > 0, ways, np.nan), cmap="cividis")
    ax.set_facecolor("#eeeeee")
    label = "ways from this input to the output"
    figure.colorbar(picture, ax=ax, label=label, shrink=0.9, ticks=MaxNLocator(integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"measured {measured}, formula {field}×{field}", fontsize=10)
    ax.set_xlabel("input column", fontsize=9)
    ax.set_ylabel("input row", fontsize=9)
    return figure


def plot_effective_kernel(weight: ArrayLike, dilations: Sequence[int] = (1, 2, 4)) -> Figure:
    """Draw what a kernel becomes at some rates: its weights, with zeros between them.

    Each picture is measured: the answer of `dilated_conv2d` to a single bright pixel, turned by
    180°, since the loops correlate.

    Parameters
    ----------
    weight : array_like (KH, KW)
        One kernel.
    dilations : sequence of int
        A picture for each rate.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    TypeError, ValueError
        As `dilated_conv2d`; or if weight is no single kernel, or there is no rate.

    References
    ----------
    Document §2.

    Examples
    --------
    >>> figure = plot_effective_kernel(np.ones((3, 3)))
    >>> [ax.get_title() for ax in figure.axes[:3]]
    ['rate 1: 9 weights see 3×3', 'rate 2: 9 weights see 5×5', 'rate 4: 9 weights see 9×9']
    """
    weight, dilations = checks.floats("weight", weight), list(dilations)
    checks.axes("weight", weight, "(KH, KW)")
    if not dilations:
        raise ValueError("dilations: must hold at least one rate")
    kernels = []
    for rate in dilations:
        size = [shapes.effective_kernel_size(K, rate) for K in weight.shape]
        pixel = np.zeros((1, 2 * size[0] - 1, 2 * size[1] - 1), weight.dtype)
        pixel[0, size[0] - 1, size[1] - 1] = 1
        y = dilated_conv2d(pixel, weight[np.newaxis, np.newaxis], dilation=rate).output
        kernels.append(y[0, ::-1, ::-1])
    limit = max(np.abs(weight).max(), np.finfo(weight.dtype).tiny)
    figure, panels = plt.subplots(
        1, len(kernels), figsize=(9, 3.6), dpi=100, layout="constrained", squeeze=False
    )
    plt.close(figure)
    for rate, kernel, ax in zip(dilations, kernels, panels[0], strict=True):
        values = np.where(kernel == 0, np.nan, kernel)
        picture = ax.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit)
        ax.set_facecolor("#eeeeee")
        H, W = kernel.shape
        ax.set_title(f"rate {rate}: {weight.size} weights see {H}×{W}", fontsize=10)
        ax.set_xlabel("kernel column", fontsize=9)
        ax.set_ylabel("kernel row", fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(picture, ax=panels, label="weight (grey: 0)", shrink=0.8)
    return figure


def plot_matrix(
    weight: ArrayLike, input_shape: Sequence[int], *, stride: int = 1, padding: int = 0
) -> Figure:
    """Draw a small convolution as a sparse matrix, and the transposed one as its transpose.

    Parameters
    ----------
    weight : array_like (M, C, KH, KW)
        Float32 or float64.
    input_shape : (C, H, W)
        Shape of one image.
    stride, padding
        As in `conv2d`.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    TypeError, ValueError
        As `convolution_matrix`.

    Examples
    --------
    >>> figure = plot_matrix(np.ones((1, 1, 2, 2)), (1, 3, 3))
    >>> figure.axes[0].get_title()
    'convolution: 4 × 9, 56% zeros'
    """
    matrix = convolution_matrix(weight, input_shape, stride=stride, padding=padding)
    size = {"width_ratios": matrix.shape[::-1]}
    figure, panels = plt.subplots(
        1, 2, figsize=(9, 4), dpi=100, layout="constrained", gridspec_kw=size
    )
    plt.close(figure)
    limit = np.abs(matrix).max() or 1
    for ax, shown, name in zip(
        panels, (matrix, matrix.T), ("convolution", "transposed"), strict=True
    ):
        colours = np.where(shown == 0, np.nan, shown)
        picture = ax.imshow(colours, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_facecolor("#eeeeee")
        rows, columns = shown.shape
        zeros = f"{np.mean(shown == 0):.0%} zeros"
        ax.set_title(f"{name}: {rows} × {columns}, {zeros}", fontsize=10)
        ax.set_xlabel("input pixel", fontsize=9)
        ax.set_ylabel("output pixel", fontsize=9)
    figure.colorbar(picture, ax=panels, label="weight", shrink=0.9)
    return figure


def plot_winograd_tiles(
    size: int | Sequence[int],
    *,
    padding: int | str | Sequence = 1,
    tile: int | Sequence[int] = 0,
    ax: Axes | None = None,
) -> Figure:
    """Draw how Winograd's F(4×4, 3×3) cuts an image: 4×4 outputs a tile, and what one tile reads.

    An output lies on the pixel under the middle of its kernel. The chosen tile reads 6×6 pixels,
    two more than it has outputs, so that it shares two rows or columns with its neighbours. Where
    the last tiles reach beyond the outputs, they read zeros, and what comes out there is cut off.

    Parameters
    ----------
    size : int or (int, int)
        Pixels of the image.
    padding
        As in `conv2d`.
    tile : int or (int, int)
        Row and column of the tile whose 6×6 pixels are drawn, counted from 0 at the top left.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure where it is left out.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    TypeError, ValueError
        If the geometry is ill-formed, an axis has more than 64 outputs, or there is no such tile.

    References
    ----------
    Lavin and Gray, arXiv:1509.09308.

    Examples
    --------
    >>> figure = plot_winograd_tiles(10, tile=(1, 2))
    >>> figure.axes[0].get_title()
    '10×10 outputs: 3×3 tiles, 44 of 144 outputs cut off'
    """
    H, W = checks.height_width("size", size, 1)
    window = shapes.window((H, W), 3, padding=padding)
    (OH, OW), ((top, _), (left, _)) = window.output, window.padding
    if max(OH, OW) > 64:
        raise ValueError(f"size: gives {OH}×{OW} outputs, too many to tell apart; take at most 64")
    TH, TW = -(-OH // 4), -(-OW // 4)
    row, column = checks.height_width("tile", tile, 0)
    if row >= TH or column >= TW:
        raise ValueError(
            f"tile: there is none at {(row, column)}; {OH}×{OW} outputs have {TH}×{TW} tiles, "
            f"the last at {(TH - 1, TW - 1)}"
        )
    height, width = 4 * TH + 2, 4 * TW + 2  # what all tiles read together
    figure, ax = panel(ax, (5.4, 5 * height / width + 1))

    def draw(h: int, w: int, high: int, wide: int, **style: Any) -> None:
        ax.add_patch(Rectangle((w, h), wide, high, **{"edgecolor": INK, "linewidth": 0, **style}))

    padded = OH + 2, OW + 2
    if padded != (height, width):
        draw(-top, -left, height, width, facecolor="#f2f2f2", label="zeros beyond")
    if padded != (H, W):
        draw(-top, -left, *padded, facecolor="#d4d4d4", label="padding", zorder=1.1)
    draw(0, 0, H, W, facecolor="white", linewidth=1.5, label="image", zorder=1.2)
    lines: dict[str, Any] = {"color": "#bbbbbb", "linewidth": 0.6, "zorder": 1.3}
    ax.vlines(np.arange(width + 1) - left, -top, height - top, **lines)
    ax.hlines(np.arange(height + 1) - top, -left, width - left, **lines)
    blue: dict[str, Any] = {"edgecolor": MEASURED, "linewidth": 1.6, "zorder": 1.5}
    for th, tw in np.ndindex(TH, TW):
        h, w = 4 * th - top + 1, 4 * tw - left + 1
        high, wide = min(4, OH - 4 * th), min(4, OW - 4 * tw)
        draw(h, w, high, wide, facecolor=f"{MEASURED}40", label="outputs", **blue)
        if (high, wide) != (4, 4):
            draw(h, w, 4, 4, fill=False, linestyle=":", label="cut off", **blue)
    reads: dict[str, Any] = {"edgecolor": SAMPLE, "linewidth": 2.4, "zorder": 1.6}
    h, w, name = 4 * row - top, 4 * column - left, f"read by {(row, column)}"
    draw(h, w, 6, 6, facecolor=f"{FORMULA}50", label=name, **reads)
    if column + 1 < TW:
        draw(h, w + 4, 6, 6, fill=False, linestyle="--", label="by the next", **reads)
    places, off = 16 * TH * TW, 16 * TH * TW - OH * OW
    tiles = f"{OH}×{OW} outputs: {TH}×{TW} tiles"
    ax.set_title(f"{tiles}, {off} of {places} outputs cut off", fontsize=10)
    ax.set_xlim(-left - 0.2, width - left + 0.2)
    ax.set_ylim(height - top + 0.2, -top - 0.2)
    ax.set_aspect("equal")
    ax.set_axis_off()
    named = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    place: dict[str, Any] = {
        "loc": "upper center",
        "bbox_to_anchor": (0.5, 0),
        "ncols": 3,
        "frameon": False,
    }
    ax.legend(list(named.values()), list(named), fontsize=8, **place)
    return figure
