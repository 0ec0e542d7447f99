"""Real networks as data, layer by layer."""

from .exchange import WhatIf, whatif
from .network import Layer, Network, Row, summary
from .published import Printed, Reconciled, Reconciliation, published, reconcile
from .running import Ran, Run, run
from .zoo import (
    CATALOGUE,
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

Network.run, Network.reconcile = run, reconcile
Network.published = property(published)

__all__ = [
    "CATALOGUE",
    "Layer",
    "Network",
    "Printed",
    "Ran",
    "Reconciled",
    "Reconciliation",
    "Row",
    "Run",
    "WhatIf",
    "alexnet",
    "context_module",
    "dcgan_generator",
    "fsrcnn",
    "inception_v1",
    "mobilenet_v1",
    "published",
    "reconcile",
    "resnet",
    "resnet50",
    "resnext50",
    "run",
    "shufflenet_v1",
    "squeezenet",
    "summary",
    "whatif",
    "xception",
]
