"""The figure of `jitconv.compare`: nine outputs on the photo, and measured against formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from ..comparison import Comparison

MEASURED, FORMULA, INK = (
    "#0072b2",
    "#e69f00",
    "#333333",
)  # Okabe and Ito's blue and orange: told apart by everyone, and in grey


def plot_comparison(comparison: Comparison) -> Figure:
    """Draw the photo, the first output channel of each variant, and bars of multiplies with the formulas' values on them.

    Parameters
    ----------
    comparison : Comparison
        From `jitconv.compare`.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown; save it with ``figure.savefig``.
    """
    figure = Figure(figsize=(13, 6.2), dpi=100, layout="constrained")
    pictures, bars = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    panels = pictures.subplots(2, 5)
    for ax in panels.flat:
        ax.set_axis_off()
    panels.flat[0].imshow(_small(comparison.photo), cmap="gray")
    panels.flat[0].set_title("input", fontsize=9)
    for ax, row in zip(panels.flat[1:], comparison.rows, strict=True):
        low, high = np.nanpercentile(row.preview, (1, 99))
        ax.imshow(_small(row.preview), cmap="gray", vmin=low, vmax=high)
        OH, OW = row.preview.shape
        ax.set_title(f"{row.report.variant}\n{OH}×{OW}, {row.ratio:.3g}× multiplies", fontsize=9)

    ax = bars.subplots()
    rows = comparison.rows[::-1]
    names, places = [row.report.variant for row in rows], np.arange(len(rows))
    measured = np.array([row.report.multiplies for row in rows])
    ax.barh(places, measured, height=0.62, color=MEASURED, label="measured in the loops")
    for name, marker, label in (
        ("in bounds", "|", "formula: in bounds"),
        ("dense", "o", "formula: dense"),
    ):
        values = [row.report.value(name) for row in rows]
        ax.plot(
            values,
            places,
            marker,
            color=FORMULA,
            markeredgecolor=INK,
            markersize=12 if marker == "|" else 7,
            label=label,
        )
    for place, row in zip(places, rows, strict=True):
        mark = "✓" if row.report.agrees else "✗"
        largest = max(row.report.multiplies, row.report.value("dense"))
        ax.annotate(
            f"{row.report.multiplies:,} {mark}",
            (largest, place),
            (9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.set_xscale("log")
    ax.set_xlim(max(1, measured.min() // 4), measured.max() * 60)
    ax.set_yticks(places, names, fontsize=9)
    ax.set_xlabel("multiplies (logarithmic)", fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.45, 1), ncols=2, frameon=False)
    figure.suptitle(comparison.title, fontsize=10)
    return figure


def _small(picture: np.ndarray, largest: int = 300) -> np.ndarray:
    """Take only as many pixels as a panel shows."""
    step = -(-max(picture.shape[:2]) // largest)
    return picture[::step, ::step]
