"""What was multiplied: measured beside the formulas, and where in the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from ..costs.report import CostReport
from ..tracing import TRACED, trace
from ..variants.dilated import dilated_conv2d
from ..variants.front_door import conv2d
from ..variants.grouped import grouped_conv2d
from ..variants.separable import separable_conv2d
from .style import FORMULA, INK, MEASURED, SAMPLE, panel


def plot_costs(
    reports: Sequence[CostReport], names: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the measured multiplies of some calls beside their formulas, on a logarithmic axis.

    Parameters
    ----------
    reports : sequence of CostReport
        From any convolution.
    names : sequence of str, optional
        What to call them; their variants where it is left out.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure where it is left out.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    ValueError
        If there is no report, or not a name for each.

    Examples
    --------
    >>> from jitconv import conv2d
    >>> report = conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 3, 3)), padding=1).report
    >>> plot_costs([report]).axes[0].get_xlabel()
    'multiplies, on a logarithmic axis'
    """
    names = [report.variant for report in reports] if names is None else list(names)
    if not reports or len(names) != len(reports):
        raise ValueError(
            f"reports: must be one or more, with a name each, "
            f"got {len(reports)} and {len(names)} names"
        )
    figure, ax = panel(ax, (9, 1.4 + 0.38 * len(reports)))
    upwards, places = list(reports)[::-1], np.arange(len(reports))
    marks: dict[
        str, dict[str, Any]
    ] = {  # from the largest to the smallest, so that all can be seen where they coincide
        "dense": {"marker": "o", "s": 130, "color": FORMULA, "edgecolor": INK},
        "document": {"marker": "D", "s": 45, "color": "white", "edgecolor": INK},
        "in bounds": {"marker": "|", "s": 260, "color": INK},
    }
    for name, style in marks.items():
        values = [float(report.value(name)) for report in upwards]
        ax.scatter(values, places, label=f"formula, {name}", zorder=3, **style)
    measured = [report.multiplies for report in upwards]
    ax.scatter(measured, places, s=16, color=MEASURED, zorder=4, label="measured in the loops")
    for place, report in zip(places, upwards, strict=True):
        largest = float(max(report.multiplies, *(report.value(name) for name in marks)))
        count = f"{report.multiplies:,} {'✓' if report.agrees else '✗'}"
        beside: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(count, (largest, place), (9, 0), **beside)
    ax.set_xscale("log")
    ax.set_xlim(max(1, min(measured)) / 1.7, max(1, *measured) * 30)
    ax.set_ylim(-0.6, len(reports) - 0.4)
    ax.set_yticks(places, names[::-1], fontsize=9)
    ax.set_xlabel("multiplies, on a logarithmic axis", fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="#dddddd", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    style = {"handlelength": 1.2, "columnspacing": 1, "frameon": False, "fontsize": 8}
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2, **style)
    return figure


def plot_cost_curve(
    values: Sequence[int], reports: Sequence[CostReport], label: str, ax: Axes | None = None
) -> Figure:
    """Draw how multiplies grow with one quantity: measured points on the formulas' lines.

    Parameters
    ----------
    values : sequence of int
        The quantity that was varied, rising.
    reports : sequence of CostReport
        A report for each value.
    label : str
        What was varied.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure where it is left out.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    ValueError
        If there is no report, or not a value for each.

    Examples
    --------
    >>> from jitconv import conv2d
    >>> x, sizes = np.ones((1, 9, 9)), (1, 3, 5)
    >>> reports = [conv2d(x, np.ones((1, 1, K, K)), padding="same").report for K in sizes]
    >>> figure = plot_cost_curve(sizes, reports, "kernel size")
    >>> figure.axes[0].get_title()
    'standard: all 3 counts are the formula'
    """
    values, reports = list(values), list(reports)
    if not reports or len(values) != len(reports):
        raise ValueError(
            f"reports: must be one or more, with a value each, "
            f"got {len(reports)} and {len(values)} values"
        )
    figure, ax = panel(ax, (5, 4))
    lines = {"dense": (FORMULA, "-"), "document": (INK, ":"), "in bounds": (SAMPLE, "--")}
    for name, (colour, style) in lines.items():
        formula = [float(report.value(name)) for report in reports]
        ax.plot(values, formula, color=colour, linestyle=style, label=f"formula, {name}")
    measured = [report.multiplies for report in reports]
    ax.plot(values, measured, "o", color=MEASURED, markersize=5, label="measured")
    right = sum(report.agrees for report in reports)
    share = f"all {right} counts are" if right == len(reports) else f"{right} of {len(reports)} are"
    ax.set_title(f"{reports[0].variant}: {share} the formula", fontsize=10)
    ax.set_xlabel(label, fontsize=9)
    ax.set_ylabel("multiplies", fontsize=9)
    ax.set_xticks(values)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return figure


def plot_cost_curves() -> Figure:
    """Draw what each quantity of a layer costs: kernel size, stride, dilation, groups, channels.

    Every point is a call on an image of eight channels and 24×24 pixels.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Examples
    --------
    >>> len(plot_cost_curves().axes)
    6
    """
    x, weight, sizes = np.ones((8, 24, 24)), np.ones((8, 8, 3, 3)), (1, 3, 5, 7, 9)
    sweeps = {
        "kernel size K: grows with K²": (
            sizes,
            lambda K: conv2d(x, np.ones((8, 8, K, K)), padding="same"),
        ),
        "kernel size K: grows with 2K": (
            sizes,
            lambda K: separable_conv2d(x, np.ones(K), np.ones(K), padding="same"),
        ),
        "stride S: falls with 1/S²": (
            (1, 2, 3, 4, 6, 8),
            lambda S: conv2d(x, weight, stride=S, padding=1),
        ),
        "dilation: more of it on padding": (
            (1, 2, 4, 6, 8),
            lambda rate: dilated_conv2d(x, weight, dilation=rate, padding=rate),
        ),
        "groups G: falls with 1/G": (
            (1, 2, 4, 8),
            lambda G: grouped_conv2d(x, weight[:, : 8 // G], groups=G, padding=1),
        ),
        "output channels M: grows with M": (
            (1, 2, 4, 6, 8),
            lambda M: conv2d(x, weight[:M], padding=1),
        ),
    }
    figure, panels = plt.subplots(2, 3, figsize=(9, 6), dpi=100, layout="constrained")
    plt.close(figure)
    for (label, (values, call)), ax in zip(sweeps.items(), panels.flat, strict=True):
        plot_cost_curve(values, [call(value).report for value in values], label, ax)
        ax.set_title(ax.get_title().split(":")[0], fontsize=10)
        ax.get_legend().remove()
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def multiply_map(variant: str, x: ArrayLike, *arrays: ArrayLike, **options: Any) -> np.ndarray:
    """Count the multiplies in bounds that each output pixel took, over all images and channels.

    Parameters
    ----------
    variant, x, arrays, options
        As in `jitconv.trace`.

    Returns
    -------
    numpy.ndarray (OH, OW) of int
        Of a gradient (H, W) or (KH, KW). Its sum is the report's `multiplies_in_bounds`. What is
        done for an image between two passes stands at the pixel above it.

    Raises
    ------
    TypeError, ValueError
        As `trace`.

    Examples
    --------
    >>> multiply_map("standard", np.ones((1, 3, 3)), np.ones((1, 1, 3, 3)), padding=1)
    array([[4, 6, 4],
           [6, 9, 6],
           [4, 6, 4]])
    """
    steps = trace(variant, x, *arrays, **options)
    y, report = TRACED[variant].function(x, *arrays, **options)
    OH, OW = y.shape[-2:]
    # parts whose multiplies all count as in bounds: their two formulas are one
    whole = {
        part
        for part in report.parts
        if report.has(f"dense, {part}")
        and report.costs[f"dense, {part}"].symbols == report.costs[f"in bounds, {part}"].symbols
    }
    widths: dict[int, int] = {}  # of the image that each stage makes
    for step in steps:
        if len(step.output) == 4:
            widths[step.stage] = max(widths.get(step.stage, 0), step.output[3] + 1)
    counts = np.zeros((OH, OW), np.int64)
    for step in steps:
        if len(step.output) == 4:
            row, column = step.output[2], step.output[3] * OW // widths[step.stage]
        else:  # (job, …, place in a row that the loops keep), a job is an output row
            row, column = step.output[0] % OH, step.output[-1]
        counts[row, column] += step.inside or step.part in whole
    return counts


def plot_multiply_map(
    variant: str, x: ArrayLike, *arrays: ArrayLike, ax: Axes | None = None, **options: Any
) -> Figure:
    """Draw `multiply_map`: the loss at the border, a checkerboard, samples outside the image.

    Parameters
    ----------
    variant, x, arrays, options
        As in `jitconv.trace`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure where it is left out.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    TypeError, ValueError
        As `trace`.

    Examples
    --------
    >>> x, weight = np.ones((1, 4, 4)), np.ones((1, 1, 3, 3))
    >>> figure = plot_multiply_map("transposed", x, weight, stride=2)
    >>> figure.axes[0].get_title()
    'transposed: 144 multiplies in bounds'
    """
    counts = multiply_map(variant, x, *arrays, **options)
    figure, ax = panel(ax, (5, 4.2))
    picture = ax.imshow(counts, cmap="cividis", vmin=0)
    if counts.size <= 200:
        half = counts.max() / 2
        for (oh, ow), count in np.ndenumerate(counts):
            colour = "white" if count <= half else "black"
            ax.text(ow, oh, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    ticks = MaxNLocator(integer=True)
    figure.colorbar(picture, ax=ax, label="multiplies in bounds", shrink=0.9, ticks=ticks)
    ax.set_title(f"{variant}: {counts.sum():,} multiplies in bounds", fontsize=10)
    ax.set_xlabel("output column", fontsize=9)
    ax.set_ylabel("output row", fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
