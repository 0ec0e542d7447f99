"""A model of one's own, in PyTorch or ONNX, on jitconv's loops: counted and compared."""

from .measure import measure, measuring
from .measured import Difference, Measured, Row

__all__ = ["Difference", "Measured", "Row", "measure", "measuring"]
