"""Where a network's multiplies and weights are, by kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from .style import FORMULA, INK, MEASURED, OUTPUT, SAMPLE

KINDS = {  # colour, and a hatch for print in grey
    "standard": (MEASURED, ""),
    "dilated": (MEASURED, "..."),
    "transposed": (MEASURED, "xxx"),
    "grouped": (SAMPLE, "///"),
    "depthwise": (SAMPLE, ""),
    "pointwise": (FORMULA, ""),
    "linear": (OUTPUT, "\\\\\\"),
    "deformable": (INK, "ooo"),
}


def plot_network(network: Any) -> Figure:
    """Draw the multiplies and weights of each layer, coloured by its kind.

    Parameters
    ----------
    network : Network or jitconv.models.Measured
        Any with a convolution; of a measured model, what was measured.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown.

    Raises
    ------
    ValueError
        If it has none.

    Examples
    --------
    >>> from jitconv.networks import mobilenet_v1
    >>> len(plot_network(mobilenet_v1()).axes)
    2
    """
    rows = [row for row in network.rows if row.multiplies]
    if not rows:
        raise ValueError(f"network: {network.name} has no convolution to draw")
    figure, panels = plt.subplots(2, 1, figsize=(9, 6), dpi=100, layout="constrained", sharex=True)
    plt.close(figure)
    for ax, word in zip(panels, ("multiplies", "weights"), strict=True):
        for kind, (colour, hatch) in KINDS.items():
            mine = [(place, row) for place, row in enumerate(rows) if row.kind == kind]
            if mine:
                places, counts = zip(*((p, getattr(row, word)) for p, row in mine), strict=True)
                style = {"color": colour, "hatch": hatch, "edgecolor": "white", "width": 0.85}
                ax.bar(places, counts, label=kind, **style)
        ax.set_ylabel(word, fontsize=9)
        ax.yaxis.set_major_formatter(EngFormatter(sep=" "))
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    step = -(-len(rows) // 60)
    names = [row.label for row in rows[::step]]
    ax.set_xticks(range(0, len(rows), step), names, rotation=90, fontsize=7)
    ax.set_xlabel("layer", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    columns = len(labels)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9
    )
    panels[0].set_title(network.title, fontsize=10)
    return figure


def plot_networks(networks: Sequence[Any]) -> Figure:
    """Draw networks' parameters against their multiplies, and the share of each kind of layer.

    Parameters
    ----------
    networks : sequence of Network
        At least one.

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
    >>> from jitconv.networks import mobilenet_v1, squeezenet
    >>> len(plot_networks([mobilenet_v1(), squeezenet()]).axes)
    2
    """
    if not networks:
        raise ValueError("networks: must hold at least one")
    ordered = sorted(networks, key=lambda network: network.multiplies)
    size = (9, 5 + 0.3 * len(ordered))
    figure, (upper, lower) = plt.subplots(2, 1, figsize=size, dpi=100, layout="constrained")
    plt.close(figure)
    places = np.array([(network.multiplies, max(1, network.parameters)) for network in ordered])
    upper.plot(*places.T, "o", color=MEASURED, markersize=5)
    style = {"fontsize": 8, "color": INK, "va": "center", "ha": "center"}
    for number, place in enumerate(places, 1):  # written on the side where no neighbour is
        away = np.log(place) - np.log(places)
        away = (away / (1e-6 + (away**2).sum(axis=1, keepdims=True)) ** 1.5).sum(axis=0)
        side = 10 * away / np.linalg.norm(away) if away.any() else (10, 0)
        upper.annotate(f"{number}", place, side, textcoords="offset points", **style)
    upper.set_xscale("log")
    upper.set_yscale("log")
    upper.set_xlabel("multiplies of one image", fontsize=9)
    upper.set_ylabel("parameters", fontsize=9)
    upper.grid(color="#dddddd")
    upper.spines[["top", "right"]].set_visible(False)
    for number, network in enumerate(ordered):
        start = 0.0
        kinds = network.by_kind()
        for kind, (colour, hatch) in KINDS.items():
            share = 100 * kinds.get(kind, (0, 0))[0] / max(1, network.multiplies)
            style = {"color": colour, "hatch": hatch, "edgecolor": "white", "height": 0.8}
            label = kind if number == 0 else None
            lower.barh(number, share, left=start, label=label, **style)
            start += share
    names = [f"{network.name}  {number}" for number, network in enumerate(ordered, 1)]
    lower.set_yticks(range(len(ordered)), names, fontsize=8)
    lower.invert_yaxis()
    lower.set_xlim(0, 100)
    lower.set_xlabel("share of the multiplies, %", fontsize=9)
    lower.tick_params(axis="y", length=0)
    lower.spines[["top", "right", "left"]].set_visible(False)
    lower.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=7, frameon=False, fontsize=8)
    for ax in (upper, lower):
        ax.tick_params(axis="x", labelsize=8)
    return figure
