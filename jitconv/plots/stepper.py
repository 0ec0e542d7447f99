"""A stepper: a small convolution that plays in a page, multiply by multiply.

What it shows comes from the trace. This file lays the arrays out as panels of blocks of cells, and
says of each multiply which cells it reads and to which it adds; `stepper.js` plays that.
"""

from __future__ import annotations

import inspect
import json
import math
import pkgutil
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import shapes
from ..costs.report import CostReport
from ..shapes import Window
from ..tracing import TRACED, Place, Step, trace
from ..variant import Array
from ..variants import VARIANTS
from .html import Html
from .loops import code_lines
from .winograd_tile import play_tile

LIMIT = 5_000  # multiplies: more help nobody, and are slow
SCATTERED = ("transposed", "input gradient")  # their window is a pixel, and where it lands
KINDS = {"x": "input", "dx": "input", "y": "output", "dy": "output"}
NAMES = {"x": "input x", "y": "output y", "weight": "kernel weight"}
CORNERS = ("upper left", "upper right", "lower left", "lower right")
GRADIENTS = {
    "input gradient": "each dy goes back, weighted, to the pixels that it came from",
    "weight gradient": "dy walks over the image, and each weight sums what it met",
}
SHOWN = ("stride", "padding", "output_padding", "dilation", "groups")
FORMULAS = ("document", "output size", "parameters")  # shown beside those of the counters
SAMPLED = ("corner weights", "corner values", "mask")  # passes whose zeros are no padding
Key = tuple[Any, ...]
Keys = tuple[Key, "Key | None", "Key | None"]  # adds to, value, factor


def stepper(
    variant: str,
    x: ArrayLike,
    *arrays: ArrayLike,
    by: str = "output",
    ask: bool = False,
    **options: Any,
) -> Html:
    """Return the HTML of `show_steps`."""
    asking = {"ask": ""} if ask else {}
    return Html(
        element("stepper", play(variant, x, *arrays, **options), by=by, **asking) + script()
    )


def element(kind: str, plays: Any = None, *inside: str, **data: str) -> str:
    """Return an element that the script brings to life, with what it plays as plain values.

    Its keys are its own: JupyterLab takes none of them for a shortcut.
    """
    if plays is not None:
        try:
            data["trace"] = json.dumps(plays, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise ValueError(
                "backend: a page adds finite numbers alone, and these hold nan or inf; "
                "write backend='grid'"
            ) from error
        for letter, entity in ("&", "&amp;"), ("'", "&#39;"), ("<", "&lt;"):
            data["trace"] = data["trace"].replace(letter, entity)
    given = "".join(f" data-{name}='{value}'" for name, value in data.items())
    held = "".join(inside) or "This plays where a page may run scripts."
    keys = "data-lm-suppress-shortcuts='true'"
    return f"<div class='jitconv-{kind}' {keys}{given}>{held}</div>"


def script() -> str:
    """Return the script that plays every stepper of a page, and its style."""
    folder = resources.files(__package__)
    code, style = ((folder / f"stepper.{kind}").read_text("utf8") for kind in ("js", "css"))
    return f"<script>{code.replace('STYLE', json.dumps(style), 1)}</script>"


def play(variant: str, x: ArrayLike, *arrays: ArrayLike, **options: Any) -> dict[str, Any]:
    """Return what the script plays, as plain values.

    Returns
    -------
    dict
        "panels" of blocks of cells, which are numbered through; "steps": [adds to, value's cell,
        factor's cell, value, factor, line, variables, pass, window, on padding]; "order", that of
        the windows; and what the counters must meet.
    """
    if (variant, options.get("method")) == ("standard", "winograd"):
        tile, report = play_tile(x, *arrays, **options)
        return {**tile, **_counters(report)}
    if variant in ("pointwise", "depthwise separable"):  # a weight (M, C) is (M, C, 1, 1)
        arrays = tuple(np.expand_dims(a, (-2, -1)) if np.ndim(a) == 2 else a for a in arrays)
    steps = trace(variant, x, *arrays, **options)  # which refuses what is no variant
    if not 0 < len(steps) <= LIMIT:
        raise ValueError(
            f"show_steps: this takes {len(steps):,} multiplies, and 1 to {LIMIT:,} can be stepped "
            "through; take a smaller image or fewer channels"
        )
    record = TRACED[variant]
    call = inspect.signature(record.function).bind(x, *arrays, **options)
    given = {
        name: _whole(np.asarray(array, np.float64), record.arrays[name])
        for name, array in call.arguments.items()
        if name in record.arrays and array is not None
    }
    y, report = record.function(x, *arrays, **{**options, "method": "direct"})
    y = np.asarray(y)
    scene = _Scene(variant, steps, given, y.shape if y.ndim == 4 else (1, *y.shape), options)
    return {
        "title": variant if variant in GRADIENTS else f"{variant} convolution",
        "idea": GRADIENTS.get(variant) or VARIANTS[variant].idea,
        "options": ", ".join(f"{k} {v}" for k, v in options.items() if k in SHOWN),
        **scene.played(),
        **_counters(report),
    }


def _whole(array: np.ndarray, known: Array) -> np.ndarray:
    """Return an array with an axis N also where there is one image, as the steps index it."""
    single = array.ndim < len(known.shape.split(", ")) and known.role != "factor"
    return array[np.newaxis] if single else array


def _plain(value: Any) -> float | int:
    value = float(value)
    return int(value) if value.is_integer() else float(f"{value:.12g}")


def _joined(index: tuple[int, ...]) -> str:
    return ", ".join(map(str, index))


def _counters(report: CostReport) -> dict[str, Any]:
    """Return the counts that the steps must meet, by formula."""
    costs, passes = report.costs, [part for part in report.passes if part.multiplies]
    formulas = [costs[part.equals] for part in passes]
    total = int(sum(f.value for f in formulas))
    inside = int(costs["in bounds"].value) if passes[0].by_definition else total
    return {
        "passes": [
            [part.name, int(formula.value), f"{formula.symbols} = {formula.substituted}"]
            for part, formula in zip(passes, formulas, strict=True)
        ],
        "multiplies": total,
        "padding": [total - inside, f"{total:,} \u2212 {inside:,} in bounds"],
        "formulas": {name: str(costs[name]) for name in FORMULAS if name in costs},
    }


def window_of(x: np.ndarray, weight: np.ndarray, options: dict[str, Any]) -> Window:
    """Return the geometry of a deformable convolution."""
    geometry = {k: v for k, v in options.items() if k in ("stride", "padding", "dilation")}
    return shapes.window(x.shape[2:], weight.shape[2:], **geometry)


def looks(offset: np.ndarray, window: Window, place: Key, tap: int) -> tuple[float, float]:
    """Return where a tap of an output's place (n, oh, ow) looks, between the pixels."""
    n, *output = place
    KH, KW = window.kernel
    row, column = (
        output[axis] * window.stride[axis]
        - window.padding[axis][0]
        + divmod(tap % (KH * KW), KW)[axis] * window.dilation[axis]
        + float(offset[(n, 2 * tap + axis, *output)])
        for axis in (0, 1)
    )
    return row, column


class Cell(NamedTuple):
    """A number of a block: where it stands, what it is at first, and what it is called."""

    key: Key
    row: int
    column: int
    value: float | None
    name: str
    layer: int = 0  # of a block that shows one layer at a time


class _Scene:
    """The panels of a call, and its steps on their cells.

    A cell is known by a key: (array's name, index) or ("made", stage, index) for what a pass has
    made; of a deformable convolution also ("corner", place, tap, number) and
    ("sample", place, tap, channel), where a place is (n, oh, ow).
    """

    def __init__(
        self,
        variant: str,
        steps: list[Step],
        given: dict[str, np.ndarray],
        output: tuple[int, ...],
        options: dict[str, Any],
    ) -> None:
        self.variant, self.steps, self.given, self.options = variant, steps, given, options
        self.record, self.output = TRACED[variant], output
        (self.source,) = (n for n, a in self.record.arrays.items() if a.role == "image")
        self.deformable = "offset" in given
        if self.deformable:
            self.window = window_of(given[self.source], given["weight"], options)
        self.at = [dict(step.variables) for step in steps]
        self.panels: list[dict[str, Any]] = []
        self.ids: dict[Key, int] = {}
        corners: dict[Key, int] = {}
        self.keys: list[Keys] = [
            self._sampled(step, at, corners) if self.deformable else self._dense(step)
            for step, at in zip(steps, self.at, strict=True)
        ]

    def _image(self, stage: int, place: Place) -> Key:
        """Return the key of a pixel that a stage reads."""
        return (self.source, place) if stage == 0 else ("made", stage - 1, place)

    def _dense(self, step: Step) -> Keys:
        value = None if step.around is None else self._image(step.stage, step.around)
        factor = self.record.passes[step.part], step.weight
        return ("made", step.stage, step.output), value, factor

    def _sampled(self, step: Step, at: dict[str, int], corners: dict[Key, int]) -> Keys:
        place, tap = (at["n"], at["oh"], at["ow"]), at["tap"]
        sample = "sample", place, tap, at.get("c")
        if step.part == "corner weights":
            return ("corner", place, tap, step.output[1]), None, None
        if step.part == "corner values":  # four of a sample, in their order
            number = corners[sample] = corners.get(sample, -1) + 1
            pixel = step.input or self._beyond(place, tap, at["c"], number)
            return sample, pixel and (self.source, pixel), ("corner", place, tap, number)
        if step.part == "mask":
            return sample, sample, ("mask", step.weight)
        return ("made", 0, step.output), sample, ("weight", step.weight)

    def _window(self, number: int) -> Key:
        """Return what a step belongs to: an output, or the pixel of which it lands a part."""
        (target, value, _), at = self.keys[number], self.at[number]
        if self.deformable:
            return at["n"], at["oh"], at["ow"]
        place = value[-1] if value is not None and self.variant in SCATTERED else target[-1]
        return self.steps[number].stage, place

    def played(self) -> dict[str, Any]:
        """Return panels, steps, their order by windows, and the sources."""
        self._lay_out()
        parts = [part for part in self.record.passes if any(s.part == part for s in self.steps)]
        windows: dict[Key, int] = {}
        lines: dict[tuple, int] = {}
        sources: dict[str, int] = {}
        starts: dict[int, float | int] = {}
        played = []
        for number, (step, at, keys) in enumerate(zip(self.steps, self.at, self.keys, strict=True)):
            target, value, factor = (-1 if key is None else self.ids[key] for key in keys)
            starts.setdefault(target, _plain(step.sum - step.value * step.factor))
            source = sources.setdefault(step.loops, len(sources))
            played.append(
                [
                    *(target, value, factor, _plain(step.value), _plain(step.factor)),
                    lines.setdefault((source, step.line, tuple(at)), len(lines)),
                    list(at.values()),
                    parts.index(step.part),
                    windows.setdefault(self._window(number), len(windows)),
                    int(not step.inside and step.part not in SAMPLED),
                ]
            )
        order = sorted(range(len(played)), key=lambda n: (self._window(n), self.at[n].get("tap")))
        return {
            "panels": self.panels,
            "steps": played,
            "order": order,
            "starts": {cell: start for cell, start in starts.items() if start},
            "scattered": self.variant in SCATTERED,
            "lines": list(lines),
            "sources": [
                [name.partition(":")[2], code_lines(pkgutil.resolve_name(name))] for name in sources
            ],
        }

    def _lay_out(self) -> None:
        image = self.given[self.source]
        self._planes(0, image, self.source)
        if self.deformable:
            self._samples(*image.shape[1:])
        last = max(step.stage for step in self.steps)
        for stage in range(last + 1):
            mine = [n for n, step in enumerate(self.steps) if step.stage == stage]
            for part in dict.fromkeys(self.steps[n].part for n in mine):
                if (name := self.record.passes[part]) in self.given:
                    self._weights(name, [n for n in mine if self.steps[n].part == part])
            made = [self.steps[n] for n in mine if self.keys[n][0][0] == "made"]
            if stage == last and "bias" in self.given:
                self._add("bias", "kernel", [((0, 0), "", self._bias())])
            extent = tuple(np.max([step.output for step in made], axis=0) + 1)
            word = made[0].target.partition("[")[0]
            if stage == last:
                extent, word = self.output, word if self.variant not in VARIANTS else "y"
            self._planes(stage + 1, np.full(extent, np.nan), word)

    def _add(
        self, title: str, kind: str, blocks: list[tuple[tuple[int, int], str, list[Cell]]]
    ) -> None:
        panel: dict[str, Any] = {"title": title, "kind": kind, "blocks": []}
        for place, label, cells in blocks:
            for cell in cells:
                self.ids[cell.key] = len(self.ids)
            panel["blocks"].append(
                {"place": place, "label": label, "cells": [list(cell[1:]) for cell in cells]}
            )
        self.panels.append(panel)

    def _planes(self, stage: int, values: np.ndarray, word: str) -> None:
        """Add the image (N, C, H, W) that a stage reads, with the padding that it meets."""
        N, C, H, W = values.shape
        whole = [(0, 0, 0, 0), (0, 0, H - 1, W - 1)]
        if stage == 0 and self.deformable:  # samples up to a pixel outside count
            whole = [(0, 0, -1, -1), (0, 0, H, W)]
        like = self._image(stage, None)[:-1]
        whole += [key[-1] for _, key, _ in self.keys if key is not None and key[:-1] == like]
        (*_, top, left), (*_, bottom, right) = np.min(whole, axis=0), np.max(whole, axis=0)
        blocks = []
        for n, c in np.ndindex(N, C):
            cells = []
            for row, column in np.ndindex(bottom + 1 - top, right + 1 - left):
                place = n, c, int(row + top), int(column + left)
                inside = 0 <= place[2] < H and 0 <= place[3] < W
                value = values[place] if inside else 0
                name = f"{word}[{_joined(place if N > 1 or word == 'dweight' else place[1:])}]"
                cells.append(
                    Cell(
                        self._image(stage, place),
                        *(row, column, None if np.isnan(value) else _plain(value)),
                        name if inside else "padding",
                    )
                )
            label = ", ".join([f"image {n}"] * (N > 1) + [f"channel {c}"] * (C > 1))
            if word == "dweight":
                blocks.append(((c, n), f"m {n}, c {c}", cells))
            else:
                blocks.append(((n * C + c, 0), label, cells))
        kind = "kernel" if word == "dweight" else KINDS.get(word, "between")
        self._add(NAMES.get(word, word), kind, blocks)

    def _weights(self, name: str, mine: list[int]) -> None:
        """Add kernels, each in the row of what it reads and the column of what it makes."""
        array = self.given[name]
        letters = self.record.arrays[name].shape.split(", ")[-array.ndim :]
        down = [axis for axis, letter in enumerate(letters) if letter in ("KH", "OH")]
        along = [axis for axis, letter in enumerate(letters) if letter in ("KW", "OW")]
        lead = [axis for axis in range(array.ndim) if axis not in down + along]
        meets: dict[Key, tuple[int, int]] = {}
        for n in mine:
            step, index = self.steps[n], self.keys[n][2][-1]  # type: ignore[index]
            read = self.at[n].get("c", 0) if self.deformable else step.around[1]  # type: ignore[index]
            made = step.output[0 if self.variant == "weight gradient" else 1]
            meets.setdefault(tuple(index[axis] for axis in lead), (read, made))
        kernels: dict[Key, list[Cell]] = {}
        for index, value in np.ndenumerate(array):
            row, column = sum(index[axis] for axis in down), sum(index[axis] for axis in along)
            shown = index[letters[0] == "N" and len(array) == 1 :]
            cell = Cell((name, index), row, column, _plain(value), f"{name}[{_joined(shown)}]")
            kernels.setdefault(tuple(index[axis] for axis in lead), []).append(cell)
        taken: dict[tuple[int, int], Key] = {}
        blocks = []
        for kernel, cells in kernels.items():
            row, column = meets.get(kernel, (0, 0))
            while (row, column) in taken:
                column += 1
            taken[row, column] = kernel
            named = [
                f"{letters[axis][0].lower()} {i}"
                for axis, i in zip(lead, kernel, strict=True)
                if array.shape[axis] > 1
            ]
            blocks.append(((row, column), ", ".join(named), cells))
        self._add(NAMES.get(name, name), KINDS.get(name, "kernel"), blocks)

    def _bias(self) -> list[Cell]:
        """Return the cells of the bias, from which each output's sum starts."""
        return [
            Cell(("bias", m), m, 0, _plain(value), f"bias[{m}]")
            for m, value in enumerate(self.given["bias"])
        ]

    def _samples(self, C: int, H: int, W: int) -> None:
        """Add what a deformable convolution makes on its way, a layer for each place or tap."""
        KH, KW = self.given["weight"].shape[2:]
        targets = list(dict.fromkeys(target for target, _, _ in self.keys))
        tried: dict[Key, int] = {}  # places and taps
        places: dict[Key, int] = {}
        corners: list[Cell] = []
        samples: list[list[Cell]] = [[] for _ in range(C)]
        for key in targets:
            if key[0] == "corner":
                _, place, tap, number = key
                layer = tried.setdefault((place, tap), len(tried))
                name = f"{CORNERS[number]} share"
                corners.append(Cell(key, number // 2, number % 2, None, name, layer))
            elif key[0] == "sample":
                _, place, tap, c = key
                kh, kw = divmod(tap % (KH * KW), KW)
                layer = places.setdefault(place, len(places))
                samples[c].append(Cell(key, kh, kw, None, f"sample[{c}, {kh}, {kw}]", layer))
        self._add("corner weights", "between", [((0, 0), "of a tap", corners)])
        blocks = [
            ((c, 0), f"channel {c}" if C > 1 else "of an output", cells)
            for c, cells in enumerate(samples)
        ]
        self._add("samples", "between", blocks)
        self.panels[0]["points"] = points = []
        G = self.given["offset"].shape[1] // (2 * KH * KW)
        for (place, tap), layer in tried.items():
            row, column = (round(1 + at, 3) for at in self._looks(place, tap))
            if not (-0.4 < row < H + 1.4 and -0.4 < column < W + 1.4):
                continue  # beyond the panel
            g = tap // (KH * KW)
            for c in range(g * C // G, (g + 1) * C // G):
                points.append([place[0] * C + c, row, column, places[place], layer])

    def _looks(self, place: Key, tap: int) -> tuple[float, float]:
        return looks(self.given["offset"], self.window, place, tap)

    def _beyond(self, place: Key, tap: int, c: int, number: int) -> Place:
        """Return where a corner lies that is no pixel, if that is on the ring around the image."""
        H, W = self.given[self.source].shape[2:]
        ih, iw = (
            math.floor(at) + step
            for at, step in zip(self._looks(place, tap), divmod(number, 2), strict=True)
        )
        return (place[0], c, ih, iw) if -1 <= ih <= H and -1 <= iw <= W else None
