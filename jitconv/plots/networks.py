"""Where a network's multiplies and weights are, by kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from .style import GROUPS, INK, MEASURED, WIDTH, kept, sheet, styled

_ALL, _SOME, _ONE, _FLAT = GROUPS  # of the channels, or of the taps, that meet
KINDS = {  # colour, and a hatch for print in grey
    "standard": (_ALL, ""),
    "dilated": (_ALL, "..."),
    "transposed": (_ALL, "xxx"),
    "grouped": (_SOME, "///"),
    "depthwise": (_SOME, ""),
    "pointwise": (_ONE, ""),
    "linear": (_FLAT, "\\\\\\"),
    "deformable": ("white", "ooo"),
}
EDGE = {"edgecolor": INK, "linewidth": 0.4}


@styled
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
    figure, grid = sheet(2, 1, (WIDTH, 5), sharex=True)
    panels = grid[:, 0]
    for ax, word in zip(panels, ("multiplies", "weights"), strict=True):
        for kind, (colour, hatch) in KINDS.items():
            mine = [(place, row) for place, row in enumerate(rows) if row.kind == kind]
            if mine:
                places, counts = zip(*((p, getattr(row, word)) for p, row in mine), strict=True)
                ax.bar(places, counts, 0.85, label=kind, color=colour, hatch=hatch, **EDGE)
        ax.set_ylabel(word)
        ax.yaxis.set_major_formatter(EngFormatter(sep=" "))
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
    step = -(-len(rows) // 50)
    names = [row.label for row in rows[::step]]
    ax.set_xticks(range(0, len(rows), step), names, rotation=90)
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=8, borderaxespad=0.2)
    panels[0].set_title(network.title, pad=22)
    return figure


@styled
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
    heights = 2.8, 0.8 + 0.26 * len(ordered)
    figure = plt.figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    kept(figure)
    [[above], [below]] = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)
    upper, lower = above.subplots(), below.subplots()
    places = np.array([(network.multiplies, max(1, network.parameters)) for network in ordered])
    upper.plot(*places.T, "o", color=MEASURED, markersize=5)
    style = {"va": "center", "ha": "center"}
    for place in np.unique(places, axis=0):  # written on the side where no neighbour is
        numbers = ", ".join(str(n) for n, p in enumerate(places, 1) if (p == place).all())
        away = np.log(place) - np.log(places)
        away = (away / (1e-6 + (away**2).sum(axis=1, keepdims=True)) ** 1.5).sum(axis=0)
        side = 10 * away / np.linalg.norm(away) if away.any() else (10, 0)
        upper.annotate(numbers, place, side, textcoords="offset points", **style)
    upper.set_xscale("log")
    upper.set_yscale("log")
    upper.margins(0.06, 0.12)
    upper.set_xlabel("multiplies of one image")
    upper.set_ylabel("parameters")
    upper.grid(color="#dddddd")
    upper.spines[["top", "right"]].set_visible(False)
    for number, network in enumerate(ordered):
        start = 0.0
        kinds = network.by_kind()
        for kind, (colour, hatch) in KINDS.items():
            share = 100 * kinds.get(kind, (0, 0))[0] / max(1, network.multiplies)
            label = kind if number == 0 else None
            bar = {"left": start, "color": colour, "hatch": hatch, **EDGE}
            lower.barh(number, share, 0.8, label=label, **bar)
            start += share
    names = [f"{network.name}  {number}" for number, network in enumerate(ordered, 1)]
    lower.set_yticks(range(len(ordered)), names)
    lower.set_ylim(len(ordered) - 0.5, -0.5)
    lower.set_xlim(0, 100)
    lower.set_xlabel("share of the multiplies, %")
    lower.tick_params(axis="y", length=0)
    lower.spines[["top", "right", "left"]].set_visible(False)
    below.legend(loc="outside upper center", ncols=8, handlelength=1.4, columnspacing=0.9)
    return figure
