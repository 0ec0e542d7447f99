"""The figure of `jitconv.compare`: nine outputs on the photo, and measured against formula."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .costs import plot_costs
from .style import WIDTH, kept, styled


@styled
def plot_comparison(comparison: Any) -> Figure:
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
    rows = -(-(1 + len(comparison.rows)) // 5)
    heights = 1.75 * rows, 0.8 + 0.3 * len(comparison.rows)
    figure = plt.figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    kept(figure)  # pyplot teaches notebooks to show figures
    [[pictures], [bars]] = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)
    title = comparison.title.encode("latin-1", "replace").decode("latin-1")  # what the font has
    figure.suptitle(title, parse_math=False)

    panels = list(pictures.subplots(rows, 5).flat)
    for ax in panels:
        ax.set_axis_off()
    first, *others = panels
    style: dict[str, Any] = {"cmap": "gray", "interpolation": "nearest"}
    first.imshow(_middle(comparison.photo), **_limits(comparison.photo, (0, 100)), **style)
    first.set_title("input")
    for ax, row in zip(others, comparison.rows, strict=False):
        ax.imshow(_middle(row.preview), **_limits(row.preview, (1, 99)), **style)
        ax.set_title(row.report.variant)

    plot_costs([row.report for row in comparison.rows], ax=bars.subplots())
    return figure


def _limits(picture: np.ndarray, percentiles: tuple[int, int]) -> dict[str, float]:
    """Return what is black and what is white; where all is alike, so that it is grey."""
    finite = picture[np.isfinite(picture)].astype(np.float64)
    low, high = np.percentile(finite, percentiles) if finite.size else (0, 1)
    return {"vmin": low, "vmax": high} if low < high else {"vmin": low - 1, "vmax": low + 1}


def _middle(picture: np.ndarray, panel: int = 300) -> np.ndarray:
    """Cut the middle out of a large picture, with no more pixels than a panel shows."""
    H, W = picture.shape[:2]
    if min(H, W) < 64:
        return picture
    side = min(H, W) // 4
    picture = picture[(H - side) // 5 :, (W - side) // 2 :][:side, :side]
    step = -(-side // panel)
    return picture[::step, ::step]
