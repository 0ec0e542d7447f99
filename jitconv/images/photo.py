"""A photo as an array, and feature maps made of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .. import checks
from ..variants.depthwise import depthwise_conv2d
from . import filters


def load_image(path: str | Path | None = None, largest: int = 1024) -> tuple[np.ndarray, str]:
    """Read an image file with matplotlib, as float32 between 0 and 1.

    Parameters
    ----------
    path : str or Path, optional
        Grey, RGB or RGBA, of any format that matplotlib reads; alpha is left out. None takes the
        photo of Grace Hopper that comes with matplotlib.
    largest : int
        Where a side is longer, only every second, third … pixel is taken.

    Returns
    -------
    image : numpy.ndarray (colours, H, W)
    description : str
        The file's name, and whether pixels were left out.

    Raises
    ------
    TypeError, ValueError
        If the file is missing or is no image, or `largest` is no integer of at least 1.

    Examples
    --------
    >>> image, description = load_image()
    >>> image.shape, description
    ((3, 600, 512), 'grace_hopper.jpg')
    """
    from matplotlib import cbook, image

    largest = checks.integer("largest", largest, 1, math.inf)
    try:
        if path is None:
            path = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
        pixels = image.imread(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except Exception as error:  # matplotlib and Pillow raise anything for a file that is no image
        raise ValueError(
            f"{path}: matplotlib cannot read it as an image ({error}); PNG and JPEG files work"
        ) from None
    pixels = np.atleast_3d(pixels)
    pixels = pixels[:, :, : 3 if pixels.shape[2] >= 3 else 1]
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
    step = -(-max(pixels.shape[:2]) // largest)
    description = Path(path).name + (f", 1 of {step}×{step} pixels" if step > 1 else "")
    return np.ascontiguousarray(
        np.moveaxis(pixels[::step, ::step], -1, 0), np.float32
    ) / np.float32(scale), description


def feature_maps(image: np.ndarray) -> np.ndarray:
    """Filter each colour with six named filters: three that smooth, then three that find edges.

    Parameters
    ----------
    image : numpy.ndarray (colours, H, W)
        float32.

    Returns
    -------
    numpy.ndarray (6·colours, H, W)
        All colours through the first filter, then all through the second …

    Examples
    --------
    >>> import numpy as np
    >>> feature_maps(np.ones((3, 8, 8), np.float32)).shape
    (18, 8, 8)
    """
    smooth = [filters.identity(3), filters.gaussian(3), filters.box(3)]
    edges = [filters.laplacian(), filters.sobel("x"), filters.sobel("y")]
    bank = np.stack(smooth + edges)[:, np.newaxis]
    colours, H, W = image.shape
    maps, _ = depthwise_conv2d(image, np.tile(bank, (colours, 1, 1, 1)), padding="same")
    return maps.reshape(colours, len(bank), H, W).swapaxes(0, 1).reshape(-1, H, W)
