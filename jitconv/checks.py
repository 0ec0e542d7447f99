"""Argument checks: every error names the argument, the sizes involved, the rule and one fix."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def integer(name: str, value: Any, minimum: int, below: float = 2**31) -> int:
    """Return `value` as a Python int, or raise.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : object
        What was passed.
    minimum : int
        The least that is allowed.
    below : float
        What no value reaches: 2³¹ for sizes, infinity for counts.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError
        If `value` is no integer. NumPy integers are integers, bool is not.
    ValueError
        If `value` is less than `minimum`, or not less than `below`.

    Examples
    --------
    >>> integer("groups", np.int32(4), 1)
    4
    >>> integer("stride", 0, 1)
    Traceback (most recent call last):
    ...
    ValueError: stride: must be at least 1, got 0
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}: must be an integer, got {value!r} ({type(value).__name__})"
        ) from None
    if number < minimum:
        raise ValueError(f"{name}: must be at least {minimum}, got {number}")
    if number >= below:
        raise ValueError(f"{name}: must be less than 2³¹ = 2,147,483,648, got {number:,}")
    return number


def height_width(name: str, value: int | Sequence[int], minimum: int) -> tuple[int, int]:
    """Return an int or a (height, width) pair as a pair.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : int or (int, int)
        For both axes, or height and width.
    minimum : int
        The least that is allowed.

    Returns
    -------
    (int, int)
        Height and width.

    Raises
    ------
    TypeError, ValueError
        If `value` is neither an integer nor two of them, or one is less than `minimum`.

    Examples
    --------
    >>> height_width("stride", 2, 1), height_width("stride", (2, 1), 1)
    ((2, 2), (2, 1))
    """
    if _is_sequence(value):
        if len(value) != 2:
            raise ValueError(
                f"{name}: must be an int or a (height, width) pair, "
                f"got {len(value)} values: {value!r}"
            )
        return integer(f"{name}[0]", value[0], minimum), integer(f"{name}[1]", value[1], minimum)
    number = integer(name, value, minimum)
    return number, number


def padding_pairs(value: int | Sequence) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return numeric padding as ((top, bottom), (left, right)).

    Parameters
    ----------
    value : int, (int, int) or ((top, bottom), (left, right))
        Pixels: on every side, height and width, or each side.

    Returns
    -------
    ((int, int), (int, int))
        Pixels of each side.

    Raises
    ------
    TypeError, ValueError
        If `value` is no int, (height, width) pair or ((top, bottom), (left, right)), or is
        negative.

    Examples
    --------
    >>> padding_pairs(1), padding_pairs((1, 2)), padding_pairs(((0, 1), (2, 3)))
    (((1, 1), (1, 1)), ((1, 1), (2, 2)), ((0, 1), (2, 3)))
    """
    if _is_sequence(value) and len(value) == 2 and all(map(_is_sequence, value)):
        return height_width("padding[0]", value[0], 0), height_width("padding[1]", value[1], 0)
    if _is_sequence(value) and (len(value) != 2 or any(map(_is_sequence, value))):
        raise ValueError(
            f"padding: got {value!r}; write an int, (height, width) "
            "or nested pairs ((top, bottom), (left, right))"
        )
    height, width = height_width("padding", value, 0)
    return (height, height), (width, width)


def _is_sequence(value: object) -> TypeGuard[Sequence]:
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def floats(name: str, value: object, dtype: np.dtype | None = None) -> np.ndarray:
    """Return an array-like as a float32 or float64 array that a kernel can read.

    It is copied only where it must be.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : array_like
        An array of any layout, stride or byte order, or another library's through `__array__` or
        DLPack; or nested lists, which take `dtype` (float64 where it is None).
    dtype : numpy.dtype, optional
        The float type that the array must have.

    Returns
    -------
    numpy.ndarray
        C-contiguous, aligned, writable, in native byte order: for reading only, since it may be the
        caller's own memory.

    Raises
    ------
    TypeError
        If the values are not float32 or float64, or are not `dtype`, or NumPy cannot read them.
    ValueError
        If nested lists are ragged.

    Examples
    --------
    >>> floats("x", [[1, 2], [3, 4]]).dtype
    dtype('float64')
    >>> floats("x", np.zeros(3, np.uint8))  # doctest: +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    ...
    TypeError: x: must be float32 or float64, got uint8;
    convert it first: x.astype(np.float32), divided by 255 for an image
    """
    if type(value) is np.ndarray:
        fits = value.dtype in FLOATS if dtype is None else value.dtype == dtype
        if fits and value.flags.carray:  # as almost all do
            return value
        array = value
    elif isinstance(value, (list, tuple)) and not hasattr(value, "__array__"):
        try:
            array = np.array(value)
        except ValueError as error:
            raise ValueError(
                f"{name}: nested lists must be numbers in rows of equal length ({error})"
            ) from None
        if array.dtype in (np.int32, np.int64, np.float64):  # what Python's own numbers become
            with np.errstate(over="ignore"):
                array = array.astype(dtype or np.float64)
    elif isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: a masked array hides values that the loops would read; "
            f"fill it first: {name}.filled(0)"
        )
    else:
        array = _read(name, value)
    # only floats are asked for their byte order: NumPy's strings raise
    kind = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else array.dtype
    if kind not in FLOATS:
        hint = f"{name}.astype(np.float32)"
        if kind.kind == "u":
            hint += ", divided by 255 for an image"
        elif kind.kind == "c":
            hint = f"{name}.real, or convolve both parts"
        elif kind.kind in "OSTUV":
            hint = "np.array(..., dtype=np.float32)"
        raise TypeError(
            f"{name}: must be float32 or float64, got {array.dtype}; convert it first: {hint}"
        )
    if dtype is not None and kind != dtype:
        raise TypeError(
            f"{name}: must be {dtype} as x is, got {kind}; convert one: {name}.astype(np.{dtype})"
        )
    if not (array.flags.carray and array.dtype == kind):
        array = np.require(array, kind, ["C", "A"])
    return array if array.flags.writeable else np.asarray(_Lent(array))


def _read(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor hands out no numbers while it requires grad
        value = value.detach()
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: NumPy cannot read {type(value).__name__} ({error}); "
            "pass a NumPy array, or a tensor in the processor's memory"
        ) from None


class _Lent:
    """A read-only array's memory, without a copy, as one that may be written.

    The loops are compiled for such arrays alone, and write to none of their inputs.
    """

    def __init__(self, array: np.ndarray):
        address, _ = array.__array_interface__["data"]
        self.array, self.__array_interface__ = array, {**array.__array_interface__}
        self.__array_interface__["data"] = (address, False)


def float_type(dtype: DTypeLike) -> np.dtype:
    """Return a data type that kernels take.

    Parameters
    ----------
    dtype : data-type
        float32 or float64, in any of NumPy's spellings.

    Returns
    -------
    numpy.dtype
        The type.

    Raises
    ------
    TypeError
        If it is another type.

    Examples
    --------
    >>> float_type("float32")
    dtype('float32')
    """
    if np.dtype(dtype) not in FLOATS:
        raise TypeError(f"dtype: must be float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)


def image(x: object) -> tuple[np.ndarray, bool]:
    """Return the images as an array (N, C, H, W), and whether they came as a batch.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.

    Returns
    -------
    images : numpy.ndarray (N, C, H, W)
        N is 1 where one image came without a batch axis.
    batched : bool
        Whether x came with its batch axis.

    Raises
    ------
    TypeError, ValueError
        If `x` is no float array of shape (N, C, H, W) or (C, H, W), or has no channels or pixels.

    Examples
    --------
    >>> images, batched = image(np.zeros((3, 8, 8)))
    >>> images.shape, batched
    ((1, 3, 8, 8), False)
    """
    array = floats("x", x)
    if array.ndim not in (3, 4):
        raise ValueError(
            "x: must have 4 axes (N, C, H, W), or 3 for one image (C, H, W), "
            f"got shape {array.shape}; a grey image is x[np.newaxis]"
        )
    batch = array if array.ndim == 4 else array[np.newaxis]
    if 0 in batch.shape[1:]:
        raise ValueError(
            f"x: channels, height and width must be at least 1, got shape {array.shape}"
        )
    return batch, array.ndim == 4


def axes(name: str, shape: tuple[int, ...], names: str) -> None:
    """Raise unless an array's shape has the axes that `names` lists, none of them empty.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    shape : tuple of int
        Of what was passed.
    names : str
        The axes that it must have, such as "(KH, KW)".

    Raises
    ------
    ValueError
        If the number of axes differs, or one is empty.

    Examples
    --------
    >>> axes("row", (3, 3), "(KW,)")
    Traceback (most recent call last):
    ...
    ValueError: row: must have the axes (KW,), each at least 1 long, got shape (3, 3)
    """
    wanted = names.count(",") + (not names.endswith(",)"))
    if len(shape) != wanted or 0 in shape:
        raise ValueError(
            f"{name}: must have the axes {names}, each at least 1 long, got shape {shape}"
        )


def divides(name: str, groups: int, channels: int, what: str) -> None:
    """Raise unless `groups` cuts `channels` into equal parts.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    groups, channels : int
        `groups` is at least 1.
    what : str
        What the error calls the channels.

    Raises
    ------
    ValueError
        If the division leaves a rest; the message lists the numbers that divide.

    Examples
    --------
    >>> divides("groups", 4, 6, "the channels of x")
    Traceback (most recent call last):
    ...
    ValueError: groups: 4 does not divide 6, the channels of x; these do: 1, 2, 3, 6
    """
    if channels % groups:
        small = [g for g in range(1, math.isqrt(channels) + 1) if channels % g == 0]
        fitting = sorted({*small, *(channels // g for g in small)})
        raise ValueError(
            f"{name}: {groups} does not divide {channels}, {what}; "
            f"these do: {', '.join(map(str, fitting))}"
        )


def biases(bias: object, M: int, dtype: np.dtype, name: str = "bias") -> np.ndarray:
    """Return the bias (M,), zeros where it is None.

    Parameters
    ----------
    bias : array_like (M,) or None
        One value an output channel.
    M : int
        Output channels.
    dtype : numpy.dtype
        The float type that the bias must have.
    name : str
        The argument's name, for the error.

    Returns
    -------
    numpy.ndarray (M,)
        Of that type.

    Raises
    ------
    TypeError, ValueError
        If it is no float array of the given type and length.

    Examples
    --------
    >>> biases(None, 3, np.dtype("float64"))
    array([0., 0., 0.])
    """
    if bias is None:
        return np.zeros(M, dtype)
    bias = floats(name, bias, dtype)
    if bias.shape != (M,):
        raise ValueError(
            f"{name}: needs one value per output channel, shape ({M},), got shape {bias.shape}"
        )
    return bias
