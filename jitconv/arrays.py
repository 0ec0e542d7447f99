"""Memory for the kernels: padded inputs, outputs and counter cells."""

from __future__ import annotations

import math
import os

import numpy as np

from .checks import Layer
from .shapes import Pair


def empty(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array, or say why this machine cannot hold it.

    Raises
    ------
    ValueError
        If the array is larger than the machine's memory.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        if hasattr(os, "sysconf") and size > os.sysconf("SC_PAGE_SIZE") * os.sysconf(
            "SC_PHYS_PAGES"
        ):
            raise MemoryError  # np.empty may promise more than there is
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):
        raise ValueError(
            f"{name}: shape {shape} of {dtype} takes {size / 2**30:,.1f} GiB, "
            "more than this machine can hold; "
            "take fewer images or channels, a smaller image or less padding"
        ) from None


def border(size: int, ends: Pair) -> np.ndarray:
    """Return a padded axis (before + size + after,) of bool: true on the zeros of the padding."""
    before, after = ends
    line = empty("padded x", (before + size + after,), np.dtype(bool))
    line[...] = True
    line[before : before + size] = False
    return line


def pad(x: np.ndarray, padding: tuple[Pair, Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Surround images (N, C, H, W) with zeros.

    Returns
    -------
    padded : numpy.ndarray (N, C, HP, WP)
        The images themselves where there is no padding.
    border : numpy.ndarray (HP, WP) of bool
        True on the zeros of the padding.
    """
    N, C, H, W = x.shape
    (top, bottom), (left, right) = padding
    shape = (N, C, top + H + bottom, left + W + right)
    if shape == x.shape:
        return x, np.zeros((H, W), bool)
    padded = empty("padded x", shape, x.dtype)
    padded[...] = 0
    padded[:, :, top : top + H, left : left + W] = x
    return padded, border(H, padding[0])[:, np.newaxis] | border(W, padding[1])


def outputs(layer: Layer, output: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return y (N, M, OH, OW) to be filled, and counts (N·M·OH, 2).

    Counts hold the multiplies, and those on padding, of each output row.
    """
    N, _, M = layer.sizes
    y = empty("output", (N, M, *output), layer.x.dtype)
    return y, np.zeros((N * M * output[0], 2), np.int64)
