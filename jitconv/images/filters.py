"""Named kernels of image processing, as float arrays (KH, KW) to convolve with.

None is flipped: all functions correlate.
"""

from __future__ import annotations

import numbers

import numpy as np
from numpy.typing import DTypeLike

from .. import checks


def identity(size: int = 3, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return the kernel that gives the image back: 1 in the middle.

    Parameters
    ----------
    size : int
        Odd number of taps on each side.
    dtype : data-type
        float32 or float64.

    Returns
    -------
    numpy.ndarray (size, size)
        The kernel.

    Raises
    ------
    TypeError, ValueError
        If size is no odd integer of at least 1, or dtype another type.

    Examples
    --------
    >>> identity(3).astype(int).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    kernel = np.zeros((_odd(size), size), checks.float_type(dtype))
    kernel[size // 2, size // 2] = 1
    return kernel


def sobel(direction: str = "x", dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return the Sobel kernel: differences along one direction, smoothed across it.

    Parameters
    ----------
    direction : 'x' or 'y'
        'x' answers to vertical edges, 'y' to horizontal ones.
    dtype : data-type
        float32 or float64.

    Returns
    -------
    numpy.ndarray (3, 3)
        The kernel, whose rank is 1.

    Raises
    ------
    TypeError
        If dtype is another type.
    ValueError
        If direction is another word.

    References
    ----------
    Document §4, 대표적 예시.

    Examples
    --------
    >>> sobel("x").astype(int).tolist()
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    """
    if direction not in ("x", "y"):
        raise ValueError(f"direction: must be 'x' or 'y', got {direction!r}")
    kernel = np.outer([1, 2, 1], [-1, 0, 1]).astype(checks.float_type(dtype))
    return kernel if direction == "x" else np.ascontiguousarray(kernel.T)


def gaussian(
    size: int = 3, sigma: float | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Return a Gaussian that sums to 1; it separates.

    Parameters
    ----------
    size : int
        Odd number of taps on each side.
    sigma : float, optional
        Standard deviation in pixels; size / 6 where it is None, which puts three deviations on
        either side.
    dtype : data-type
        float32 or float64.

    Returns
    -------
    numpy.ndarray (size, size)
        The kernel, whose rank is 1.

    Raises
    ------
    TypeError, ValueError
        If size is no odd integer of at least 1, sigma not positive, or dtype another type.

    Examples
    --------
    >>> (gaussian(3, sigma=0.85) * 16).round().astype(int).tolist()
    [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    """
    sigma = _odd(size) / 6 if sigma is None else sigma
    if not isinstance(sigma, numbers.Real) or not 1e-100 < sigma < 1e100:
        raise ValueError(f"sigma: must be a positive number of pixels, got {sigma!r}")
    line = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return np.outer(line / line.sum(), line / line.sum()).astype(checks.float_type(dtype))


def box(size: int = 3, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return the mean over a square; it separates.

    Parameters
    ----------
    size : int
        Taps on each side.
    dtype : data-type
        float32 or float64.

    Returns
    -------
    numpy.ndarray (size, size)
        The kernel: 1 / size² everywhere.

    Raises
    ------
    TypeError, ValueError
        If size is no integer of at least 1, or dtype another type.

    Examples
    --------
    >>> float(box(2, dtype="float64")[0, 0])
    0.25
    """
    size = checks.integer("size", size, 1)
    return np.full((size, size), 1 / size**2, checks.float_type(dtype))


def laplacian(dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return the Laplacian: the sum of both second differences.

    It has rank 2 and does not separate.

    Parameters
    ----------
    dtype : data-type
        float32 or float64.

    Returns
    -------
    numpy.ndarray (3, 3)
        The kernel.

    Raises
    ------
    TypeError
        If dtype is another type.

    References
    ----------
    Document §4, 한계점.

    Examples
    --------
    >>> laplacian().astype(int).tolist()
    [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    """
    return np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], checks.float_type(dtype))


def _odd(size: int) -> int:
    size = checks.integer("size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"size: must be odd, so that the kernel has a middle, got {size}")
    return size
