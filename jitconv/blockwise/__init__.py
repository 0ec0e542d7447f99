"""Dask arrays, block by block: images larger than memory, and one report of the whole image.

Every function takes what the function of the same name in `jitconv` takes, but for x, which is a
Dask array. Each block of outputs reads its chunk of x and a halo of pixels around it, gets zeros
only where it touches the true border, and is a call of the ordinary function. What the blocks
count is added up, and compared with the formulas of the whole image.

>>> import dask, dask.array, numpy as np
>>> from jitconv import blockwise
>>> image = dask.array.ones((1, 100, 100), chunks=(1, 40, 40))
>>> y, report = blockwise.conv2d(image, np.ones((1, 1, 3, 3)), padding="same")
>>> y.chunks
((1,), (40, 40, 20), (40, 40, 20))
>>> y, report = dask.compute(y, report)  # both at once: each block then runs once
>>> report.verify().multiplies, report.multiplies_on_padding
(90000, 1196)
"""

try:
    import dask.array
except ImportError as error:
    raise ImportError('this needs Dask: pip install "jitconv[dask]"', name=error.name) from None
if dask.config.get("array.query-planning", False):
    raise ImportError("this needs Dask's option array.query-planning to be off")

from .cutting import LazyResult
from .deformable import deform_conv2d, deformable_layer
from .functions import (
    conv2d,
    conv_transpose2d,
    depthwise_conv2d,
    depthwise_separable_conv2d,
    dilated_conv2d,
    grouped_conv2d,
    pointwise_conv2d,
    separable_conv2d,
)

__all__ = [
    "LazyResult",
    "conv2d",
    "conv_transpose2d",
    "deform_conv2d",
    "deformable_layer",
    "depthwise_conv2d",
    "depthwise_separable_conv2d",
    "dilated_conv2d",
    "grouped_conv2d",
    "pointwise_conv2d",
    "separable_conv2d",
]
