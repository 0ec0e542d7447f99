"""The variants backwards: gradients by the names of the forward functions, counted likewise.

>>> import numpy as np
>>> from jitconv import gradients
>>> x, weight = np.ones((3, 8, 8)), np.ones((4, 3, 3, 3))
>>> grads, report = gradients.conv2d(np.ones((4, 8, 8)), x, weight, padding=1)
>>> grads.x.shape, grads.weight.shape, grads.bias
((3, 8, 8), (4, 3, 3, 3), array([64., 64., 64., 64.]))
>>> report.verify().parts
{'input': 6912, 'weight': 6912}
"""

from .backward import GradResult
from .deformable import DeformableGradients, LayerGradients, deform_conv2d, deformable_layer
from .dense import (
    Gradients,
    conv2d,
    conv_transpose2d,
    depthwise_conv2d,
    dilated_conv2d,
    grouped_conv2d,
    pointwise_conv2d,
)
from .depthwise_separable import DepthwiseSeparableGradients, depthwise_separable_conv2d
from .separable import SeparableGradients, separable_conv2d

__all__ = [
    "DeformableGradients",
    "DepthwiseSeparableGradients",
    "GradResult",
    "Gradients",
    "LayerGradients",
    "SeparableGradients",
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
