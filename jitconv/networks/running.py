"""Run every layer of a network at full size, and put what was counted beside the formulas."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from .. import checks, shapes, table
from ..costs.report import ConvResult, CostReport
from ..images.resample import max_pool2d
from ..variants import VARIANTS, warm_up
from ..variants.front_door import conv2d
from ..variants.pointwise import pointwise_conv2d
from .network import Network, Row

COLUMNS = {  # and their widths: rows are printed one by one
    "layer": "<20",
    "kind": "<11",
    "output": ">13",
    "dense": ">13",
    "in bounds": ">13",
    "measured": ">13",
    "": "<1",
    "on padding": ">10",
    "ms": ">8",
    "GFLOP/s": ">7",
}
LEGEND = (
    "✓: measured = dense, or in bounds where the loops skip padding; weights = formula",
    "GFLOP/s: executed FLOPs (2 a multiply) a nanosecond",
)


class Ran(NamedTuple):
    """A convolution of a network that ran.

    Attributes
    ----------
    row : Row
        Its place in the network, with its formulas.
    report : CostReport
        What its loops counted.
    seconds : float
        How long it took, without compilation.
    """

    row: Row
    report: CostReport
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether what was counted, and the weights that were held, are the network's formulas."""
        biases = self.row.layer.bias * self.row.layer.channels
        return (
            self.report.agrees
            and self.report.multiplies_in_bounds == self.row.costs["in bounds"]
            and self.report.parameters == self.row.weights + biases
        )

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        row = self.row
        shape = "×".join(map(str, row.output_shape))
        counts = row.multiplies, row.costs["in bounds"], self.report, self.agrees, self.seconds
        return row.layer.name, row.kind, shape, *_numbers(*counts)


def _numbers(
    dense: int, in_bounds: int, counted: CostReport | Run, agrees: bool, seconds: float
) -> tuple[str, ...]:
    multiplies, on_padding = counted.multiplies, counted.multiplies_on_padding
    return (
        f"{dense:,}",
        f"{in_bounds:,}",
        f"{multiplies:,}",
        "✓" if agrees else "✗",
        f"{on_padding / max(1, multiplies):.1%}",
        f"{1e3 * seconds:,.2f}",
        f"{2e-9 * multiplies / max(seconds, 1e-9):.1f}",
    )


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What every convolution of a network counted, beside the formulas.

    Attributes
    ----------
    network : Network
        What ran.
    rows : tuple of Ran
        Its convolutions and fully connected layers.
    output : numpy.ndarray (C, H, W)
        Of its last layer.
    """

    network: Network
    rows: tuple[Ran, ...]
    output: np.ndarray

    @property
    def agrees(self) -> bool:
        """Whether measured is formula in every layer."""
        return all(ran.agrees for ran in self.rows)

    @property
    def multiplies(self) -> int:
        """Multiplies that the loops executed."""
        return sum(ran.report.multiplies for ran in self.rows)

    @property
    def multiplies_on_padding(self) -> int:
        """Those of them whose value is a zero of the padding."""
        return sum(ran.report.multiplies_on_padding for ran in self.rows)

    @property
    def seconds(self) -> float:
        """Time of all convolutions and fully connected layers."""
        return sum(ran.seconds for ran in self.rows)

    def by_kind(self) -> dict[str, int]:
        """Return the measured multiplies of each kind of layer, the largest first."""
        kinds: dict[str, int] = {}
        for ran in self.rows:
            kinds[ran.row.kind] = kinds.get(ran.row.kind, 0) + ran.report.multiplies
        return dict(sorted(kinds.items(), key=lambda item: -item[1]))

    def total(self) -> tuple[str, ...]:
        """Return the last row of the table as text."""
        dense, in_bounds = self.network.multiplies, self.network.multiplies_in_bounds
        return "total", "", "", *_numbers(dense, in_bounds, self, self.agrees, self.seconds)

    def __str__(self) -> str:
        rows = [*(ran.cells() for ran in self.rows), self.total()]
        lines = [table.line(cells, COLUMNS) for cells in [COLUMNS, *rows]]
        return "\n".join([self.network.title, *lines, *LEGEND])

    __repr__ = __str__

    def _table(self) -> tuple[list[str], list[tuple[str, ...]], str]:
        align = "".join(width[0] for width in COLUMNS.values())
        return list(COLUMNS), [*(ran.cells() for ran in self.rows), self.total()], align

    def _repr_html_(self) -> str:
        return table.html(*self._table(), "\n".join([self.network.title, *LEGEND]))

    def to_markdown(self) -> str:
        """Return the run as a Markdown table."""
        return "\n\n".join([self.network.title, table.markdown(*self._table()), *LEGEND])

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain values that `json.dump` takes."""
        rows = [
            {"name": ran.row.layer.name, "seconds": ran.seconds, **ran.report.to_dict()}
            for ran in self.rows
        ]
        return {"network": self.network.name, "agrees": self.agrees, "layers": rows}


def run(network: Network, seed: int = 0, image: ArrayLike | None = None) -> Run:
    """Run a network on random weights; a terminal is shown its progress.

    Parameters
    ----------
    network : Network
        What to run.
    seed : int
        Of the weights, and of the image where there is none.
    image : array_like (C, H, W), optional
        Float32 or float64, of the network's input shape.

    Returns
    -------
    Run
        A row for every convolution and fully connected layer.

    Raises
    ------
    TypeError, ValueError
        If seed is no integer of at least 0, or the image of another shape or type.

    Examples
    --------
    >>> from jitconv.networks import context_module
    >>> done = run(context_module(2, resolution=16))
    >>> done.agrees, done.multiplies <= done.network.multiplies
    (True, True)
    """
    steps = Steps(network, seed, image)
    shown = sys.stderr.isatty()
    rows = []
    for ran in steps:
        rows.append(ran)
        if shown:
            print(f"\r{network.name}: {ran.row.layer.name:40}", end="", file=sys.stderr, flush=True)
    if shown:
        print(f"\r{'':{len(network.name) + 42}}\r", end="", file=sys.stderr, flush=True)
    return Run(network, tuple(rows), steps.output)


class Steps:
    """Yields each convolution of a network as it finishes; `output` holds the last output."""

    def __init__(self, network: Network, seed: int = 0, image: ArrayLike | None = None):
        if not network.connected:
            raise ValueError(f"network: how the layers of {network.name} connect is not known")
        self.network = network
        self.rng = np.random.default_rng(checks.integer("seed", seed, 0))
        if image is None:
            image = self.rng.standard_normal(network.input_shape, np.float32)
        self.output = checks.floats("image", image)
        if self.output.shape != network.input_shape:
            shape = self.output.shape
            raise ValueError(f"image: must be {network.input_shape}, as the network, got {shape}")

    def __iter__(self) -> Iterator[Ran]:
        warm_up(self.output.dtype)
        rows, before = self.network.rows, ""
        reads = []  # of each row, by name
        for row in rows:
            reads.append(row.layer.inputs or (before,))
            before = row.layer.name
        last = {name: number for number, names in enumerate(reads) for name in names}
        kept = {"": self.output}
        for number, row in enumerate(rows):
            inputs = [kept[name] for name in reads[number]]
            for name in set(reads[number]):
                if last[name] == number:  # no layer below reads it
                    del kept[name]
            if row.costs:
                weight, bias = self._weights(row)
                begin = time.perf_counter()
                y, report = _convolve(row, inputs[0], weight, bias)
                yield Ran(row, report, time.perf_counter() - begin)
            else:
                y = _other(row, inputs)
            del inputs
            if row.layer.relu:
                y = np.maximum(y, 0)
            kept[row.layer.name] = self.output = y

    def _weights(self, row: Row) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw weights that keep the size of the values, as He's initialisation does."""
        layer, C, M = row.layer, row.input_shapes[0][0], row.layer.channels
        kernel = row.window.kernel if row.window else (1, 1)
        if layer.operation == "linear":
            shape = (M, int(np.prod(row.input_shapes[0])), *kernel)
        elif layer.operation == "transposed":
            shape = (C, M // layer.groups, *kernel)
        else:
            shape = (M, C // layer.groups, *kernel)
        fan_in = row.multiplies / max(1, int(np.prod(row.output_shape)))
        weight = self.rng.standard_normal(shape, np.float32)
        weight *= np.float32((2 / fan_in) ** 0.5)
        bias = self.rng.standard_normal(M, np.float32) if layer.bias else None
        dtype = self.output.dtype
        return weight.astype(dtype, copy=False), None if bias is None else bias.astype(dtype)


def _convolve(row: Row, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> ConvResult:
    layer, window = row.layer, row.window
    if window is None or layer.operation == "linear":
        return pointwise_conv2d(x.reshape(-1, 1, 1), weight, bias)
    if row.kind == "pointwise" and np.any(window.padding):
        return conv2d(x, weight, bias, stride=window.stride, padding=window.padding)
    variant, options = VARIANTS[row.kind], {"groups": layer.groups, **window._asdict()}
    kept = {name: options[name] for name in variant.keywords & set(options)}
    return variant.function(x, weight, bias, **kept)


def _other(row: Row, inputs: list[np.ndarray]) -> np.ndarray:
    layer, window, x = row.layer, row.window, inputs[0]
    if layer.operation == "add":
        return sum(inputs[1:], x)
    if layer.operation == "concatenate":
        return np.concatenate(inputs)
    if layer.operation == "shuffle":  # one channel of each group in turn
        return x.reshape(layer.groups, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    if window is None:  # the whole image
        return x.mean(axis=(1, 2), keepdims=True)
    if layer.operation == "max pool":
        return max_pool2d(x, window.kernel, stride=window.stride, padding=window.padding)
    # pixels and padding count, but not what `ceil` adds after them
    own = shapes.window(x.shape[1:], layer.kernel_size, layer.stride, layer.padding).padding
    ones = np.pad(np.ones((1, *x.shape[1:]), x.dtype), ((0, 0), *own), constant_values=1)
    more = [(0, ends[1] - given[1]) for ends, given in zip(window.padding, own, strict=True)]
    (SH, SW), padded = window.stride, np.pad(x, ((0, 0), *window.padding))
    sums, counts = (
        sliding_window_view(a, window.kernel, axis=(1, 2))[:, ::SH, ::SW].sum(axis=(3, 4))
        for a in (padded, np.pad(ones, ((0, 0), *more)))
    )
    return sums / counts
