"""Pictures: a convolution step by step, where it looks, what it costs, what it is good for."""

from .comparison import plot_comparison
from .costs import multiply_map, plot_cost_curve, plot_cost_curves, plot_costs, plot_multiply_map
from .family import show_family, show_options
from .geometry import (
    plot_effective_kernel,
    plot_matrix,
    plot_receptive_field,
    plot_sampling_grids,
    plot_winograd_tiles,
)
from .loops import show_loops
from .networks import plot_network, plot_networks
from .panels import plot_panels
from .roofline import plot_roofline
from .steps import show_steps

__all__ = [
    "multiply_map",
    "plot_comparison",
    "plot_cost_curve",
    "plot_cost_curves",
    "plot_costs",
    "plot_effective_kernel",
    "plot_matrix",
    "plot_multiply_map",
    "plot_network",
    "plot_networks",
    "plot_panels",
    "plot_receptive_field",
    "plot_roofline",
    "plot_sampling_grids",
    "plot_winograd_tiles",
    "show_family",
    "show_loops",
    "show_options",
    "show_steps",
]
