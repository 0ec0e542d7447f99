"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from .style import TEXT, WIDTH, sheet, styled


@styled
def plot_panels(pictures: Mapping[str, np.ndarray]) -> Figure:
    """Draw pictures side by side.

    Parameters
    ----------
    pictures : dict of str to numpy.ndarray (H, W)
        Values between 0 and 1, with what to write above each.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> figure = plot_panels({"one": np.zeros((8, 8))})
    >>> figure.axes[0].get_title()
    'one'
    """
    if not pictures:
        raise ValueError("pictures: must hold at least one")
    wide = min(3, WIDTH / len(pictures))
    high = min(3, max(len(picture) / picture.shape[1] for picture in pictures.values()))
    lines = 1 + max(title.count("\n") for title in pictures)
    figure, [panels] = sheet(
        1, len(pictures), (wide * len(pictures), (wide - 0.1) * high + 0.06 + 0.19 * lines)
    )
    for (title, picture), ax in zip(pictures.items(), panels, strict=True):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=TEXT)
        ax.set_xticks([])
        ax.set_yticks([])
    return figure
