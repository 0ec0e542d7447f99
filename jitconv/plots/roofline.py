"""The roofline: what the arithmetic and the memory of a machine allow, and what was reached."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


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
    figure, ax = plt.subplots(figsize=(9, 5.5), layout="constrained")
    intensity = np.logspace(-2, 3, 200)
    ax.plot(intensity, np.minimum(peak, 2 * intensity * bandwidth), color="0.4")
    ax.annotate(
        f"measured peak {peak:.0f} GFLOP/s",
        (900, peak),
        (0, 4),
        textcoords="offset points",
        ha="right",
    )
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    styles = zip(itertools.cycle("osD^vP*Xh"), itertools.cycle(plt.colormaps["tab10"](range(10))))
    for variant, (marker, colour) in zip(variants, styles, strict=False):
        mine = [row for row in rows if row["variant"] == variant]
        x = [row["intensity"] for row in mine]
        ax.plot(x, [row["gflops"] for row in mine], marker, color=colour, label=variant)
        pairs = [row for row in mine if row["ratio"] and row["peer"] not in ("conv2d", "depthwise")]
        ax.plot(
            [row["intensity"] for row in pairs],
            [row["gflops"] / row["ratio"] for row in pairs],
            marker,
            color=colour,
            markerfacecolor="none",
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="executed multiplies per byte of input, weight and output",
        ylabel="GFLOP/s",
        ylim=(1, 2 * peak),
        title="Filled: jitconv; hollow: the same work by torch, OpenCV or SciPy",
    )
    ax.legend(loc="lower right", ncols=2, fontsize="small")
    ax.grid(which="major", color="0.9")
    plt.close(figure)
    return figure
