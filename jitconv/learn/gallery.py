"""The pictures of the textbook, each with what it teaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..networks import CATALOGUE
from ..plots.costs import plot_cost_curves, plot_costs, plot_multiply_map
from ..plots.geometry import (
    plot_effective_kernel,
    plot_matrix,
    plot_receptive_field,
    plot_sampling_grids,
    plot_winograd_tiles,
)
from ..plots.networks import plot_network, plot_networks
from ..plots.steps import show_steps
from ..variants import VARIANTS
from . import lessons
from .compare import compare


class Picture(NamedTuple):
    """A figure to draw: its file's name, what it teaches, and how to draw it."""

    name: str
    lesson: str
    draw: Callable[[], Any]


def gallery() -> Iterator[Picture]:
    """Yield every picture; none is drawn before its `draw` is called.

    Examples
    --------
    >>> [picture.name for picture in gallery()][:2]
    ['steps_standard', 'steps_dilated']
    """
    for name, variant in VARIANTS.items():
        draw: partial[Any] = partial(
            show_steps, name, *variant.small_call(), backend="grid", **variant.options
        )
        yield Picture(f"steps_{name.replace(' ', '_')}", variant.idea, draw)
    yield Picture("sampling_grids", "which inputs one output reads", plot_sampling_grids)
    yield Picture(
        "receptive_field",
        "three 3×3 layers with rates 1, 2, 4 see 15×15, measured by perturbing every input",
        partial(plot_receptive_field, [(3,), (3, 1, 2), (3, 1, 4)]),
    )
    yield Picture(
        "gridding",
        "with rates 2, 2, 2 most inputs inside the field are never read",
        partial(plot_receptive_field, [(3, 1, 2)] * 3),
    )
    yield Picture(
        "effective_kernel",
        "a dilated kernel is the kernel with zeros between its taps",
        partial(plot_effective_kernel, np.arange(2.0, 11).reshape(3, 3)),
    )
    yield Picture(
        "matrix",
        "a convolution is a sparse matrix, the transposed one its transpose",
        partial(plot_matrix, np.arange(1.0, 10).reshape(1, 1, 3, 3), (1, 5, 5)),
    )
    yield Picture(
        "winograd_tiles",
        "a tile reads 6×6 pixels for 4×4 outputs; the last ones are cut",
        partial(plot_winograd_tiles, (14, 18), tile=(0, 1)),
    )
    image, kernel = np.ones((1, 10, 10)), np.ones((1, 1, 3, 3))
    moved = np.random.default_rng(1).normal(scale=2, size=(18, 10, 10))
    maps: dict[str, tuple[str, tuple, dict[str, Any], str]] = {
        "border": ("standard", (kernel,), {"padding": 1}, "at the border a kernel meets padding"),
        "checkerboard": (
            "transposed",
            (kernel,),
            {"stride": 2},
            "3 taps at stride 2 overlap unevenly",
        ),
        "even_overlap": (
            "transposed",
            (np.ones((1, 1, 4, 4)),),
            {"stride": 2, "padding": 1},
            "4 taps at stride 2 overlap evenly, but at the border",
        ),
        "outside": (
            "deformable",
            (moved, kernel),
            {"padding": 1},
            "offsets that point out of the image cost samples",
        ),
    }
    for name, (what, arrays, options, lesson) in maps.items():
        draw = partial(plot_multiply_map, what, image, *arrays, **options)
        yield Picture(f"map_{name}", lesson, draw)
    yield Picture("costs", "measured multiplies beside the formulas", _costs)
    yield Picture("cost_curves", "what each quantity of a layer costs", plot_cost_curves)
    told = {
        "stride": (
            lessons.stride_or_pooling,
            "max pooling costs four times a stride, and keeps more",
        ),
        "dilation": (lessons.dilated_or_pooling, "pooling forgets where things were"),
        "upsampling": (lessons.transposed_or_bilinear, "a fitted kernel beats the bilinear one"),
        "sobel": (lessons.sobel_both_ways, "the same edges with six multiplies instead of nine"),
        "channels": (lessons.fewer_channels, "what 1×1 loses depends on what channels share"),
        "groups": (lessons.groups_or_mixing, "grouped channels meet again when shuffled"),
        "rotation": (lessons.offsets_for_a_rotation, "offsets can turn the grid with the photo"),
    }
    for name, (tell, idea) in told.items():
        yield Picture(f"lesson_{name}", idea, partial(_told, tell))
    every = [build() for build in CATALOGUE.values()]
    yield Picture("networks", "real networks, and which layers cost", partial(plot_networks, every))
    draw = partial(plot_network, every[0])
    yield Picture("network_mobilenet_v1", "95% of MobileNet is 1×1 convolutions", draw)


def _costs() -> Figure:
    rows = compare(np.random.default_rng(0).random((12, 24, 24))).rows
    return plot_costs([row.report for row in rows])


def _told(tell: Callable[[], lessons.Lesson]) -> Figure:
    return tell().plot()
