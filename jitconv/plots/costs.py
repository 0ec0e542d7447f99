"""What was multiplied: measured beside the formulas, and where in the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import ArrayLike

from ..costs.report import CostReport
from ..tracing import TRACED, trace
from ..variants.depthwise import depthwise_conv2d
from ..variants.dilated import dilated_conv2d
from ..variants.front_door import conv2d
from ..variants.grouped import grouped_conv2d
from ..variants.separable import separable_conv2d
from .style import (
    FORMULA,
    MEASURED,
    OUTPUT,
    PADDING,
    WIDTH,
    cells,
    label_lines,
    panel,
    sheet,
    styled,
)

FORMULAS = {"dense": "dense", "document": "the document's", "in bounds": "in bounds"}


@styled
def plot_costs(
    reports: Sequence[CostReport], names: Sequence[str] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw the measured multiplies of some calls as bars, beside what the formulas say.

    At each bar stands its count, ✓ where it is the formula's, and its factor to the first one.

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
    TypeError, ValueError
        If there is no report, or not a name for each.

    Examples
    --------
    >>> from jitconv import conv2d
    >>> report = conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 3, 3)), padding=1).report
    >>> plot_costs([report]).axes[0].get_xlabel()
    'multiplies'
    """
    for report in reports:
        if not isinstance(report, CostReport):
            what = type(report).__name__
            raise TypeError(f"reports: must be CostReports, such as result.report, got {what}")
    names = [report.variant for report in reports] if names is None else list(names)
    if not reports or len(names) != len(reports):
        raise ValueError(
            f"reports: must be one or more, with a name each, "
            f"got {len(reports)} and {len(names)} names"
        )
    names = [name if len(name) < 23 else f"{name[:8]}…{name[-13:]}" for name in names]
    figure, ax = panel(ax, (WIDTH, 0.8 + 0.3 * len(reports)))
    places, measured = np.arange(len(reports)), [report.multiplies for report in reports]
    formulas = {name: [float(report.value(name)) for report in reports] for name in FORMULAS}
    bars = ax.barh(places, measured, 0.45, color=MEASURED, label="measured in the loops")
    line: dict[str, Any] = {"fill": False, "edgecolor": FORMULA, "linestyle": (0, (3, 2))}
    handles: list[Any] = [bars]
    handles.append(ax.barh(places, formulas["dense"], 0.75, label="formulas: dense", **line))
    marks: dict[str, dict[str, Any]] = {
        "document": {"marker": "D", "s": 40, "color": "white", "edgecolor": FORMULA},
        "in bounds": {"marker": "|", "s": 90, "color": FORMULA},
    }
    for name, style in marks.items():
        handles.append(ax.scatter(formulas[name], places, label=FORMULAS[name], zorder=3, **style))
    for place, report in enumerate(reports):
        largest = max(report.multiplies, *(formulas[name][place] for name in FORMULAS))
        text = f"{report.multiplies:,} {'✓' if report.agrees else '✗'}"
        first = names[0] if "…" not in names[0] else "the first"
        text += _factor(report.multiplies, measured[0], first)
        beside: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
        ax.annotate(text, (largest, place), (9, 0), parse_math=False, **beside)
    ax.set_xlim(left=0)
    ax.set_ylim(len(reports) - 0.45, -0.55)
    ax.set_yticks(places, names, parse_math=False)
    ax.set_xlabel("multiplies")
    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    close: dict[str, Any] = {"borderaxespad": 0, "columnspacing": 1, "handlelength": 1.4}
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, **close)
    return figure


def _factor(count: int, first: int, name: str) -> str:
    if count == first or not count * first:
        return ""
    sign, factor = ("×", count / first) if count > first else ("÷", first / count)
    return f"   {name} {sign} {factor:.3g}"


@styled
def plot_cost_curve(
    values: Sequence[int],
    reports: Sequence[CostReport],
    label: str,
    ax: Axes | None = None,
    *,
    against: Mapping[str, Sequence[CostReport]] | None = None,
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
    against : dict of str to sequence of CostReport, optional
        What else to draw, with a report for each value: the standard convolution of the same size,
        for example. Its factor at the last value is written beside it.

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
    'standard: measured = formula at all 3 values'
    """
    values, reports, against = list(values), list(reports), against or {}
    for found in (reports, *against.values()):
        if not reports or len(values) != len(found):
            raise ValueError(
                f"reports: must be one or more, with a value each, "
                f"got {len(found)} and {len(values)} values"
            )
    figure, ax = panel(ax, (5.5, 3.2))
    measured = [report.multiplies for report in reports]
    for name, others in against.items():
        counts = [report.multiplies for report in others]
        ratio = f"{counts[-1] / measured[-1]:.3g} × as many" if measured[-1] else ""
        text = f"{name}:\n{'the same' if counts == measured else ratio}"
        hollow: dict[str, Any] = {"markerfacecolor": "white", "markersize": 7}
        ax.plot(values, counts, "o-", color=MEASURED, linewidth=1, label=text, **hollow)
    in_bounds = [report.multiplies_in_bounds for report in reports]
    ax.fill_between(values, in_bounds, measured, color=PADDING, alpha=0.4, linewidth=0)
    lines: dict[tuple[float, ...], list[str]] = {}  # formulas that say the same are one line
    for name, word in FORMULAS.items():
        lines.setdefault(tuple(float(report.value(name)) for report in reports), []).append(word)
    same, name = lines.get(tuple(measured), []), reports[0].variant if against else "measured"
    for (formula, words), dashes in zip(lines.items(), ("--", ":", "-."), strict=False):
        text = "_" if words is same else "\n= ".join(words)
        if "in bounds" in words and in_bounds != measured:
            text += "\n(grey: on padding)"
        ax.plot(values, formula, dashes, color=FORMULA, linewidth=1.2, label=text)
    dots: dict[str, Any] = {"color": MEASURED, "markersize": 5, "clip_on": False}
    ax.plot(values, measured, "o", label="\n= ".join([name, *same]), **dots)
    right = sum(report.agrees for report in reports)
    share = f"{right} of {len(reports)} values"
    if right == len(reports):
        share = f"all {right} values" if right > 1 else "the one value"
    ax.set_title(f"{reports[0].variant}: measured = formula at {share}")
    ax.set_xlabel(label)
    ax.set_ylabel("multiplies")
    ax.set_xticks(values[:: -(-len(values) // 10)])
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(EngFormatter(sep=" "))
    label_lines(ax)
    return figure


@styled
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

    def standard(K: int) -> CostReport:
        return conv2d(x, np.ones((8, 8, K, K)), padding="same").report

    def each(K: int) -> CostReport:
        return depthwise_conv2d(x, np.ones((8, 1, K, K)), padding="same").report

    sweeps: list[tuple[str, str, Sequence[int], Any, dict[str, Any]]] = [
        ("kernel size K", "grows with K²", sizes, standard, {}),
        (
            "kernel size K",
            "grows with 2K",
            sizes,
            lambda K: separable_conv2d(x, np.ones(K), np.ones(K), padding="same").report,
            {"depthwise": each},
        ),
        (
            "stride S",
            "falls with 1/S²",
            (1, 2, 3, 4, 6, 8),
            lambda S: conv2d(x, weight, stride=S, padding=1).report,
            {},
        ),
        (
            "dilation",
            "sees wider for the same",
            (1, 2, 3, 4),
            lambda rate: (
                dilated_conv2d(x, weight, dilation=rate, padding=rate, method="direct").report
            ),
            {"standard, as wide": lambda rate: standard(2 * rate + 1)},
        ),
        (
            "groups G",
            "falls with 1/G",
            (1, 2, 4, 8),
            lambda G: grouped_conv2d(x, weight[:, : 8 // G], groups=G, padding=1).report,
            {"standard": lambda G: standard(3)},
        ),
        (
            "output channels M",
            "grows with M",
            (1, 2, 4, 6, 8),
            lambda M: conv2d(x, weight[:M], padding=1).report,
            {},
        ),
    ]
    figure, panels = sheet(3, 2, (WIDTH, 7.2))
    for (label, law, values, call, others), ax in zip(sweeps, panels.flat, strict=True):
        against = {name: [other(value) for value in values] for name, other in others.items()}
        plot_cost_curve(values, [call(value) for value in values], label, ax, against=against)
        ax.set_title(f"{ax.get_title().split(':')[0]}: {law}")
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


@styled
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
    OH, OW = counts.shape
    title = f"{variant}: {counts.sum():,} multiplies in bounds"
    wide, high = (3.6 * min(1, side / max(OH, OW)) for side in (OW, OH))
    figure, ax = panel(ax, (max(0.6 + wide, 0.085 * len(title)), 0.7 + max(high, 0.9)))
    if not cells(ax, counts, OUTPUT, 3.6 / max(OH, OW)):
        ticks = MaxNLocator(integer=True)
        figure.colorbar(ax.images[0], ax=ax, label="multiplies in bounds", ticks=ticks)
    ax.set_title(title)
    ax.set_xlabel("output column")
    ax.set_ylabel("output row")
    return figure
