"""The figure of `jitconv.compare`: nine outputs on the photo, and measured against formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from ..comparison import Comparison

# Okabe and Ito's blue and orange: told apart by everyone, and in grey.
MEASURED, FORMULA, INK = "#0072b2", "#e69f00", "#333333"


def plot_comparison(comparison: Comparison) -> Figure:
    """Draw the photo, each variant's first output channel, and its multiplies against the formulas.

    The outputs show the middle of the picture, so that single pixels can be made out.

    Parameters
    ----------
    comparison : Comparison
        From `jitconv.compare`.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown; save it with ``figure.savefig``.
    """
    # pyplot teaches notebooks to show figures; closed, so that none is shown twice
    figure = plt.figure(figsize=(13, 4.7), dpi=100, layout="constrained")
    plt.close(figure)
    pictures, bars = figure.subfigures(1, 2, width_ratios=(1.7, 1))
    title = comparison.title.encode("latin-1", "replace").decode("latin-1")  # what the font has
    figure.suptitle(title, fontsize=10, parse_math=False)

    panels = list(pictures.subplots(2, 5).flat)
    for ax in panels:
        ax.set_axis_off()
    first, *others = panels
    first.imshow(_middle(comparison.photo), cmap="gray")
    first.set_title("input\n", fontsize=9)
    for ax, row in zip(others, comparison.rows, strict=True):
        finite = row.preview[np.isfinite(row.preview)].astype(np.float64)
        low, high = np.percentile(finite, (1, 99)) if finite.size else (0, 1)
        ax.imshow(_middle(row.preview), cmap="gray", vmin=low, vmax=high)
        ax.set_title(f"{row.report.variant}\n{row.ratio:.3g} × multiplies", fontsize=9)

    ax = bars.subplots()
    rows = comparison.rows[::-1]
    places = np.arange(len(rows))
    marks = {  # from the largest to the smallest, so that all can be seen where they coincide
        "dense": {"marker": "o", "s": 130, "color": FORMULA, "edgecolor": INK},
        "document": {"marker": "D", "s": 45, "color": "white", "edgecolor": INK},
        "in bounds": {"marker": "|", "s": 260, "color": INK},
    }
    for name, style in marks.items():
        values = [row.report.value(name) for row in rows]
        ax.scatter(values, places, label=f"formula, {name}", zorder=3, **style)
    measured = [row.report.multiplies for row in rows]
    ax.scatter(measured, places, s=16, color=MEASURED, zorder=4, label="measured in the loops")
    for place, row in zip(places, rows, strict=True):
        largest = max(row.report.multiplies, row.report.value("dense"))
        count = f"{row.report.multiplies:,} {'✓' if row.report.agrees else '✗'}"
        style = {"textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(count, (largest, place), (9, 0), **style)
    ax.set_xscale("log")
    ax.set_xlim(min(measured) / 1.7, max(measured) * 30)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_yticks(places, [row.report.variant for row in rows], fontsize=9)
    ax.set_xlabel("multiplies, on a logarithmic axis", fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="#dddddd", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    style = {"handlelength": 1.2, "columnspacing": 1, "frameon": False, "fontsize": 8}
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2, **style)
    return figure


def _middle(picture: np.ndarray, panel: int = 300) -> np.ndarray:
    """Cut the middle half out of a large picture, with no more pixels than a panel shows."""
    H, W = picture.shape[:2]
    if min(H, W) < 64:
        return picture
    side = min(H, W) // 2
    picture = picture[(H - side) // 3 :, (W - side) // 2 :][:side, :side]
    step = -(-side // panel)
    return picture[::step, ::step]
