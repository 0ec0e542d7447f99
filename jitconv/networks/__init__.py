"""Real networks as data, layer by layer."""

from .network import Layer, Network, Row
from .running import Ran, Run, run
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
    "Ran",
    "Row",
    "Run",
    "alexnet",
    "context_module",
    "dcgan_generator",
    "fsrcnn",
    "inception_v1",
    "mobilenet_v1",
    "resnet",
    "resnet50",
    "resnext50",
    "run",
    "shufflenet_v1",
    "squeezenet",
    "xception",
]
