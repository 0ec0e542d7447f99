"""Real networks as data, layer by layer."""

from .network import Layer, Network, Row
from .zoo import (
    alexnet,
    context_module,
    dcgan_generator,
    fsrcnn,
    inception_v1,
    mobilenet_v1,
    resnet,
    resnet50,
    resnext50,
    shufflenet_v1,
    squeezenet,
    xception,
)

__all__ = [
    "Layer",
    "Network",
    "Row",
    "alexnet",
    "context_module",
    "dcgan_generator",
    "fsrcnn",
    "inception_v1",
    "mobilenet_v1",
    "resnet",
    "resnet50",
    "resnext50",
    "shufflenet_v1",
    "squeezenet",
    "xception",
]
