"""Changing the size of images without weights.

The document compares these methods with strided and transposed convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import checks, shapes


def max_pool2d(
    x: ArrayLike,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence = 0,
) -> np.ndarray:
    """Return the largest value of each window.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    kernel_size : int or (int, int)
        Pixels of the window.
    stride : int or (int, int), optional
        Step of the window; its size where None.
    padding
        As in `conv2d`; padded pixels never win.

    Returns
    -------
    numpy.ndarray (N, C, OH, OW) or (C, OH, OW)
        A window that holds a NaN gives NaN.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed, or a window would lie in the padding alone.

    References
    ----------
    Document §1: a stride of 2 downsamples as max pooling does.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    x, batched = checks.image(x)
    window = shapes.window(
        x.shape[2:], kernel_size, kernel_size if stride is None else stride, padding
    )
    if any(
        end >= kernel
        for ends, kernel in zip(window.padding, window.kernel, strict=True)
        for end in ends
    ):
        raise ValueError(
            f"padding: {window.padding} must be smaller than the window {window.kernel} "
            "on every side"
        )
    padded = np.pad(x, ((0, 0), (0, 0), *window.padding), constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, window.kernel, axis=(2, 3))
    y = views[:, :, :: window.stride[0], :: window.stride[1]].max(axis=(4, 5))
    return y if batched else y[0]


def nearest_upsample(x: ArrayLike, scale: int | Sequence[int]) -> np.ndarray:
    """Repeat every pixel `scale` times on both axes.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    scale : int or (int, int)
        Output pixels for each input pixel.

    Returns
    -------
    numpy.ndarray (N, C, H·scale, W·scale) or (C, H·scale, W·scale)
        Of x's type.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed.

    References
    ----------
    Document §3, 다른 업샘플링 방법과의 비교.

    Examples
    --------
    >>> nearest_upsample([[[1, 2]]], 2).tolist()
    [[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]
    """
    x, batched = checks.image(x)
    scale_h, scale_w = checks.height_width("scale", scale, 1)
    y = x.repeat(scale_h, axis=2).repeat(scale_w, axis=3)
    return y if batched else y[0]


def bilinear_upsample(x: ArrayLike, scale: int | Sequence[int]) -> np.ndarray:
    """Interpolate between the four nearest pixels (이중선형 보간).

    Pixels are squares whose centres count, as in ``torch.nn.functional.interpolate(mode="bilinear",
    align_corners=False)``; beyond the outermost centres the edge pixels go on.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    scale : int or (int, int)
        Output pixels for each input pixel.

    Returns
    -------
    numpy.ndarray (N, C, H·scale, W·scale) or (C, H·scale, W·scale)
        Of x's type.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed.

    References
    ----------
    Document §3, Bilinear Upsampling.

    Examples
    --------
    >>> bilinear_upsample([[[0, 4]]], (1, 2)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    y, batched = checks.image(x)
    for axis, factor in zip((2, 3), checks.height_width("scale", scale, 1), strict=True):
        size = y.shape[axis]
        place = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = place.astype(int)
        share = (place - low).astype(y.dtype).reshape(-1, *[1] * (3 - axis))
        high = np.minimum(low + 1, size - 1)
        with np.errstate(invalid="ignore"):  # 0 · Inf is NaN
            y = (1 - share) * y.take(low, axis) + share * y.take(high, axis)
    return y if batched else y[0]


def bilinear_kernel(scale: int, channels: int = 1, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return the weight with which a transposed convolution interpolates bilinearly.

    ``conv_transpose2d(x, weight, stride=scale, padding=(K - scale) // 2, groups=channels)`` is
    `bilinear_upsample(x, scale)`, but for the output's edges, where a transposed convolution sees
    zeros beyond the image.

    Parameters
    ----------
    scale : int
        Output pixels for each input pixel.
    channels : int
        Channels, each upsampled on its own.
    dtype : data-type
        float32 or float64.

    Returns
    -------
    numpy.ndarray (channels, 1, K, K)
        K is 2·scale, or 2·scale − 1 where scale is odd.

    Raises
    ------
    TypeError, ValueError
        If scale or channels is no integer of at least 1, or dtype another type.

    References
    ----------
    Document §3; Long, Shelhamer and Darrell, arXiv:1411.4038, section 3.3.

    Examples
    --------
    >>> bilinear_kernel(2)[0, 0, 0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    scale, channels = checks.integer("scale", scale, 1), checks.integer("channels", channels, 1)
    size = 2 * scale - scale % 2
    line = 1 - np.abs(np.arange(size) - (size - 1) / 2) / scale
    return np.tile(np.outer(line, line), (channels, 1, 1, 1)).astype(checks.float_type(dtype))
