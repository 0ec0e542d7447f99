"""Pictures side by side, with a question above and an answer below."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def plot_panels(question: str, pictures: Mapping[str, np.ndarray], answer: str) -> Figure:
    """Draw pictures side by side.

    Parameters
    ----------
    question, answer : str
        What to write above and below.
    pictures : dict of str to numpy.ndarray (H, W)
        Values between 0 and 1, with what to write above each.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Examples
    --------
    >>> figure = plot_panels("black or white?", {"one": np.zeros((8, 8))}, "black")
    >>> figure.axes[0].get_title()
    'one'
    """
    H, W = max(picture.shape for picture in pictures.values())
    size = (9, 1.25 + 8.8 / len(pictures) * H / W)
    figure, axes = plt.subplots(
        1, len(pictures), figsize=size, dpi=100, layout="constrained", squeeze=False
    )
    plt.close(figure)
    for (title, picture), ax in zip(pictures.items(), axes[0], strict=True):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.suptitle(question, fontsize=11)
    figure.supxlabel(answer, fontsize=10)
    return figure
