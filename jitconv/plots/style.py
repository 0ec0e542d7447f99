"""One palette for all pictures, and the panel they are drawn on."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by everyone, and in grey
INPUT, KERNEL, OUTPUT, PADDING = "#0072b2", "#e69f00", "#009e73", "#999999"
MEASURED, FORMULA, SAMPLE, INK = "#d55e00", "#333333", "#cc79a7", "#333333"
GROUPS = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442")  # channel groups


def panel(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return the panel and its figure: a new one of so many inches where there is none."""
    if ax is None:
        figure, ax = plt.subplots(figsize=size, dpi=100, layout="constrained")
        plt.close(figure)  # so that a notebook does not show it twice
    return ax.figure.figure, ax
