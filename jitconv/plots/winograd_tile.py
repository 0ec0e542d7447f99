"""A tile of Winograd's F(4×4, 3×3) for the stepper: three transforms and the products between.

The lines of the transforms are the kernels' own functions, run in plain Python on numbers that
record what they multiply.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..costs.report import CostReport
from ..methods import winograd
from ..variants.front_door import conv2d
from .loops import code_lines


def products(V, U, P):
    """Do what the loops over channels and tiles do for one of each: V, U, P (6, 6)."""
    for i in range(6):
        for j in range(6):
            P[i, j] += V[i, j] * U[i, j]


def play_tile(
    x: ArrayLike, weight: ArrayLike, *bias: ArrayLike, **options: Any
) -> tuple[dict[str, Any], CostReport]:
    """Return panels and steps of a tile (6, 6) and a kernel (3, 3), and the report of their run."""
    y, report = conv2d(x, weight, *bias, **options)
    shapes = np.shape(x)[-3:], np.shape(weight), y.shape[-3:], y.size
    if bias or shapes != ((1, 6, 6), (1, 1, 3, 3), (1, 4, 4), 16):
        raise ValueError(
            "method: 'winograd' is shown for one tile, x (1, 6, 6) and weight (1, 1, 3, 3) without "
            f"bias and padding, got {np.shape(x)} and {np.shape(weight)}, output {y.shape}"
        )
    tile, kernel = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    return _Tile(tile.reshape(6, 6), kernel.reshape(3, 3)).played(), report


class _Value:
    """A number of a transform: it knows its cell, and notes what it is multiplied by."""

    def __init__(self, tile: _Tile, value: float, cell: int = -1) -> None:
        self.tile, self.value, self.cell = tile, float(value), cell

    def __mul__(self, other: _Value) -> _Value:
        return self.tile.multiplied(self, other, sys._getframe(1).f_lineno)

    def __add__(self, other: _Value) -> _Value:
        return _Value(self.tile, self.value + other.value)

    def __sub__(self, other: _Value) -> _Value:
        return _Value(self.tile, self.value - other.value)


class _Tile:
    def __init__(self, x: np.ndarray, weight: np.ndarray) -> None:
        self.panels: list[dict[str, Any]] = []
        self.steps: list[list[Any]] = []
        self.lines: dict[tuple[int, int], int] = {}
        self.functions: list[Callable] = []
        self.made, self.part = 0, 0  # cells, and passes that are done
        self.line = self.transforms = -1  # lines of transforms or single products; the former only
        # a transform's numbers bring their own type: it turns constants into numbers as well
        self.like = SimpleNamespace(dtype=SimpleNamespace(type=lambda v: _Value(self, v)))
        g = self._panel("kernel weight", "kernel", (3, 3), "weight", weight)
        g_half = self._panel("its rows transformed", "between", (3, 6), "g′")
        U = self._panel("and columns: U", "between", (6, 6), "U")
        d = self._panel("input x, a tile", "input", (6, 6), "x", x)
        d_half = self._panel("its columns transformed", "between", (6, 6), "d′")
        V = self._panel("and rows: V", "between", (6, 6), "V")
        P = self._panel("products V · U", "between", (6, 6), "P")
        p_half = self._panel("their columns back", "between", (4, 6), "p′")
        y = self._panel("output y: and rows", "output", (4, 4), "y")
        self.scratch = self._panel(
            "products of a line", "between", (31, 9), "product", layers=True
        )[0, 0].cell
        for row in range(3):
            self._transform(winograd.weight_line, g[row], g_half[row])
        for column in range(6):
            self._transform(winograd.weight_line, g_half[:, column], U[:, column])
        self.part += 1
        for column in range(6):
            self._transform(winograd.input_line, d[:, column], d_half[:, column])
        for row in range(6):
            self._transform(winograd.input_line, d_half[row], V[row])
        self.part += 1
        self._multiply(V, U, P)
        self.part += 1
        for column in range(6):
            self._transform(winograd.output_line, P[:, column], p_half[:, column])
        for row in range(4):
            self._transform(winograd.output_line, p_half[row], y[row])

    def _panel(
        self,
        title: str,
        kind: str,
        shape: tuple[int, int],
        name: str,
        values: np.ndarray | None = None,
        layers: bool = False,
    ) -> np.ndarray:
        """Add a panel, and return its numbers (rows, columns)."""
        numbers, cells = np.empty(shape, object), []
        for (row, column), _ in np.ndenumerate(numbers):
            value = None if values is None else float(values[row, column])
            place = (column // 3, column % 3, row) if layers else (row, column, 0)
            cells.append([*place[:2], value, f"{name}[{row}, {column}]", place[2]])
            numbers[row, column] = _Value(self, value or 0, self.made)
            self.made += 1
        block = {"place": (0, 0), "label": "", "cells": cells}
        self.panels.append({"title": title, "kind": kind, "blocks": [block]})
        return numbers

    def _line_of(self, function: Callable, number: int) -> int:
        """Return a number for a line of a function, as the steps name it."""
        if function not in self.functions:
            self.functions.append(function)
        place = self.functions.index(function), number
        return self.lines.setdefault(place, len(self.lines))

    def _transform(self, line: Any, read: np.ndarray, written: np.ndarray) -> None:
        self.line += 1
        self.transforms += 1
        self.function, self.count = line.py_func, 0
        for number, found in zip(written, line.py_func(self.like, *read), strict=True):
            number.value = found.value
        made = [[number.cell, number.value] for number in written]
        self.steps[-1].append([made, [number.cell for number in read]])

    def multiplied(self, one: _Value, other: _Value, line: int) -> _Value:
        """Note a multiply of the line of a transform that runs, and return the product."""
        value, factor = (one, other) if one.cell >= 0 else (other, one)
        product = _Value(self, one.value * other.value)
        target = self.scratch + 9 * self.transforms + self.count
        self.count += 1
        number = line - self.function.__code__.co_firstlineno  # the first has the decorator
        self._step(target, value, factor, self._line_of(self.function, number))
        return product

    def _multiply(self, V: np.ndarray, U: np.ndarray, P: np.ndarray) -> None:
        line = self._line_of(products, 5)
        for v, u, p in zip(V.flat, U.flat, P.flat, strict=True):
            self.line += 1
            p.value += v.value * u.value
            self._step(p.cell, v, u, line)

    def _step(self, target: int, value: _Value, factor: _Value, line: int) -> None:
        keys = target, value.cell, factor.cell
        self.steps.append([*keys, value.value, factor.value, line, [], self.part, self.line, 0])

    def played(self) -> dict[str, Any]:
        """Return what the stepper plays."""
        return {
            "title": "Winograd's F(4×4, 3×3)",
            "idea": "36 products instead of 144; the transforms are shared by all channels",
            "options": "of one tile",
            "panels": self.panels,
            "steps": self.steps,
            "order": list(range(len(self.steps))),
            "starts": {},
            "scattered": False,
            "lines": [[*place, []] for place in self.lines],
            "sources": [[f.__name__, code_lines(f)] for f in self.functions],
        }
