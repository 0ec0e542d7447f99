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
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..tracing import Step, trace
from ..variants import VARIANTS
from ..variants.dilated import dilated_conv2d
from ..variants.front_door import conv2d
from ..variants.transposed import convolution_matrix
from .style import (
    FORMULA,
    INK,
    INPUT,
    KERNEL,
    OUTPUT,
    PADDING,
    WIDTH,
    cells,
    kept,
    panel,
    sheet,
    styled,
)


@styled
def plot_sampling_grids() -> Figure:
    """Draw which inputs one output of each variant reads, found by tracing its loops.

    Each input pixel is a square of four channels, from left to right; blue ones are read by the
    output in the middle of channel 0. All kernels are 3×3, on an image of 9×9.

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
    rows = math.ceil(len(VARIANTS) / 3)
    figure, panels = sheet(rows, 3, (WIDTH, 3 * rows))
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
        ax.set_title(title)
    panels[0, 0].set_xlabel("in a pixel: channels 0, 1, 2, 3")
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
    picture = np.moveaxis(read, 0, -1).reshape(H, W * C)
    extent = (0, W, H, 0)
    ax.imshow(
        picture, cmap=ListedColormap(["white", INPUT]), extent=extent, interpolation="nearest"
    )
    between = np.arange(W)[:, np.newaxis] + np.arange(1, C) / C
    ax.vlines(between, 0, H, color="white", linewidth=0.8)
    ax.set_xticks(range(W + 1), [])
    ax.set_yticks(range(H + 1), [])
    ax.grid(color="#bbbbbb", linewidth=0.6)
    ax.set_axisbelow(False)
    ax.tick_params(length=0)


@styled
def plot_receptive_field(layers: Sequence[Sequence[int]], ax: Axes | None = None) -> Figure:
    """Draw which inputs change the middle output of a stack of convolutions, and in how many ways.

    Every input is perturbed in turn, and the stack of `conv2d` run. The dashed square is the field
    by the formula, `jitconv.shapes.receptive_field`; white inputs in it are never read.

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
    figure, ax = panel(ax, (4.2, 4.3))
    label = "ways from an input to the output"
    if cells(ax, ways, INPUT, 3.6 / size):
        ax.set_xlabel(f"numbers: {label}")
    else:
        figure.colorbar(ax.images[0], ax=ax, label=label, shrink=0.9)
    dashed: dict[str, Any] = {"fill": False, "edgecolor": FORMULA, "linestyle": "--"}
    ax.add_patch(Rectangle((0.5, 0.5), field, field, linewidth=1.5, **dashed))
    ax.set_title(f"measured {measured}, formula {field}×{field}")
    return figure


@styled
def plot_effective_kernel(weight: ArrayLike, dilations: Sequence[int] = (1, 2, 4)) -> Figure:
    r"""Draw what a kernel becomes at some rates: its weights, with zeros between them.

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
    >>> [ax.get_title() for ax in figure.axes]
    ['rate 1\n9 weights see 3×3', 'rate 2\n9 weights see 5×5', 'rate 4\n9 weights see 9×9']
    """
    weight, dilations = checks.floats("weight", weight), list(dilations)
    checks.axes("weight", weight.shape, "(KH, KW)")
    if not dilations:
        raise ValueError("dilations: must hold at least one rate")
    kernels = []
    for rate in dilations:
        H, W = (shapes.effective_kernel_size(K, rate) for K in weight.shape)
        pixel = np.zeros((1, 2 * H - 1, 2 * W - 1), weight.dtype)
        pixel[0, H - 1, W - 1] = 1
        y = dilated_conv2d(pixel, weight[np.newaxis, np.newaxis], dilation=rate).output
        kernels.append(y[0, ::-1, ::-1])
    high, columns = max(map(len, kernels)), [kernel.shape[1] for kernel in kernels]
    inches = min(0.42, 5 / high, (WIDTH - 1.4) / sum(columns))
    see = "1 weight sees" if weight.size == 1 else f"{weight.size} weights see"
    if len(kernels) > 4:
        see = see.replace(" see", "\nsee")  # narrower titles
    titles = [f"{see} {len(kernel)}×{kernel.shape[1]}" for kernel in kernels]
    letters = [max(map(len, title.split("\n"))) for title in titles]
    wide = [max(0.08 * most, inches * n) for most, n in zip(letters, columns, strict=True)]
    size = sum(wide) + 0.12 * len(wide), inches * high + 0.5
    figure, [panels] = sheet(1, len(wide), size, width_ratios=wide)
    for rate, kernel, title, ax in zip(dilations, kernels, titles, panels, strict=True):
        written = cells(ax, kernel, KERNEL, inches, np.abs(weight).max())
        ax.set_title(f"rate {rate}\n{title}")
        ax.set_anchor("N")
    if not written:
        figure.set_size_inches(size[0] + 0.9, max(size[1], 1.6))
        figure.colorbar(ax.images[0], ax=panels, label="weight", panchor=False)
    return figure


@styled
def plot_matrix(
    weight: ArrayLike, input_shape: Sequence[int], *, stride: int = 1, padding: int = 0
) -> Figure:
    """Draw a small convolution as a sparse matrix, and the transposed one as its transpose.

    The row of the middle output is outlined, and drawn as an image of its own: the kernel in its
    place. In the transposed matrix the same numbers are a column: what an input spreads.

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
    (rows, columns), (C, H, W) = matrix.shape, input_shape
    OH, OW = shapes.window((H, W), np.shape(weight)[2:], stride=stride, padding=padding).output
    chosen = OH // 2 * OW + OW // 2
    inches = min(0.2, (WIDTH - 1.2) / (rows + columns))
    low = min(rows, columns)
    high = max(rows, columns, low + H + 8)
    wide = [max(count, 11) for count in (columns, rows)]  # a title's width, at the least
    places: list[Any] = [["convolution", "transposed"]]
    places.append(["row", "transposed"] if rows < columns else ["convolution", "row"])
    figure, panels = plt.subplot_mosaic(
        places,
        figsize=(inches * sum(wide) + 1, inches * high + 0.85),
        layout="constrained",
        width_ratios=wide,
        height_ratios=(low, high - low),
    )
    kept(figure)
    shown = {"convolution": matrix, "transposed": matrix.T}
    box: dict[str, Any] = {"fill": False, "edgecolor": INK, "linewidth": 1.8, "clip_on": False}
    for name, values in shown.items():
        ax, size = panels[name], " × ".join(map(str, values.shape))
        written = cells(ax, values, KERNEL, inches)
        ax.set_title(f"{name}: {size}, {np.mean(values == 0):.0%} zeros")
        ax.set_xlabel("input pixel")
        ax.set_ylabel("output pixel")
        ax.set_anchor("N")
    panels["convolution"].add_patch(Rectangle((-0.5, chosen - 0.5), columns, 1, **box))
    panels["transposed"].add_patch(Rectangle((chosen - 0.5, -0.5), 1, columns, **box))
    row = matrix[chosen, : H * W].reshape(H, W)
    cells(panels["row"], row, KERNEL, inches, np.abs(matrix).max())
    part = f"channel 0 of {C}, as the" if C > 1 else "folded to the"
    panels["row"].set_title(f"row {chosen}, {part} {H}×{W} of the image")
    if not written:
        figure.colorbar(ax.images[0], ax=[*panels.values()], label="weight", panchor=False)
    return figure


@styled
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
    figure, ax = panel(ax, (5.4, 5.2 * height / width + 1.1))

    def draw(h: int, w: int, high: int, wide: int, **style: Any) -> None:
        ax.add_patch(Rectangle((w, h), wide, high, **{"edgecolor": INK, "linewidth": 0, **style}))

    padded = OH + 2, OW + 2
    if padded != (height, width):
        beyond = {"facecolor": "white", "edgecolor": PADDING, "hatch": "////"}
        draw(-top, -left, height, width, label="zeros beyond", **beyond)
    if padded != (H, W):
        draw(-top, -left, *padded, facecolor="#cccccc", label="padding", zorder=1.1)
    draw(0, 0, H, W, facecolor="white", linewidth=1.5, label="image", zorder=1.2)
    lines: dict[str, Any] = {"color": "#bbbbbb", "linewidth": 0.6, "zorder": 1.3}
    ax.vlines(np.arange(width + 1) - left, -top, height - top, **lines)
    ax.hlines(np.arange(height + 1) - top, -left, width - left, **lines)
    made: dict[str, Any] = {"edgecolor": OUTPUT, "linewidth": 1.6, "zorder": 1.5}
    for th, tw in np.ndindex(TH, TW):
        h, w = 4 * th - top + 1, 4 * tw - left + 1
        high, wide = min(4, OH - 4 * th), min(4, OW - 4 * tw)
        draw(h, w, high, wide, facecolor=f"{OUTPUT}40", label="outputs", **made)
        if (high, wide) != (4, 4):
            draw(h, w, 4, 4, fill=False, linestyle=":", label="cut off", **made)
    reads: dict[str, Any] = {"edgecolor": INPUT, "linewidth": 2.4, "zorder": 1.6}
    h, w, name = 4 * row - top, 4 * column - left, f"read by {(row, column)}"
    draw(h, w, 6, 6, facecolor=f"{INPUT}50", label=name, **reads)
    if column + 1 < TW:
        draw(h, w + 4, 6, 6, fill=False, linestyle="--", label="by the next", **reads)
    places, off = 16 * TH * TW, 16 * TH * TW - OH * OW
    tiles = f"{OH}×{OW} outputs: {TH}×{TW} tiles"
    ax.set_title(f"{tiles}, {off} of {places} outputs cut off")
    ax.set_xlim(-left - 0.2, width - left + 0.2)
    ax.set_ylim(height - top + 0.2, -top - 0.2)
    ax.set_aspect("equal")
    ax.set_axis_off()
    named = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 3}
    ax.legend(list(named.values()), list(named), borderaxespad=0.2, **place)
    return figure
