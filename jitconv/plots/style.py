"""One palette and one type size for all pictures, and the sheets they are drawn on."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Okabe and Ito's colours, told apart by everyone; each has one meaning
INPUT, KERNEL, OUTPUT, PADDING = "#0072b2", "#e69f00", "#009e73", "#999999"
MEASURED, FORMULA, SAMPLE, INK = "#d55e00", "#333333", "#cc79a7", "#333333"
# Tol's light colours: channel groups, and other kinds that have no colour of their own
GROUPS = ("#99ddff", "#eedd88", "#ffaabb", "#bbcc33")

TEXT, TITLE = 9, 10  # points
WIDTH = 8  # inches of a whole row: at 100 dots an inch a page shows it unscaled
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.titlesize": TITLE,
    "font.size": TEXT,
    "axes.titlesize": TITLE,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "axes.grid": False,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "white"),
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), "black"),
    **dict.fromkeys(("xtick.color", "ytick.color", "patch.edgecolor"), "black"),
    "savefig.facecolor": "auto",
}


Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")


def styled(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Let a function draw in these type sizes and colours, whatever is set elsewhere."""

    @functools.wraps(draw)
    def drawn(*args: Given.args, **options: Given.kwargs) -> Drawn:
        # no rc_context: it would undo that a notebook's first use of pyplot makes it interactive
        before = {name: plt.rcParams[name] for name in STYLE}
        plt.rcParams.update(STYLE)
        try:
            return draw(*args, **options)
        finally:
            plt.rcParams.update(before)

    return drawn


def sheet(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of so many inches, and its panels (rows, columns)."""
    figure, panels = plt.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, **options
    )
    return kept(figure), panels


class Paper(Rectangle):
    """A figure's white ground, which `savefig` cannot colour, but leave out as transparent."""

    def draw(self, renderer: Any) -> None:  # noqa: D102
        figure: Any = self.figure
        if to_rgba(figure.get_facecolor())[3]:
            super().draw(renderer)


def kept(figure: Figure) -> Figure:
    """Return a figure that no notebook shows twice, and that is white whatever is set elsewhere."""
    plt.close(figure)
    paper = Paper((-1, -1), 3, 3, transform=figure.transFigure, zorder=-1, color="white")
    figure.add_artist(paper).set_in_layout(False)
    return figure


def panel(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return the panel and its figure: a new one of so many inches where there is none."""
    if ax is None:
        _, [[ax]] = sheet(1, 1, size)
    ax.set_facecolor("white")
    return ax.figure.figure, ax


def short(number: float, digits: int = 3) -> str:
    """Write a number in so many digits, or in all before the point where six letters hold them."""
    whole = abs(number) >= 10 ** (digits - 1) and -1e5 < number < 1e6
    text = f"{number:.0f}" if whole else f"{number + 0.0:.{digits}g}"  # and no −0
    return re.sub(r"e\+?(-?)0*", r"e\1", text).replace("-", "−")


def cells(
    ax: Axes, values: np.ndarray, colour: str, inches: float, limit: float | None = None
) -> bool:
    """Draw numbers as squares of so many inches: white for 0, and coloured up to the limit.

    Negative numbers are dark. Returns whether the numbers themselves fit, and are written.
    """
    limit, signed = limit or np.abs(values).max() or 1, values.min() < 0
    end, dark = (tuple(0.4 + 0.6 * part for part in to_rgb(ink)) for ink in (colour, INK))
    ends: list[Any] = [dark, "white", end] if signed else ["white", end]
    ramp = LinearSegmentedColormap.from_list("cells", ends)
    ax.imshow(values, cmap=ramp, vmin=-limit if signed else 0, vmax=limit, interpolation="nearest")
    H, W = values.shape
    ax.set_xticks(np.arange(W + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(H + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#cccccc", linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.set_xticks([])
    ax.set_yticks([])
    texts = [short(value) for value in values.flat]
    written = max(map(len, texts)) * 0.7 * TEXT < 72 * inches
    if written:
        for (row, column), text in zip(np.ndindex(H, W), texts, strict=True):
            colour = PADDING if text == "0" else "black"
            ax.text(column, row, text, ha="center", va="center", color=colour)
    return written


def label_lines(ax: Axes) -> None:
    """Write the label of each line of a chart beside its right end; moved apart where they meet."""
    ax.get_xlim(), ax.get_ylim()  # which scale the panel to its lines
    dots = ax.figure.figure.dpi / 72
    ends = []  # in points above the sheet's edge, the lowest first
    for line in ax.lines:
        label = str(line.get_label())
        if not label.startswith("_"):
            end: Any = np.asarray(line.get_xydata())[-1]
            high = 1.35 * TEXT * (label.count("\n") + 1) + 2
            ends.append((ax.transData.transform(end)[1] / dots, high, end, label, line.get_color()))
    ends.sort(key=lambda end: end[0])
    gaps = [(one[1] + other[1]) / 2 for one, other in itertools.pairwise(ends)]
    places = [end[0] for end in ends]
    if ends:
        places[0] = max(places[0], ax.bbox.y0 / dots + ends[0][1] / 2)
        for i, gap in enumerate(gaps):
            places[i + 1] = max(places[i + 1], places[i] + gap)
        places[-1] = min(places[-1], ax.bbox.y1 / dots - ends[-1][1] / 2)
        for i, gap in reversed([*enumerate(gaps)]):
            places[i] = min(places[i], places[i + 1] - gap)
    ax.spines[["top", "right"]].set_visible(False)
    for at, (place, _, end, label, colour) in zip(places, ends, strict=True):
        style: dict[str, Any] = {"va": "center", "color": colour, "fontsize": TEXT}
        offset = (9, at - place)
        ax.annotate(label, end, offset, textcoords="offset points", **style)
