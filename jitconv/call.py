"""One call: its checked arrays and geometry, and the memory that its loops need."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks, shapes
from .costs.report import Pass
from .shapes import Pair, Window


@dataclass(eq=False)
class Call:
    """Images, and how a kernel walks over them. Variants with more arrays than these add them.

    Attributes
    ----------
    x : numpy.ndarray (N, C, H, W)
        For reading only.
    batched : bool
        Whether x came with its batch axis.
    window : Window
        The geometry.
    parameters : int
        How many values of weights and biases were given.
    """

    x: np.ndarray
    batched: bool
    window: Window
    parameters: int


@dataclass(eq=False)
class Dense(Call):
    """A call with one kernel, all of whose taps the output channels of a group share.

    Attributes
    ----------
    weight : numpy.ndarray (M, C/groups, KH, KW), or (C, M/groups, KH, KW) where transposed
    bias : numpy.ndarray (M,)
        Zeros where none was given.
    has_bias : bool
        Whether one was given.
    groups : int
        Parts into which the channels are cut.
    transposed : bool
        Whether the geometry is that of `shapes.transposed_window`.
    """

    weight: np.ndarray
    bias: np.ndarray
    has_bias: bool
    groups: int
    transposed: bool = False

    @property
    def sizes(self) -> tuple[int, int, int]:
        """N, C, M."""
        return (*self.x.shape[:2], self.bias.size)

    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y (N, M, OH, OW) to be filled, and counts (N·M·OH, 2).

        Counts hold the multiplies, and those on padding, of each output row.
        """
        N, _, M = self.sizes
        OH, OW = self.window.output
        y = empty("output", (N, M, OH, OW), self.x.dtype)
        return y, np.zeros((N * M * OH, 2), np.int64)

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return padded images and their border: see `pad`."""
        return pad(self.x, self.window.padding)


@dataclass(eq=False, kw_only=True)
class Deformed(Dense):
    """A call whose taps are moved.

    Attributes
    ----------
    offset : numpy.ndarray (N, 2·G·KH·KW, OH, OW)
        Pixels down, then right.
    mask : numpy.ndarray (N, G·KH·KW, OH, OW), or (0, 0, 0, 0) where there is none
        Factor of each sample.
    samples : int
        How many samples lie in the image.
    """

    offset: np.ndarray
    mask: np.ndarray
    samples: int

    @property
    def has_mask(self) -> bool:
        """Whether samples are weighted."""
        return self.mask.shape[1] > 0

    def passes(
        self,
        corner_weights: int,
        corner_values: int,
        masked: int,
        multiplies: int,
        on_padding: int,
        *,
        follows: bool = False,
    ) -> tuple[Pass, ...]:
        """Return what was counted, part by part; all parts are dense."""
        parts = [
            Pass("corner weights", corner_weights, accumulates=False),
            Pass("corner values", corner_values),
            Pass("mask", masked, accumulates=False),
            Pass("kernel", multiplies, on_padding, follows=follows),
        ]
        return tuple(p.within(p.name) for p in parts if p.name != "mask" or self.has_mask)


@dataclass(eq=False)
class Separated(Call):
    """A call whose kernel is the product of a column and a row.

    Attributes
    ----------
    column : numpy.ndarray (KH,)
    row : numpy.ndarray (KW,)
    """

    column: np.ndarray
    row: np.ndarray


def dense(
    x: object,
    weight: object,
    bias: object,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    groups: int | None = 1,
    name: str = "weight",
) -> Dense:
    """Check what most variants share: images, a fitting weight (M, C/groups, KH, KW), a bias.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (M, C/groups, KH, KW)
        Of x's type.
    bias : array_like (M,) or None
        Of x's type.
    stride, padding, dilation
        As in `conv2d`.
    groups : int, optional
        At least 1; None stands for depthwise, as many groups as channels.
    name : str
        What an error calls the weight.

    Returns
    -------
    Dense
        What the loops read.

    Raises
    ------
    TypeError, ValueError
        If one is no float array of x's type, the channels do not fit, or the geometry leaves no
        output.

    Examples
    --------
    >>> call = dense(np.zeros((4, 8, 8)), np.zeros((6, 2, 3, 3)), None, groups=2)
    >>> call.sizes, call.parameters, call.batched, call.window.output
    ((1, 4, 6), 108, False, (6, 6))
    """
    x, batched = checks.image(x)
    weight = checks.floats(name, weight, x.dtype)
    options = groups, stride, padding, dilation
    fit = _known_fit if all(map(_is_plain, options)) else _fit
    groups, window = fit(name, x.shape, weight.shape, *options)
    M, has_bias, held = len(weight), bias is not None, weight.size
    bias = checks.biases(bias, M, x.dtype)
    return Dense(x, batched, window, held + M * has_bias, weight, bias, has_bias, groups)


def _fit(
    name: str,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    groups: int | None,
    stride: Any,
    padding: Any,
    dilation: Any,
) -> tuple[int, Window]:
    """Return the groups and the geometry of images and a weight of such shapes, or raise."""
    checks.axes(name, weight, "(M, C/groups, KH, KW)")
    C, M = x[1], weight[0]
    if groups is None:
        groups = C
        if M % C or weight[1] != 1:
            raise ValueError(
                f"{name}: needs the axes (C·multiplier, 1, KH, KW), "
                f"the first a multiple of the {C} channels of x, got shape {weight}; "
                f"pass {C} or {2 * C} filters of one channel"
                + ("; x looks like NHWC: pass np.moveaxis(x, -1, -3)" * (M % x[3] == 0))
            )
    checks.divides("groups", groups, C, "the channels of x")
    if weight[1] != C // groups:
        raise ValueError(
            f"{name}: (M, C/groups, KH, KW) needs C/groups = {C}/{groups} = {C // groups} "
            f"in its second axis to fit x {x}, got shape {weight}{_channel_hint(x, weight, groups)}"
        )
    checks.divides("groups", groups, M, f"the output channels of {name}")
    return groups, shapes.window(x[2:], weight[2:], stride, padding, dilation)


# Most calls have the shapes of one before: they are checked once.
_known_fit = functools.lru_cache(1024)(_fit)


def _is_plain(value: Any) -> bool:
    # True == 1, and would be found in the cache
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, str)


def transposed(
    x: object,
    weight: object,
    bias: object,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Dense:
    """Check the arrays of a transposed convolution, whose weight is (C, M/groups, KH, KW).

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (C, M/groups, KH, KW)
        Of x's type.
    bias : array_like (M,) or None
        Of x's type.
    stride, padding, output_padding, dilation
        As in `conv_transpose2d`.
    groups : int
        At least 1.

    Returns
    -------
    Dense
        What the loops read.

    Raises
    ------
    TypeError, ValueError
        If one is no float array of x's type, the channels do not fit, or the geometry leaves no
        output.

    Examples
    --------
    >>> call = transposed(np.zeros((4, 8, 8)), np.zeros((4, 3, 3, 3)), None, groups=2)
    >>> call.sizes, call.parameters, call.window.output
    ((1, 4, 6), 108, (10, 10))
    """
    x, batched = checks.image(x)
    weight = checks.floats("weight", weight, x.dtype)
    options = groups, stride, padding, dilation, output_padding
    fit = _known_fit_transposed if all(map(_is_plain, options)) else _fit_transposed
    window = fit(x.shape, weight.shape, *options)
    M, has_bias, held = weight.shape[1] * groups, bias is not None, weight.size
    bias = checks.biases(bias, M, x.dtype)
    return Dense(
        x, batched, window, held + M * has_bias, weight, bias, has_bias, groups, transposed=True
    )


def _fit_transposed(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    groups: int,
    stride: Any,
    padding: Any,
    dilation: Any,
    output_padding: Any,
) -> Window:
    checks.axes("weight", weight, "(C, M/groups, KH, KW)")
    C = x[1]
    checks.divides("groups", groups, C, "the channels of x")
    if weight[0] != C:
        hint = f"; pass a weight of shape {(C, *weight[1:])}"
        if x[3] == weight[0]:
            hint = "; x looks like NHWC: pass np.moveaxis(x, -1, -3)"
        elif weight[1] == C:
            hint = "; weight looks transposed: pass weight.swapaxes(0, 1)"
        raise ValueError(
            f"weight: (C, M/groups, KH, KW) needs {C} in its first axis to fit x {x}, "
            f"got shape {weight}{hint}"
        )
    return shapes.transposed_window(x[2:], weight[2:], stride, padding, dilation, output_padding)


_known_fit_transposed = functools.lru_cache(1024)(_fit_transposed)


def _channel_hint(x: tuple[int, ...], weight: tuple[int, ...], groups: int) -> str:
    M, shares, KH, KW = weight
    if x[3] == shares * groups:
        return "; x looks like NHWC: pass np.moveaxis(x, -1, -3)"
    if x[1] // groups == M:
        return "; weight looks transposed: pass weight.swapaxes(0, 1)"
    if x[1] // groups == KH:
        return "; weight looks like (KH, KW, C, M): pass weight.transpose(3, 2, 0, 1)"
    if x[1] % shares == 0:
        return f"; this weight fits groups={x[1] // shares}"
    return f"; pass a weight of shape {(M, x[1] // groups, KH, KW)}"


def counted(counts: np.ndarray, equals: str = "dense") -> tuple[Pass, ...]:
    """Return the only pass of a call: what its jobs counted (jobs, 2), and what that must equal."""
    multiplies, on_padding = counts.sum(axis=0).tolist()
    return (Pass("kernel", multiplies, on_padding, equals),)


def empty(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array, or say why this machine cannot hold it.

    Raises
    ------
    ValueError
        If the array is larger than the machine's memory.
    """
    size = math.prod(shape) * dtype.itemsize
    try:
        if size > _memory():
            raise MemoryError  # np.empty may promise more than there is
        return np.empty(shape, dtype)
    except (MemoryError, ValueError):
        raise ValueError(
            f"{name}: shape {shape} of {dtype} takes {size / 2**30:,.1f} GiB, "
            "more than this machine can hold; "
            "take fewer images or channels, a smaller image or less padding"
        ) from None


@functools.cache
def _memory() -> float:
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
