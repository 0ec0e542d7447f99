"""Every multiply of a small convolution, in the order of its loops.

The kernel's own loops run in plain Python on arrays whose numbers know where they came from. So
the steps are those that the loops make, not those that somebody thinks they make.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import gradients, jit
from .costs.report import ConvResult
from .variant import Array, Variant
from .variants import VARIANTS

Place = tuple[int, ...] | None
LIMIT = 200_000
_running = threading.local()  # its recorder


class Step(NamedTuple):
    """One multiply: sum ← sum + value · factor; `print` it.

    Attributes
    ----------
    part : str
        The pass of the report that counts it: "kernel", "column pass", "corner weights", …
    output : tuple of int
        Which output it adds to, (n, m, oh, ow), or which pixel between two passes, (n, c, h, w);
        or, in an array that the loops keep for themselves, (job, place there); or which pixel or
        weight, (m, c, kh, kw), of a gradient.
    input : tuple of int or None
        Which value of the image, (n, c, ih, iw), or of the image between two passes; or of an array
        that the loops keep, (job, place there); None on the padding, or where the value stands in
        no array.
    weight : tuple of int or None
        Which weight, its index in the array that was passed, or which dy of a weight's gradient;
        None where the factor is none.
    value, factor : float
        What was multiplied.
    sum : float
        What the sum is after it.
    stage : int
        Which image it reads: 0 for the one that was passed, 1 for the one that a first pass made.
    around : tuple of int or None
        As `input`, but also on the padding: where its zero would stand, outside the image.
    inside : bool
        Whether the value has anything to do with the image.
    loops : str
        Which kernel multiplies, as "module:name".
    line : int
        On which line of it; 1 is the one that defines it.
    variables : tuple of (str, int)
        What its loops' variables are there, and before them those of the loops that called it.
    """

    part: str
    output: tuple[int, ...]
    input: Place
    weight: Place
    value: float
    factor: float
    sum: float
    stage: int = 0
    around: Place = None
    inside: bool = True
    loops: str = ""
    line: int = 0
    variables: tuple[tuple[str, int], ...] = ()

    @property
    def target(self) -> str:
        """The sum that it adds to, as a reader would write it; of one image, without n."""
        outputs = {"kernel": "y", "row pass": "y", "input": "dx", "weight": "dweight"}
        of_image = len(self.output) == 4 and self.part != "weight"
        place = ", ".join(map(str, self.output[1:] if of_image else self.output))
        return f"{outputs.get(self.part, self.part)}[{place}]"

    def __str__(self) -> str:
        return f"{self.target} += {self.value:g} · {self.factor:g} → {self.sum:g}"


class Gradient(NamedTuple):
    """What is traced of a gradient of `conv2d`, as a `Variant` says it of a variant.

    Attributes
    ----------
    function : callable
        Takes dy, x, weight and the keywords of `conv2d`.
    passes : dict of str to str
        The part of its report, and the array that its loops multiply by.
    arrays : dict of str to Array
        Those that it takes; of one with the role "shape" only that is read.
    """

    function: Callable[..., ConvResult]
    passes: dict[str, str]
    arrays: dict[str, Array]
    place: None = None


def _input_gradient(dy: ArrayLike, x: ArrayLike, weight: ArrayLike, **options: Any) -> ConvResult:
    grads, report = gradients.conv2d(dy, x, weight, **options, needs={"x"})
    return ConvResult(grads.x, report)


def _weight_gradient(dy: ArrayLike, x: ArrayLike, weight: ArrayLike, **options: Any) -> ConvResult:
    grads, report = gradients.conv2d(dy, x, weight, **options, needs={"weight"})
    return ConvResult(grads.weight, report)


TRACED: dict[str, Variant | Gradient] = {
    **VARIANTS,
    "input gradient": Gradient(
        _input_gradient,
        {"input": "weight"},
        {
            "dy": Array("image", "N, M, OH, OW"),
            "x": Array("shape", "N, C, H, W"),
            "weight": Array("weight", "M, C, KH, KW"),
        },
    ),
    "weight gradient": Gradient(  # dy walks over the image like a kernel
        _weight_gradient,
        {"weight": "dy"},
        {
            "dy": Array("weight", "N, M, KH, KW"),
            "x": Array("image", "N, C, H, W"),
            "weight": Array("shape", "M, C, KH, KW"),
        },
    ),
}


def trace(variant: str, x: ArrayLike, *arrays: ArrayLike, **options: Any) -> list[Step]:
    """Run a variant's textbook loops in plain Python and return every multiply that they made.

    Parameters
    ----------
    variant : str
        "standard", "dilated", "transposed", "separable", "depthwise", "depthwise separable",
        "pointwise", "grouped" or "deformable"; or "input gradient" or "weight gradient", those of a
        standard convolution.
    x : array_like (N, C, H, W) or (C, H, W)
        A small image; for a gradient, dy.
    *arrays : array_like
        What the variant's function takes after x: weights, before them the offset of a deformable
        convolution. For a gradient, x and weight.
    **options
        Its keywords; `method` can be "direct" or "auto" alone.

    Returns
    -------
    list of Step
        As many as the report's `multiplies`, in the order of the loops; n = 0 for one image.

    Raises
    ------
    TypeError, ValueError
        As the variant's function; or if there is no such variant, the method has other loops than
        the textbook's, or there are more than 200,000 multiplies.

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

    Backwards, each product goes to the pixel that met its weight:

    >>> for step in trace("input gradient", [[[1.0, 2.0]]], [[[1, 2, 3.0]]], [[[[10.0, 20.0]]]]):
    ...     print(step)
    dx[0, 0, 0] += 1 · 10 → 10
    dx[0, 0, 1] += 2 · 10 → 20
    dx[0, 0, 1] += 1 · 20 → 40
    dx[0, 0, 2] += 2 · 20 → 40
    """
    if not isinstance(variant, str) or variant not in TRACED:
        raise ValueError(f"variant: must be one of {', '.join(TRACED)}, got {variant!r}")
    method = options.get("method", "direct")
    if not isinstance(method, str) or method not in ("direct", "auto"):
        raise ValueError(f"method: the loops traced are the textbook's, 'direct', got {method!r}")
    record, options = TRACED[variant], {**options, "method": "direct"}
    report = record.function(x, *arrays, **options).report
    if report.multiplies > LIMIT:
        raise ValueError(
            f"trace: this takes {report.multiplies:,} multiplies, more than {LIMIT:,}; "
            "take a smaller image or fewer channels"
        )
    call = inspect.signature(record.function).bind(x, *arrays, **options)
    recorder = _Recorder(record)
    for name, array in record.arrays.items():
        if call.arguments.get(name) is not None:
            values = np.asarray(call.arguments[name], np.float64)
            of_images = array.role in ("image", "weight") and array.shape.startswith("N")
            known_as = "x" if array.role == "image" else name  # in the loops
            if of_images:  # places of a single one begin with n = 0
                batch = values.reshape(-1, *values.shape[-3:])
                values = recorder.numbered(known_as, batch).reshape(values.shape)
            elif array.role not in ("positions", "shape"):
                values = recorder.numbered(known_as, values)
            call.arguments[name] = values
    with jit.recording(recorder):
        record.function(*call.args, **call.kwargs)
    return recorder.steps


class _Number:
    """A value that knows its place, and the products that wait to be added to a sum."""

    __array_ufunc__ = None  # NumPy's numbers leave arithmetic with it to it
    __slots__ = ("around", "base", "inside", "place", "products")

    def __init__(
        self,
        base: float,
        place: Any = None,
        products: tuple = (),
        inside: bool = True,
        around: Place = None,
    ) -> None:
        self.base, self.place, self.products = float(base), place, products
        self.inside, self.around = inside, around

    def __float__(self) -> float:
        return self.base + sum(float(a) * float(b) for a, b, _ in self.products)

    def __mul__(self, other: Any) -> _Number:
        where = _running.recorder.where(sys._getframe(1))
        return _Number(0, None, ((self, _number(other), where),), inside=False)

    def __add__(self, other: Any) -> _Number:
        other = _number(other)
        products, inside = self.products + other.products, self.inside or other.inside
        return _Number(self.base + other.base, None, products, inside)

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
            total, inside = number.base, number.inside
            for one, other, where in number.products:
                total += float(one) * float(other)
                self.note(cell.place, one, other, total, where)
                inside |= one.inside and other.inside
            cell.number = _Number(total, cell.place, inside=inside)


class _NumPy:
    """What the loops call np: arrays that they make for themselves note products as well."""

    def __init__(self, note: Callable[..., None]) -> None:
        self.note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any) -> Any:
        array = np.zeros(shape, dtype)
        return _zeros(array.shape, "kept", self.note) if array.dtype.kind == "f" else array

    zeros = empty

    def float64(self, value: Any) -> Any:
        return value

    def floor(self, value: Any) -> float:
        return float(np.floor(float(value)))


def _zeros(shape: tuple[int, ...], name: str, note: Callable[..., None]) -> _Array:
    cells = np.empty(shape, object)
    for index in np.ndindex(shape):
        cells[index] = _Cell(_Number(0, (name, index), inside=False), (name, index))
    return _Array(cells, note)


class _Source:
    """A kernel's source: where it begins, and what its loops set."""

    def __init__(self, function: Callable) -> None:
        lines, first = inspect.getsourcelines(function)
        defined = next(n for n, line in enumerate(lines) if line.lstrip().startswith("def "))
        self.name, self.first = f"{function.__module__}:{function.__name__}", first + defined
        self.tree = ast.parse(textwrap.dedent("".join(lines[defined:])))
        self.known: dict[int, list[str]] = {}

    def variables(self, line: int) -> list[str]:
        """Return what the loops around a line have set before it, in order, without counters."""
        if line not in self.known:
            nodes = list(ast.walk(self.tree))
            counters = {ast.unparse(n.target) for n in nodes if isinstance(n, ast.AugAssign)}
            loops = [node for node in nodes if isinstance(node, ast.For)]
            around = [loop for loop in loops if loop.lineno <= line <= (loop.end_lineno or 0)]
            over = {id(name) for loop in loops if loop not in around for name in ast.walk(loop)}
            stored = {
                (name.lineno, name.col_offset): name.id
                for loop in around
                for name in ast.walk(loop)
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                if name.lineno <= line and id(name) not in over
            }
            names = dict.fromkeys(stored[place] for place in sorted(stored))
            self.known[line] = [name for name in names if name not in counters]
        return self.known[line]


class _Recorder:
    """Runs launched loops in plain Python, and notes each multiply that they make.

    Every number that a variant is given is replaced by its own number in `known`, counted from 1,
    and so is every output of its loops. So a number tells its place in whatever copy of an array,
    and a kernel that sees 0 sees padding.
    """

    def __init__(self, variant: Variant | Gradient) -> None:
        self.variant, self.stage = variant, -1
        self.steps: list[Step] = []
        self.parts = {factor: part for part, factor in variant.passes.items()}
        self.known: list[_Number] = []
        self.sources: dict[types.CodeType, _Source] = {}
        self.job = 0

    def numbered(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return an array of the same shape that holds each value's number."""
        first = len(self.known) + 1
        self.known += [_Number(v, (name, index)) for index, v in np.ndenumerate(values)]
        return np.arange(first, first + values.size, dtype=np.float64).reshape(values.shape)

    def __call__(self, loops: Callable, arrays: tuple) -> None:
        names = inspect.signature(loops).parameters
        self.stage += 1
        _running.recorder = self
        self.output = "y" if "y" in names else "dweight"
        self.arguments = dict(zip(names, arrays, strict=True))
        wrapped = {name: self._wrapped(name, array) for name, array in self.arguments.items()}
        self._rescoped(loops)(**wrapped)
        y, cells = self.arguments[self.output], wrapped[self.output].cells
        y[...] = self.numbered("x", np.vectorize(lambda cell: float(cell.number), [float])(cells))

    def _wrapped(self, name: str, array: Any) -> Any:
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return array
        if name == self.output:
            return _zeros(array.shape, "y", self._note)
        role = self.variant.arrays[name].role if name in self.variant.arrays else ""
        cells, shift = np.empty(array.shape, object), None
        for index, value in np.ndenumerate(array):
            if role == "positions":
                number = _Number(value)
            elif value:
                number = self.known[int(value) - 1]
                if len(index) == len(number.place[1]):
                    shift = np.subtract(index, number.place[1])
            else:
                number = _Number(0, (name, None), inside=False)
            cells[index] = _Cell(number, number.place)
        if name == "x" and shift is not None:  # a padded copy: where would its zeros stand?
            for index, cell in np.ndenumerate(cells):
                cell.number = _Number(
                    cell.number.base,
                    cell.number.place,
                    inside=cell.number.inside,
                    around=tuple(np.subtract(index, shift).tolist()),
                )
        return _Array(cells, self._note)

    def _rescoped(self, function: Callable) -> Callable:
        """Return a kernel in plain Python whose arrays, numbers and jobs are these."""
        scope = {
            **function.__globals__,
            "np": _NumPy(self._note),
            "prange": self._jobs,
            "float": _number,
        }
        for name in function.__code__.co_names:  # kernels that it calls
            other = getattr(scope.get(name), "py_func", None)
            if other is not None:
                scope[name] = self._rescoped(other)
        code, name, defaults = function.__code__, function.__name__, function.__defaults__
        self.sources[code] = _Source(function)
        return types.FunctionType(code, scope, name, defaults)

    def where(self, frame: Any) -> tuple[str, int, tuple[tuple[str, int], ...]]:
        """Return which kernel runs in a frame, its line, and the variables of its loops."""
        places: list[tuple[str, int]] = []
        variables: tuple[tuple[str, int], ...] = ()
        while (source := self.sources.get(frame.f_code)) is not None:
            places.append((source.name, line := frame.f_lineno - source.first + 1))
            here = [(name, frame.f_locals.get(name)) for name in source.variables(line)]
            variables = tuple((k, int(v)) for k, v in here if isinstance(v, Integral)) + variables
            frame = frame.f_back
        return *places[0], variables

    def _jobs(self, count: int) -> Iterator[int]:
        for self.job in range(count):
            yield self.job

    def _note(
        self, target: Any, value: _Number, factor: _Number, total: float, where: tuple
    ) -> None:
        if factor.place is not None and factor.place[0] == "x":  # corner · pixel
            value, factor = factor, value
        name, place = value.place or (None, None)
        other, index = factor.place or ("numbers", None)
        inside, around, stage = value.inside and factor.inside, value.around, self.stage
        if name == "kept":
            place = around = self._kept(place)
            if self.variant.place:  # the line between two passes, padded at its ends
                stage += 1
                inside = 0 <= place[3] < self.arguments["x"].shape[3]
                place = place if inside else None
        elif name != "x":
            place = None
        output = target[1] if target[0] == "y" else self._kept(target[1])
        self.steps.append(
            Step(
                self.parts[other],
                output,
                place,
                index if other in self.variant.arrays else None,
                float(value),
                float(factor),
                total,
                stage,
                around,
                inside,
                *where,
            )
        )

    def _kept(self, entry: Any) -> tuple[int, ...]:
        place = (self.job, *entry)
        return self.variant.place(place, self.arguments) if self.variant.place else place
