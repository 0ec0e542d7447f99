"""jitconv, the convolution textbook that runs.

Nine convolution variants as readable Numba loops that count their multiplies. "Document §3" and
the like, in the references, is a section of docs/document.md.

>>> import numpy as np, jitconv
>>> y, report = jitconv.conv2d(np.ones((1, 3, 8, 8)), np.ones((4, 3, 3, 3)), padding="same")
>>> report.verify().multiplies
6912
"""

import importlib
import sys
from types import ModuleType

from . import gradients, shapes
from .costs import formulas
from .costs.formula import Formula
from .costs.report import ConvResult, CostReport, CountMismatch, Pass
from .images import filters
from .images.resample import bilinear_kernel, bilinear_upsample, max_pool2d, nearest_upsample
from .jit import info
from .learn import lessons  # noqa: F401  loaded for its old name below
from .learn.compare import Comparison, compare
from .learn.exercises import check
from .models import measure, measuring
from .tracing import Step, trace
from .variants import warm_up
from .variants.deformable import deform_conv2d, deformable_layer
from .variants.depthwise import depthwise_conv2d
from .variants.depthwise_separable import depthwise_separable_conv2d
from .variants.dilated import dilated_conv2d, zero_stuffed_kernel
from .variants.front_door import conv2d
from .variants.grouped import grouped_conv2d
from .variants.pointwise import pointwise_conv2d
from .variants.separable import NotSeparableError, factor_kernel, separable_conv2d, separable_terms
from .variants.transposed import conv_transpose2d, convolution_matrix, deconvolve
from .version import __version__

# Where modules of version 0.1 that have moved are found under their old names.
for _old, _new in {
    "comparison": "learn.compare",
    "filters": "images.filters",
    "formulas": "costs.formulas",
    "plots.lessons": "learn.lessons",
    "report": "costs.report",
    "resample": "images.resample",
    "tiles": "methods.tiled.lines",
}.items():
    sys.modules[f"{__name__}.{_old}"] = sys.modules[f"{__name__}.{_new}"]


def __getattr__(name: str) -> ModuleType:
    if name != "blockwise":  # needs Dask
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(".blockwise", __name__)


__all__ = [
    "Comparison",
    "ConvResult",
    "CostReport",
    "CountMismatch",
    "Formula",
    "NotSeparableError",
    "Pass",
    "Step",
    "__version__",
    "bilinear_kernel",
    "bilinear_upsample",
    "check",
    "compare",
    "conv2d",
    "conv_transpose2d",
    "convolution_matrix",
    "deconvolve",
    "deform_conv2d",
    "deformable_layer",
    "depthwise_conv2d",
    "depthwise_separable_conv2d",
    "dilated_conv2d",
    "factor_kernel",
    "filters",
    "formulas",
    "gradients",
    "grouped_conv2d",
    "info",
    "max_pool2d",
    "measure",
    "measuring",
    "nearest_upsample",
    "pointwise_conv2d",
    "separable_conv2d",
    "separable_terms",
    "shapes",
    "trace",
    "warm_up",
    "zero_stuffed_kernel",
]
