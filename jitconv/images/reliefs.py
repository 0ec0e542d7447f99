"""Kernels to look at: reliefs of a bell, lit from as many directions as there are channels."""

from __future__ import annotations

import numpy as np

from ..variant import Photo


def reliefs(x: np.ndarray, K: int, M: int, groups: int) -> Photo:
    """Return images with weights of every shape to convolve them with.

    Parameters
    ----------
    x : numpy.ndarray (N, C, H, W)
        The images.
    K : int
        Taps on each side.
    M, groups : int
        Output channels, and groups that divide C and M.

    Returns
    -------
    Photo
        The same weights for the same sizes.

    Examples
    --------
    >>> reliefs(np.ones((1, 4, 8, 8)), 3, 6, 2).dense.shape
    (6, 4, 3, 3)
    """
    C, dtype = x.shape[1], x.dtype
    rng = np.random.default_rng(0)
    line = np.arange(K) - (K - 1) / 2
    bell = np.exp(-2 * (line / K) ** 2)
    bell /= bell.sum()
    slope = -2 * line * bell
    light = np.pi * np.arange(max(C, M))[:, np.newaxis, np.newaxis] / max(C, M)
    across, down = np.outer(bell, slope), np.outer(slope, bell)
    relief = np.outer(bell, bell) + np.cos(light) * across + np.sin(light) * down
    mix = (rng.random((M, C)) / C).astype(dtype)
    return Photo(
        x=x,
        each=relief[:C, np.newaxis].astype(dtype),
        mix=mix,
        dense=mix[:, :, np.newaxis, np.newaxis] * relief[:M, np.newaxis].astype(dtype),
        column=bell.astype(dtype),
        row=(bell + slope).astype(dtype),
        offsets=rng.normal(0, 0.3, (2 * K * K, C, K, K)).astype(dtype),
        groups=groups,
    )
