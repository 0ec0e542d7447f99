"""What a model of one's own cost: a row for each layer that ran, totals, and what is missing."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import checks, table
from ..costs.report import CostReport, CountMismatch
from ..networks import Layer, Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {  # and their widths: rows are printed one by one
    "layer": "<44",
    "variant": "<20",
    "output": ">15",
    "measured": ">15",
    "": "<1",
    "share": ">6",
    "on padding": ">10",
    "difference": ">10",
    "ms": ">9",
}
LEGEND = (
    "measured: multiplies that the loops executed; ✓: each is what its formula says",
    "difference: greatest from the framework's output, as a share of its greatest value",
)


AsData = tuple[Layer, tuple[int, int, int]]


class Difference(NamedTuple):
    """How far an output is from the framework's.

    Attributes
    ----------
    absolute : float
        Greatest difference of two numbers.
    relative : float
        The same as a share of the framework's greatest number.
    """

    absolute: float
    relative: float

    @classmethod
    def between(cls, ours: np.ndarray, theirs: np.ndarray) -> Difference:
        """Return the difference of two arrays; NaN or infinity in both is none.

        Examples
        --------
        >>> Difference.between(np.array([1.0, np.inf]), np.array([2.0, np.inf]))
        Difference(absolute=1.0, relative=0.5)
        """
        with np.errstate(invalid="ignore", over="ignore"):
            apart = float(np.abs(ours - theirs).max())
            greatest = float(np.abs(theirs).max())
            if not (math.isfinite(apart) and math.isfinite(greatest)):
                alike = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
                apart = float(np.abs(ours - theirs, where=~alike, out=np.zeros_like(ours)).max())
                apart = math.inf if math.isnan(apart) else apart
                greatest = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0))
        return cls(apart, apart / greatest if greatest else apart and math.inf)

    def to_dict(self) -> dict[str, float | str]:
        """Return both as JSON has them: "inf" is a word there."""
        return {k: v if math.isfinite(v) else str(v) for k, v in self._asdict().items()}


@dataclass(frozen=True)
class Row:
    """A layer that ran on jitconv's loops.

    Attributes
    ----------
    name : str
        The path of its module, or the name of its node.
    role : str
        "forward", "input gradient" or "weight gradient"; "gradient" where it is not known of what.
    operation : str
        What the framework calls it.
    input_shape, output_shape : tuple of int
        In the framework's axes.
    report : CostReport
        What its loops counted, beside the formulas of the variant that it is.
    seconds : float
        How long jitconv took, copies of the arrays included, compilation not.
    parameters : int
        Weights and biases that no row above has used; 0 for a product of two computed matrices.
    difference : Difference or None
        From the framework's own output; None where that was not computed.
    biases : int
        How many of the parameters are biases.
    find_flops : callable or None
        Gives the FLOPs of torch's FlopCounterMode; called when they are first asked for.
    find_layer : callable or None
        Gives the layer as data, and the (C, H, W) of one image that it reads; None for a gradient
        or a product of computed matrices.
    note : str
        What was done besides: "float16 computed in float32", "copied from cuda:0".
    """

    name: str
    role: str
    operation: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    report: CostReport
    seconds: float
    parameters: int
    difference: Difference | None = None
    biases: int = 0
    find_flops: Callable[[], int] | None = field(default=None, repr=False, compare=False)
    find_layer: Callable[[], AsData] | None = field(default=None, repr=False, compare=False)
    note: str = ""

    @functools.cached_property
    def flop_counter(self) -> int | None:
        """FLOPs by the formula of torch's FlopCounterMode: 0 without a formula, None for ONNX."""
        return None if self.find_flops is None else self.find_flops()

    @property
    def variant(self) -> str:
        """Which of the nine it is."""
        return self.report.variant.removeprefix("gradient of ")

    @property
    def kind(self) -> str:
        """Its variant: what a picture colours it by."""
        return self.variant

    @property
    def weights(self) -> int:
        """Its parameters without the biases."""
        return self.parameters - self.biases

    @property
    def label(self) -> str:
        """Its name, with "dx" or "dw" for a gradient."""
        return self.name + self._suffix

    @property
    def _suffix(self) -> str:
        short = {"forward": "", "input gradient": " dx", "weight gradient": " dw"}
        return short.get(self.role, " gradient")

    @property
    def multiplies(self) -> int:
        """Multiplies that the loops executed."""
        return self.report.multiplies

    def cells(self, of: int = 0) -> tuple[str, ...]:
        """Return the row as text; `of` is the total that its share is of."""
        shape = "×".join(map(str, self.output_shape))
        return (self.name, self.variant + self._suffix, shape, *_numbers([self], of))


def _numbers(rows: Sequence[Row], of: int) -> tuple[str, ...]:
    multiplies = sum(row.multiplies for row in rows)
    on_padding = sum(row.report.multiplies_on_padding for row in rows)
    differences = [row.difference.relative for row in rows if row.difference is not None]
    return (
        f"{multiplies:,}",
        "✓✗"[any(not row.report.agrees for row in rows)] if rows else "",
        f"{multiplies / of:.1%}" if of else "",
        f"{on_padding / max(1, multiplies):.1%}",
        f"{max(differences):.1e}" if differences else "",
        f"{1e3 * sum(row.seconds for row in rows):,.2f}",
    )


@dataclass(eq=False, repr=False)
class Measured:
    """What a model's layers counted on jitconv's loops.

    Attributes
    ----------
    name : str
        What ran.
    rows : list of Row
        A layer each, in the order in which they ran. Inside ``with measuring()`` it grows.
    output : object
        What the model returned, as its framework returns it.
    not_measured : dict of str to int
        What ran as the framework runs it, and how often: convolutions and products that jitconv has
        no loops for, and all else but what only makes or moves numbers.
    flop_counter_besides : dict of str to int
        FLOPs that torch's FlopCounterMode gives for what was not measured.
    remarks : list of str
        What else is to be known of the whole.
    depth : int or None
        Modules within modules that are shown, each with its sum; None shows every layer.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    output: Any = None
    not_measured: dict[str, int] = field(default_factory=dict)
    flop_counter_besides: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    depth: int | None = None

    @property
    def multiplies(self) -> int:
        """Multiplies that the loops executed."""
        return sum(row.multiplies for row in self.rows)

    @property
    def multiplies_on_padding(self) -> int:
        """Those of them whose value is a zero of the padding."""
        return sum(row.report.multiplies_on_padding for row in self.rows)

    @property
    def multiplies_in_bounds(self) -> int:
        """Those of them that are not on padding."""
        return self.multiplies - self.multiplies_on_padding

    @property
    def macs(self) -> int:
        """Multiplies that an add follows."""
        return sum(row.report.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """FLOPs, floating-point operations: 2 × MACs."""
        return 2 * self.macs

    @property
    def parameters(self) -> int:
        """Weights and biases of the measured layers; what several calls share is counted once."""
        return sum(row.parameters for row in self.rows)

    @property
    def seconds(self) -> float:
        """Time that the measured layers took."""
        return sum(row.seconds for row in self.rows)

    @property
    def difference(self) -> Difference | None:
        """The greatest differences of all rows."""
        found = [row.difference for row in self.rows if row.difference is not None]
        if not found:
            return None
        return Difference(max(d.absolute for d in found), max(d.relative for d in found))

    @property
    def flop_counter(self) -> int | None:
        """FLOPs that torch's FlopCounterMode gives for the same calls; None for an ONNX model."""
        found = [row.flop_counter for row in self.rows if row.flop_counter is not None]
        if len(found) < len(self.rows) or not (self.rows or self.flop_counter_besides):
            return None
        return sum(found) + sum(self.flop_counter_besides.values())

    @property
    def network(self) -> Network:
        """The layers that have weights, as data: what `networks.whatif` reads.

        For one image of a batch. The rows of a linear layer are its pixels: of one image, if the
        convolutions say how many there are, else of all.
        """
        seen: dict[str, int] = {}
        placed = []
        convolved = {row.input_shape[0] for row in self.rows if "conv" in row.operation.lower()}
        images = convolved.pop() if len(convolved) == 1 else 1
        for row in self.rows:
            if row.find_layer is not None:
                layer, plane = row.find_layer()
                if "conv" not in row.operation.lower() and plane[1] % images == 0:
                    plane = (plane[0], plane[1] // images, plane[2])
                seen[row.name] = seen.get(row.name, 0) + 1
                name = row.name if seen[row.name] == 1 else f"{row.name} ({seen[row.name]})"
                placed.append((replace(layer, name=name), plane))
        return Network.of_layers(self.name, placed)

    @property
    def title(self) -> str:
        """Name and totals on a line."""
        return (
            f"{self.name}: {self.parameters:,} parameters, {self.multiplies:,} multiplies in "
            + _calls(self.rows)
        )

    def by_variant(self) -> dict[str, int]:
        """Return the measured multiplies of each variant, the largest first."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.variant] = found.get(row.variant, 0) + row.multiplies
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def verify(self) -> Measured:
        """Check that every row's count is what its formulas say.

        Returns
        -------
        Measured
            This one.

        Raises
        ------
        CountMismatch
            Naming the layer, the measured number and the formula's.
        """
        for row in self.rows:
            try:
                row.report.verify()
            except CountMismatch as error:
                raise CountMismatch(f"{row.name}: {error}") from None
        return self

    def fold(self, depth: int | None) -> Measured:
        """Return the same, shown by modules of at most `depth` names in their path, with sums.

        Raises
        ------
        TypeError, ValueError
            If depth is neither None nor an integer of at least 1.
        """
        if depth is not None:
            depth = checks.integer("depth", depth, 1)
        return replace(self, depth=depth)

    def why(self) -> list[str]:
        """Return how FlopCounterMode's FLOPs come to differ from those measured, a line a reason.

        Empty where they do not, or where there is no such number.
        """
        if self.flop_counter is None:
            return []
        sums: dict[str, int] = {}
        for row in self.rows:
            for reason, more in _reasons(row):
                sums[reason] = sums.get(reason, 0) + more
        for name, flops in self.flop_counter_besides.items():
            sums[f"it has a formula for {name}, which is not measured here"] = flops
        return [f"{more:+,}: {reason}" for reason, more in sums.items() if more]

    def summary(self) -> list[str]:
        """Return what the table of rows does not say, a line each."""
        lines = [
            *LEGEND,
            f"in bounds: {self.multiplies_in_bounds:,} multiplies; FLOPs, 2 a MAC: {self.flops:,}",
        ]
        if self.flop_counter is not None:
            lines.append(f"torch's FlopCounterMode: {self.flop_counter:,} FLOPs by formula")
            lines += [f"  {line}" for line in self.why()]
        lines += self.remarks
        notes = [row.note for row in self.rows if row.note]
        lines += [f"{note} in {notes.count(note)} of them" for note in dict.fromkeys(notes)]
        names = [f"{name} {calls}" for name, calls in self.not_measured.items()]
        return [*lines, f"not measured: {', '.join(names) or 'nothing'}"]

    def total(self) -> tuple[str, ...]:
        """Return the last row of the table as text."""
        return "total", "", "", *_numbers(self.rows, self.multiplies)

    def _table(self) -> tuple[list[str], list[tuple[str, ...]], str]:
        of = self.multiplies
        rows = [row.cells(of) for row in self.rows]
        if self.depth is not None:
            rows = list(_folded(self.rows, 1, self.depth, of))
        rows.append(self.total())
        return list(COLUMNS), rows, "".join(width[0] for width in COLUMNS.values())

    def __str__(self) -> str:
        return "\n".join([self.title, *table.text(*self._table(), width=160), *self.summary()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        below = "<br>".join(line.replace("  ", "&emsp;") for line in map(escape, self.summary()))
        return f"{table.html(*self._table(), self.title)}<p>{below}</p>"

    def to_markdown(self) -> str:
        """Return the rows and the totals as Markdown."""
        listed = "\n".join(f"- {line.strip()}" for line in self.summary())
        return "\n\n".join([self.title, table.markdown(*self._table()), listed])

    def to_dict(self) -> dict[str, Any]:
        """Return rows, totals and remarks as plain values that `json.dump` takes."""
        words = ["name", "role", "operation", "input_shape", "output_shape", "parameters"]
        words += ["flop_counter", "seconds", "note"]
        rows = [
            {word: getattr(row, word) for word in words}
            | {"difference": row.difference and row.difference.to_dict()}
            | {"report": row.report.to_dict()}
            for row in self.rows
        ]
        totals = ["parameters", "multiplies", "multiplies_on_padding", "multiplies_in_bounds"]
        totals += ["macs", "flops", "flop_counter", "seconds", "not_measured", "remarks"]
        found = {word: getattr(self, word) for word in totals}
        difference = self.difference and self.difference.to_dict()
        return {"name": self.name, **found, "difference": difference, "rows": rows}

    def plot(self) -> Figure:
        """Draw the multiplies and parameters of each row, coloured by its variant."""
        from ..plots.networks import plot_network

        return plot_network(self)


def _reasons(row: Row) -> Iterator[tuple[str, int]]:
    """Yield what FlopCounterMode's FLOPs of a row have more than those measured, and why."""
    counted, measured = row.flop_counter or 0, row.report.flops
    if not counted:
        yield f"it has no formula for {row.operation}", -measured
        return
    if row.role == "weight gradient" and row.report.has("dense, weight"):
        dense = 2 * int(row.report.value("dense, weight"))
        yield "it takes the gradient of a weight with groups for one without", counted - dense
        counted = dense
    if counted < measured:
        yield (
            "loops here multiply zeros around the image that it does not count",
            counted - measured,
        )
    elif row.variant == "transposed":
        yield "it counts all taps of a transposed convolution, cropped or not", counted - measured
    else:
        yield "it counts taps on padding that loops here leave out", counted - measured


def _calls(rows: Sequence[Row]) -> str:
    return f"{len(rows):,} call" + "s" * (len(rows) != 1)


def _path(name: str) -> list[str]:
    return name.strip("/").split("/" if "/" in name else ".")


def _folded(rows: Sequence[Row], level: int, depth: int, of: int) -> Iterator[tuple[str, ...]]:
    modules: dict[str, list[Row]] = {}
    for row in rows:
        path = [*_path(row.name), "itself"]  # a module's own layers stand beside its parts
        modules.setdefault(path[level - 1], []).append(row)
    if list(modules) == ["itself"]:
        return
    for name, inside in modules.items():
        variants = {row.variant for row in inside}
        variant = variants.pop() if len(variants) == 1 else ""
        yield ("  " * (level - 1) + name, variant, _calls(inside), *_numbers(inside, of))
        if level < depth and name != "itself":
            yield from _folded(inside, level + 1, depth, of)
