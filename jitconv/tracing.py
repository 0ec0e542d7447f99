"""Every multiply of a small convolution, in the order of its loops.

The kernel's own loops run in plain Python on arrays whose numbers know where they came from. So
the steps are those that the loops make, not those that somebody thinks they make.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import jit
from .report import ConvResult
from .variants.deformable import deform_conv2d
from .variants.depthwise import depthwise_conv2d
from .variants.depthwise_separable import depthwise_separable_conv2d
from .variants.dilated import dilated_conv2d
from .variants.grouped import grouped_conv2d
from .variants.pointwise import pointwise_conv2d
from .variants.separable import separable_conv2d
from .variants.standard import conv2d
from .variants.transposed import conv_transpose2d

Place = tuple[int, ...] | None

VARIANTS: dict[str, Callable[..., ConvResult]] = {
    "standard": conv2d,
    "dilated": dilated_conv2d,
    "transposed": conv_transpose2d,
    "separable": separable_conv2d,
    "depthwise": depthwise_conv2d,
    "depthwise separable": depthwise_separable_conv2d,
    "pointwise": pointwise_conv2d,
    "grouped": grouped_conv2d,
    "deformable": deform_conv2d,
}
SOURCES = ("x", "weight", "column", "row", "bias", "mask")
LIMIT = 200_000


class Step(NamedTuple):
    """One multiply: sum ← sum + value · factor; `print` it.

    Attributes
    ----------
    part : str
        The pass of the report that counts it: "kernel", "column pass", "corner weights", …
    output : tuple of int
        Which output it adds to, (n, m, oh, ow); or, in an array that the loops keep for themselves
        (a line, samples), (job, place there).
    input : tuple of int or None
        Which value of the image, (n, c, ih, iw); or of an array that the loops keep, (job, place
        there); None on the padding, or where the value stands in no array.
    weight : tuple of int or None
        Which weight, its index in the array that was passed; None where the factor is none.
    value, factor : float
        What was multiplied.
    sum : float
        What the sum is after it.
    """

    part: str
    output: tuple[int, ...]
    input: Place
    weight: Place
    value: float
    factor: float
    sum: float

    def __str__(self) -> str:
        target = "y" if self.part in ("kernel", "row pass") else self.part
        place = ", ".join(map(str, self.output[1:] if len(self.output) == 4 else self.output))
        return f"{target}[{place}] += {self.value:g} · {self.factor:g} → {self.sum:g}"


def trace(variant: str, x: ArrayLike, *arrays: ArrayLike, **options: Any) -> list[Step]:
    """Run a variant's textbook loops in plain Python and return every multiply that they made.

    Parameters
    ----------
    variant : str
        "standard", "dilated", "transposed", "separable", "depthwise", "depthwise separable",
        "pointwise", "grouped" or "deformable".
    x : array_like (N, C, H, W) or (C, H, W)
        A small image.
    *arrays : array_like
        What the variant's function takes after x: weights, before them the offset of a deformable
        convolution.
    **options
        Its keywords.

    Returns
    -------
    list of Step
        As many as the report's `multiplies`, in the order of the loops; n = 0 for one image.

    Raises
    ------
    TypeError, ValueError
        As the variant's function; or if there is no such variant, or more than 200,000 multiplies.

    Examples
    --------
    >>> steps = trace("standard", [[[1.0, 2.0, 3.0]]], [[[[10.0, 20.0]]]])
    >>> for step in steps:
    ...     print(step)
    y[0, 0, 0] += 1 · 10 → 10
    y[0, 0, 1] += 2 · 10 → 20
    y[0, 0, 0] += 2 · 20 → 50
    y[0, 0, 1] += 3 · 20 → 80
    >>> steps[3].input, steps[3].weight
    ((0, 0, 0, 2), (0, 0, 0, 1))
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if variant != "separable":
        options["method"] = "direct"
    report = VARIANTS[variant](x, *arrays, **options).report
    if report.multiplies > LIMIT:
        raise ValueError(
            f"trace: this takes {report.multiplies:,} multiplies, more than {LIMIT:,}; "
            "take a smaller image or fewer channels"
        )
    if variant == "depthwise separable":
        depthwise, pointwise, bias = (*arrays, options.pop("bias", None))[:3]
        middle = depthwise_conv2d(x, depthwise, **options).output
        first = trace("depthwise", x, depthwise, **options)
        second = trace("pointwise", middle, pointwise, bias)
        return [
            step._replace(part=part)
            for part, steps in (("depthwise", first), ("pointwise", second))
            for step in steps
        ]
    # every number is replaced by its place, counted from 1: so a kernel that sees 0 sees padding
    call = inspect.signature(VARIANTS[variant]).bind(x, *arrays, **options)
    given = {name: value for name, value in call.arguments.items() if name in SOURCES}
    given = {
        name: np.asarray(value, np.float64) for name, value in given.items() if value is not None
    }
    call.arguments.update(
        (name, np.arange(1.0, array.size + 1).reshape(array.shape)) for name, array in given.items()
    )
    if "offset" in call.arguments:
        call.arguments["offset"] = np.asarray(call.arguments["offset"], np.float64)
    if given["x"].ndim == 3:
        given["x"] = given["x"][np.newaxis]
    steps: list[Step] = []
    with jit.recording(lambda loops, arrays: _run(loops, arrays, given, steps)):
        VARIANTS[variant](*call.args, **call.kwargs)
    return steps


class _Number:
    """A value that knows its place, and the products that wait to be added to a sum."""

    __array_ufunc__ = None  # NumPy's numbers leave arithmetic with it to it
    __slots__ = ("base", "place", "products")

    def __init__(self, base: float, place: Any = None, products: tuple = ()) -> None:
        self.base, self.place, self.products = float(base), place, products

    def __float__(self) -> float:
        return self.base + sum(float(a) * float(b) for a, b in self.products)

    def __mul__(self, other: Any) -> _Number:
        return _Number(0, None, ((self, _number(other)),))

    def __add__(self, other: Any) -> _Number:
        other = _number(other)
        return _Number(self.base + other.base, None, self.products + other.products)

    def __sub__(self, other: Any) -> _Number:
        return _Number(float(self) - float(other))

    def __rsub__(self, other: Any) -> _Number:
        return _Number(float(other) - float(self))

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    __radd__, __rmul__ = __add__, __mul__


def _number(value: Any) -> _Number:
    return value if isinstance(value, _Number) else _Number(value)


class _Cell:
    __slots__ = ("number", "place")

    def __init__(self, number: _Number, place: Any) -> None:
        self.number, self.place = number, place


class _Array:
    """An array for the loops: it hands out numbers, and notes the products of what it is given."""

    def __init__(self, cells: np.ndarray, note: Callable[..., None]) -> None:
        self.cells, self.note = cells, note
        self.shape, self.size, self.dtype = cells.shape, cells.size, np.dtype(np.float64)

    def __getitem__(self, key: Any) -> Any:
        found = self.cells[key]
        return _Array(found, self.note) if isinstance(found, np.ndarray) else found.number

    def __setitem__(self, key: Any, value: Any) -> None:
        found = self.cells[key]
        for cell in found.flat if isinstance(found, np.ndarray) else [found]:
            number = _number(value)
            total = number.base
            for value_, factor in number.products:
                total += float(value_) * float(factor)
                self.note(cell.place, value_, factor, total)
            cell.number = _Number(total, cell.place)


class _NumPy:
    """What the loops call np: arrays that they make for themselves note products as well."""

    def __init__(self, note: Callable[..., None]) -> None:
        self.note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any) -> Any:
        array = np.zeros(shape, dtype)
        return _wrap(array, "own", self.note) if array.dtype.kind == "f" else array

    zeros = empty

    def float64(self, value: Any) -> Any:
        return value

    def floor(self, value: Any) -> float:
        return float(np.floor(float(value)))


def _wrap(
    values: np.ndarray, name: str, note: Callable[..., None], source: np.ndarray | None = None
) -> _Array:
    cells = np.empty(values.shape, object)
    for index, value in np.ndenumerate(values):
        place = (name, index)
        if source is not None and value:  # the value is a place, counted from 1
            position = np.unravel_index(int(value) - 1, source.shape)
            place, value = (name, tuple(map(int, position))), source[position]
        elif source is not None:
            place = (name, None)
        cells[index] = _Cell(_Number(value, place), place)
    return _Array(cells, note)


def _run(loops: Callable, arrays: tuple, given: dict[str, np.ndarray], steps: list[Step]) -> None:
    def note(target: Any, value: _Number, factor: _Number, total: float) -> None:
        if factor.place is not None and factor.place[0] == "x":  # corner · pixel
            value, factor = factor, value
        name, place = value.place or (None, None)
        other, index = factor.place or (None, None)
        part = {"column": "column pass", "row": "row pass", "mask": "mask"}.get(other, "kernel")
        if other == "own":
            part = "corner values"
        elif other is None:
            part = "corner weights"
        steps.append(
            Step(
                part,
                target[1] if target[0] == "y" else (job, *target[1]),
                place if name == "x" else (job, *place) if name == "own" else None,
                index if other in SOURCES else None,
                float(value),
                float(factor),
                total,
            )
        )

    def jobs(count: int) -> Iterator[int]:
        nonlocal job
        for number in range(count):
            job = number
            yield number

    job = 0
    names = inspect.signature(loops).parameters
    wrapped = [
        _wrap(array, name, note, given.get(name, np.empty(0) if name in SOURCES else None))
        if isinstance(array, np.ndarray) and array.dtype.kind == "f"
        else array
        for name, array in zip(names, arrays, strict=True)
    ]
    scope = {**loops.__globals__, "np": _NumPy(note), "prange": jobs, "float": _number}
    for name in loops.__code__.co_names:  # the functions of its file that the loops call
        function = getattr(scope.get(name), "py_func", scope.get(name))
        if isinstance(function, types.FunctionType) and function.__module__ == loops.__module__:
            scope[name] = types.FunctionType(function.__code__, scope)
    types.FunctionType(loops.__code__, scope)(*wrapped)
