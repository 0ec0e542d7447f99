"""The functions of Dask arrays: all but the deformable ones are made of the ordinary ones."""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import ArrayLike

from ..costs.report import ConvResult
from ..methods import OnPaper
from ..shapes import Block
from ..variants import (
    depthwise,
    depthwise_separable,
    dilated,
    front_door,
    grouped,
    pointwise,
    separable,
    transposed,
)
from .cutting import LazyResult, cut


def checked(name: str, array: Any) -> da.Array:
    """Return a Dask array, or raise.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    array : object
        What was passed.

    Raises
    ------
    TypeError, ValueError
        If it is no Dask array of NumPy's, has no 3 or 4 axes, or chunks of unknown sizes.
    """
    if not isinstance(array, da.Array):
        raise TypeError(
            f"{name}: must be a Dask array, got {type(array).__name__}; "
            f"pass dask.array.from_array({name}, chunks=...)"
        )
    if array.ndim not in (3, 4):
        raise ValueError(
            f"{name}: must have 4 axes, or 3 for one image without its batch axis, "
            f"got shape {array.shape}; a grey image is x[np.newaxis]"
        )
    if any(math.isnan(size) for size in array.shape):
        raise ValueError(
            f"{name}: has chunks of unknown sizes, got shape {array.shape}; "
            f"{name}.compute_chunk_sizes() finds them"
        )
    kind = type(da.utils.meta_from_array(array))
    if kind is not np.ndarray:
        plain = "np.ma.filled, 0" if kind is np.ma.MaskedArray else "np.asarray"
        raise TypeError(
            f"{name}: chunks must be NumPy arrays, got {kind.__name__}; "
            f"pass {name}.map_blocks({plain})"
        )
    return array


def no_dask(**arrays: object) -> None:
    """Raise where an array that every block needs is one of Dask."""
    for name, array in arrays.items():
        if isinstance(array, da.Array):
            raise TypeError(f"{name}: must be a NumPy array; pass {name}.compute()")


def no_images(array: da.Array) -> np.ndarray:
    """Return an empty batch of such images."""
    return np.empty((0, *array.shape[-3:]), array.dtype)


@contextlib.contextmanager
def shapes_of(x: da.Array) -> Iterator[None]:
    """Let errors of a call for no image tell the shapes of the images that there are."""
    try:
        yield
    except ValueError as error:
        images = f"{x.shape[0]}, " if x.ndim == 4 else ""
        told = re.sub(r"\(0, (?=\d+, \d+, \d+\))", f"({images}", str(error))
        raise ValueError(told) from None


def on_paper(method: Any) -> Any:
    """Return the method that runs nothing; what is no word is refused as always."""
    return OnPaper(method) if isinstance(method, str) else method


def by_blocks(
    function: Callable[..., ConvResult], arrays: str, multiplies: int
) -> Callable[..., LazyResult]:
    """Return the function of Dask arrays that runs an ordinary one block by block.

    The arrays and options, and how many multiplies they make of 4 channels of 8×8, are an example.
    """
    signature = inspect.signature(function)
    x, *others = signature.parameters.values()
    parameters = [x.replace(annotation="dask.array.Array"), *others]

    def lazy(x: da.Array, *arrays: ArrayLike, **options: Any) -> LazyResult:
        try:
            arguments = signature.bind(x, *arrays, **options).arguments
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        x = checked("x", arguments.pop("x"))
        no_dask(**arguments)
        method = on_paper(arguments.get("method", "auto"))
        with shapes_of(x):
            paper = function(no_images(x), **{**arguments, "method": method}).report
        run = partial(run_ordinary, function=function, **arguments)
        return cut(x, [], paper, run, transposed="output_padding" in signature.parameters)

    idea, *_ = (function.__doc__ or "").splitlines()
    name = lazy.__name__ = lazy.__qualname__ = function.__name__
    lazy.__doc__ = DOC.format(idea=idea, name=name, arrays=arrays, multiplies=multiplies)
    lazy.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        parameters, return_annotation="LazyResult"
    )
    return lazy


def run_ordinary(
    x: np.ndarray, *, rows: Block, columns: Block, function: Callable, **arguments: Any
) -> ConvResult:
    """Call a function on the pixels of a block, padded where they touch the true border."""
    steps = {
        "padding": (rows.padding, columns.padding),
        "output_padding": (rows.output_padding, columns.output_padding),
    }
    taken = inspect.signature(function).parameters
    arguments |= {name: pair for name, pair in steps.items() if name in taken}
    return function(x[..., slice(*rows.pixels), slice(*columns.pixels)], **arguments)


DOC = """{idea}

Block by block, for a Dask array.

Parameters
----------
x : dask.array.Array (N, C, H, W) or (C, H, W)
    float32 or float64. Its chunks are joined along C, and where they are smaller than a halo.
the others
    As in `jitconv.{name}`.

Returns
-------
LazyResult
    The output and the report, to be computed together.

Raises
------
TypeError, ValueError
    As `jitconv.{name}`; or if x is no Dask array, or has chunks of unknown sizes.

References
----------
As `jitconv.{name}`.

Examples
--------
>>> x = da.ones((4, 8, 8), chunks=(4, 4, 4))
>>> y, report = {name}(x, {arrays})
>>> report.compute().verify().multiplies
{multiplies}
"""

conv2d = by_blocks(front_door.conv2d, "np.ones((2, 4, 3, 3)), padding=1", 4608)
dilated_conv2d = by_blocks(dilated.dilated_conv2d, "np.ones((2, 4, 3, 3)), padding=2", 4608)
conv_transpose2d = by_blocks(transposed.conv_transpose2d, "np.ones((4, 2, 2, 2)), stride=2", 2048)
separable_conv2d = by_blocks(separable.separable_conv2d, "[1, 2, 1], [1, 0, -1], padding=1", 1728)
depthwise_conv2d = by_blocks(depthwise.depthwise_conv2d, "np.ones((4, 1, 3, 3)), padding=1", 2304)
depthwise_separable_conv2d = by_blocks(
    depthwise_separable.depthwise_separable_conv2d,
    "np.ones((4, 1, 3, 3)), np.ones((2, 4)), padding=1",
    2816,
)
pointwise_conv2d = by_blocks(pointwise.pointwise_conv2d, "np.ones((2, 4))", 512)
grouped_conv2d = by_blocks(grouped.grouped_conv2d, "np.ones((2, 2, 3, 3)), groups=2", 1296)
