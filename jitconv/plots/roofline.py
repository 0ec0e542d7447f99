"""The roofline: what the arithmetic and the memory of a machine allow, and what was reached."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import INK, MEASURED, WIDTH, sheet, styled


@styled
def plot_roofline(rows: list[dict[str, Any]], peak: float, bandwidth: float) -> Figure:
    """Draw GFLOP/s against multiplies per byte, jitconv filled and its peers hollow.

    Parameters
    ----------
    rows : list of dict
        As `jitconv.bench.row` measures them.
    peak, bandwidth : float
        GFLOP/s and GB/s of the machine.

    Returns
    -------
    matplotlib.figure.Figure
        For the caller to show or save.
    """
    figure, [[ax]] = sheet(1, 1, (WIDTH, 4.2))
    left = min(row["intensity"] for row in rows) / 2
    intensity = np.geomspace(left, 2 * max(peak / bandwidth, *(r["intensity"] for r in rows)), 200)
    ax.plot(intensity, np.minimum(peak, 2 * intensity * bandwidth), color=INK)
    roof = f"measured peak {peak:.0f} GFLOP/s"
    ax.annotate(roof, (intensity[-1], peak), (0, 12), textcoords="offset points", ha="right")
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for variant, marker in zip(variants, itertools.cycle("osD^vP*X<p>h"), strict=False):
        mine = [row for row in rows if row["variant"] == variant]
        at, speeds = ([row[word] for row in mine] for word in ("intensity", "gflops"))
        ax.plot(at, speeds, marker, color=MEASURED, markersize=6, label=variant)
        pairs = [row for row in mine if row["ratio"] and row["peer"] not in ("conv2d", "depthwise")]
        at, speeds = [r["intensity"] for r in pairs], [r["gflops"] / r["ratio"] for r in pairs]
        ax.plot(at, speeds, marker, color=INK, markerfacecolor="none", markersize=6)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="executed multiplies per byte of input, weight and output",
        ylabel="GFLOP/s",
        xlim=(left, intensity[-1]),
        ylim=(min(1, ax.dataLim.y0 / 2), 2.5 * peak),
        title="Filled: jitconv; hollow: the same work by torch, OpenCV or SciPy",
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), borderaxespad=0)
    ax.grid(which="major", color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
    return figure
