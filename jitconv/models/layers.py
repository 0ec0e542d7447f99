"""A framework's layer as the variant that it is, on jitconv's loops.

A convolution of one dimension is one of two whose images are a pixel wide: so all taps of a channel
read one line. A linear layer is a pointwise convolution: each row of its input is a pixel, and each
number of the row a channel. A batch of matrix products is a grouped convolution of 1×1 kernels, a
group for each product.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import gradients
from ..costs.report import ConvResult
from ..gradients import GradResult
from ..jit import made_ready
from ..networks import Layer
from ..variants import VARIANTS


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and its seconds without compilation."""
    while True:
        before, begin = made_ready(), time.perf_counter()
        made = call()
        seconds = time.perf_counter() - begin
        if made_ready() == before:
            return made, seconds


class Geometry(NamedTuple):
    """How the kernel of a layer walks: a number an axis, along one axis or two.

    Attributes
    ----------
    stride, padding, dilation, output_padding : tuple of int
        `padding` may hold pairs (before, after); `output_padding` belongs to transposed ones.
    groups : int
    transposed : bool
    """

    stride: tuple[int, ...]
    padding: tuple[Any, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...] = (0, 0)
    groups: int = 1
    transposed: bool = False


@functools.lru_cache(1024)
def kind(C: int, kernel: Sequence[int], how: Geometry) -> str:
    """Return the name of the variant that a convolution of C channels is.

    Examples
    --------
    >>> kind(8, (3, 3), Geometry((1, 1), (1, 1), (1, 1), groups=8))
    'depthwise'
    >>> kind(8, (1,), Geometry((2,), (0,), (1,)))
    'pointwise'
    """
    if how.transposed:
        return "transposed"
    if how.groups > 1:
        return "depthwise" if how.groups == C else "grouped"
    if max(kernel) == 1 and not any(any(ends) for ends in _ends(how)):
        return "pointwise"
    return "dilated" if any(step > 1 for step in how.dilation) else "standard"


def _ends(how: Geometry) -> list[tuple[int, int]]:
    return [end if isinstance(end, tuple) else (end, end) for end in how.padding]


@functools.lru_cache(1024)
def _options(how: Geometry, name: str) -> dict[str, Any]:
    """Return the geometry as the keywords that a variant takes, in two dimensions."""
    line = len(how.stride) == 1

    def pair(numbers: Sequence[Any], along_a_line: Any) -> tuple[Any, ...]:
        return (*numbers, along_a_line) if line else tuple(numbers)

    options = {
        "stride": pair(how.stride, 1),
        "padding": pair(_ends(how), (0, 0)),
        "dilation": pair(how.dilation, 1),
        "output_padding": pair(how.output_padding[: len(how.stride)], 0),
        "groups": how.groups,
    }
    return {word: v for word, v in options.items() if word in VARIANTS[name].keywords}


def as_data(
    name: str, input_shape: Sequence[int], weight_shape: Sequence[int], bias: bool, how: Geometry
) -> tuple[Layer, tuple[int, int, int]]:
    """Return a convolution as a layer of `jitconv.networks`, and the (C, H, W) that it reads.

    Examples
    --------
    >>> layer, plane = as_data("a", (1, 2, 8), (4, 2, 3), True, Geometry((2,), (1,), (1,)))
    >>> layer.channels, layer.kernel_size, layer.padding, plane
    (4, (3, 1), ((1, 1), (0, 0)), (2, 8, 1))
    """
    (_, C, *size), (M, shares, *kernel) = input_shape, weight_shape
    layer = Layer(
        name,
        "transposed" if how.transposed else "conv",
        channels=shares * how.groups if how.transposed else M,
        kernel_size=(*kernel, 1)[:2],
        bias=bias,
        **_options(how, "transposed" if how.transposed else "grouped"),
    )
    H, W = (*size, 1)[:2]
    return layer, (C, H, W)


def _plane(array: np.ndarray) -> np.ndarray:
    return array[..., np.newaxis] if array.ndim == 3 else array


def convolve(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, how: Geometry
) -> ConvResult:
    """Convolve x (N, C, L) or (N, C, H, W) with a weight of as many axes.

    Returns
    -------
    ConvResult
        The output, of as many axes, and the report of the variant.

    Examples
    --------
    >>> how = Geometry(stride=(2,), padding=(1,), dilation=(1,))
    >>> y, report = convolve(np.ones((1, 2, 8)), np.ones((4, 2, 3)), None, how)
    >>> y.shape, report.verify().variant, report.multiplies
    ((1, 4, 4), 'standard', 96)
    """
    name = kind(x.shape[1], weight.shape[2:], how)
    images, kernel = _plane(x), _plane(weight)
    y, report = VARIANTS[name].function(images, kernel, bias, **_options(how, name))
    return ConvResult(y[..., 0] if x.ndim == 3 else y, report)


def convolve_back(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, how: Geometry, needs: Collection[str]
) -> GradResult:
    """Return the gradients of `convolve` with respect to what `needs` names.

    Examples
    --------
    >>> how = Geometry(stride=(1,), padding=(0,), dilation=(1,))
    >>> dy, x, weight = np.ones((1, 1, 3)), np.arange(5.0).reshape(1, 1, 5), np.ones((1, 1, 3))
    >>> grads, report = convolve_back(dy, x, weight, how, {"weight"})
    >>> grads.weight, report.verify().parts
    (array([[[3., 6., 9.]]]), {'weight': 9})
    """
    name = kind(x.shape[1], weight.shape[2:], how)
    backward = getattr(gradients, VARIANTS[name].function.__name__, gradients.conv2d)
    arrays = _plane(dy), _plane(x), _plane(weight)
    grads, report = backward(*arrays, **_options(how, name), needs=needs)
    shapes = {"x": x.shape, "weight": weight.shape}
    found = {word: getattr(grads, word).reshape(shapes[word]) for word in shapes if word in needs}
    return GradResult(grads._replace(**found), report)


def multiply(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> ConvResult:
    """Multiply matrices a (n, k) and b (k, m), or as many of each: (B, n, k) and (B, k, m).

    Where b is the transpose of an array, as the weight of a linear layer is, that array is the
    kernel and the rows of a are the pixels; else a is the kernel, and the columns of b the pixels.

    Parameters
    ----------
    a, b : numpy.ndarray
        At least one row, column and product.
    bias : numpy.ndarray (m,), optional
        Added to each row.

    Returns
    -------
    ConvResult
        The product (n, m) or (B, n, m), and the report of the convolution.

    Examples
    --------
    >>> y, report = multiply(np.ones((5, 3)), np.ones((2, 3)).T, np.ones(2))
    >>> y.shape, report.verify().variant, report.parameters, report.multiplies
    ((5, 2), 'pointwise', 8, 30)
    >>> multiply(np.ones((4, 5, 3)), np.ones((4, 3, 2))).report.variant
    'grouped'
    """
    pointwise = VARIANTS["pointwise"].function
    if a.ndim == 3 and len(a) > 1:
        (B, n, k), m = a.shape, b.shape[2]
        images, kernel = b.reshape(B * k, m, 1), a.reshape(B * n, k, 1, 1)
        y, report = VARIANTS["grouped"].function(images, kernel, groups=B)
        y = y.reshape(B, n, m)
    elif a.ndim == 3:
        y, report = multiply(a[0], b[0])
        y = y[np.newaxis]
    elif b.T.flags.c_contiguous:
        y, report = pointwise(a.T[..., np.newaxis], b.T, bias)
        return ConvResult(np.ascontiguousarray(y[..., 0].T), report)
    else:
        y, report = pointwise(b[..., np.newaxis], a)
        y = y[..., 0]
    return ConvResult(y if bias is None else y + bias, report)
