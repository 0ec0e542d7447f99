"""What every variant returns: the output, and a report of counted multiplies against formulas."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .. import table
from .formula import Costs, Formula
from .other_tools import OtherTools, other_tools

NOT_COUNTED = ("the bias (each sum starts from it)", "index arithmetic", "comparisons")


class CountMismatch(AssertionError):
    """A count that the loops measured differs from the formula."""


class Pass(NamedTuple):
    """What the loops of one pass counted.

    Attributes
    ----------
    name : str
        The part of the variant: "kernel", "column pass" …
    multiplies : int
        Multiplies executed.
    on_padding : int
        Those of them whose value is a zero of the padding.
    equals : str
        The formula that `multiplies` must equal: "dense", "in bounds", "dense, column pass" …
    follows : bool
        Whether `on_padding` follows from the geometry, and was not counted multiply by multiply.
    accumulates : bool
        Whether an add follows each multiply, which makes it a MAC.
    by_definition : bool
        Whether it multiplies pixels by weights, as the definition does. Where a method multiplies
        sums of pixels by sums of weights, none is on padding, and "in bounds" says nothing of it.
    """

    name: str
    multiplies: int
    on_padding: int = 0
    equals: str = "dense"
    follows: bool = False
    accumulates: bool = True
    by_definition: bool = True

    def within(self, name: str) -> Pass:
        """Return the only pass of a convolution as a pass of one that consists of several."""
        return self._replace(name=name, equals=f"{self.equals}, {name}")


@dataclass(frozen=True)
class CostReport:
    """Measured counts of one call beside the formulas. All numbers are Python ints.

    Attributes
    ----------
    variant, method : str
        Which convolution ran, and in which loops.
    output_shape : tuple of int
        Shape of the output.
    parameters : int
        Values of weights and biases that the call was given.
    passes : tuple of Pass
        What each pass counted, in order.
    find_costs : callable
        Gives the formulas; called when they are first asked for, since a small convolution is done
        sooner than its formulas.
    not_counted : tuple of str
        What is left out.
    """

    variant: str
    method: str
    output_shape: tuple[int, ...]
    parameters: int
    passes: tuple[Pass, ...]
    find_costs: Callable[[], Costs] = field(repr=False, compare=False)
    not_counted: tuple[str, ...] = NOT_COUNTED

    @functools.cached_property
    def costs(self) -> Costs:
        """Formulas by name: parameters, document, dense, in bounds, and the variant's own."""
        return self.find_costs()

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """The formulas in order."""
        return tuple(self.costs.values())

    @property
    def multiplies(self) -> int:
        """Multiplications of a value by a weight that the loops executed and counted."""
        return sum(p.multiplies for p in self.passes)

    @property
    def multiplies_on_padding(self) -> int:
        """Executed multiplies whose value is a zero of the padding."""
        return sum(p.on_padding for p in self.passes)

    @property
    def multiplies_in_bounds(self) -> int:
        """Executed multiplies that are not on padding."""
        return self.multiplies - self.multiplies_on_padding

    @property
    def parts(self) -> dict[str, int]:
        """Multiplies of each pass, in order."""
        return {p.name: p.multiplies for p in self.passes}

    @property
    def macs(self) -> int:
        """Multiplies that an add follows.

        These are all, but for the corner weights and the mask of a deformable convolution, and the
        transforms of Winograd's.
        """
        return sum(p.multiplies for p in self.passes if p.accumulates)

    @property
    def flops(self) -> int:
        """FLOPs, floating-point operations: 2 × MACs."""
        return 2 * self.macs

    def value(self, name: str) -> int | Fraction:
        """Return what the formula of that name gives.

        Raises
        ------
        KeyError
            If the report has no such formula.
        """
        return self.costs[name].value

    def has(self, name: str) -> bool:
        """Return whether the report has a formula of that name."""
        return name in self.costs

    def verify(self) -> CostReport:
        """Check that what the loops counted is what the formulas say, pass by pass.

        Each pass names the formula that its multiplies must equal; those that are not on padding
        must equal the count in bounds, of each part and of the whole, unless a method multiplies
        something other than pixels: then the whole must equal the formula of that method. The
        parameters held must be those of the formula. It vouches for the counts, not for the
        output's values.

        Returns
        -------
        CostReport
            This report.

        Raises
        ------
        CountMismatch
            Naming the measured number and the formula's.
        """
        mismatches = self._mismatches()
        if mismatches:
            raise CountMismatch(f"{self.variant}: " + "; ".join(mismatches))
        return self

    def _mismatches(self) -> list[str]:
        costs, found = self.costs, []
        held = costs["parameters"].value + (costs["bias"].value if "bias" in costs else 0)
        if held != self.parameters:
            found.append(f"parameters {self.parameters:,} held, but {held:,} by formula")
        own = {p.equals.partition(",")[0] for p in self.passes if not p.by_definition}
        measured = [("multiplies", self.multiplies, name) for name in own]
        if not own:
            measured = [("multiplies in bounds", self.multiplies_in_bounds, "in bounds")]
        for part in self.passes:
            measured.append((part.name, part.multiplies, part.equals))
            dense, comma, name = part.equals.partition(",")
            if comma and dense == "dense":
                in_bounds = part.multiplies - part.on_padding
                measured.append((f"{part.name} in bounds", in_bounds, f"in bounds,{name}"))
        for what, count, formula in measured:
            if count != costs[formula].value:
                found.append(f"{what} {count:,} measured, but {formula}: {costs[formula]}")
        return found

    @property
    def agrees(self) -> bool:
        """Whether `verify` passes."""
        return not self._mismatches()

    def _rows(self) -> list[tuple[str, str, str]]:
        costs, mismatches = self.costs, self._mismatches()
        held = "✗" if any(line.startswith("parameters") for line in mismatches) else "✓"
        counted = "✗" if any(not line.startswith("parameters") for line in mismatches) else "✓"
        met = {part.equals.partition(",")[0] for part in self.passes}
        meets = met.pop() if len(met) == 1 else "pass by pass"
        if self.multiplies == costs["dense"].value:
            meets = "dense"
        on_padding = self.multiplies_on_padding
        share = f"{on_padding / self.multiplies if self.multiplies else 0:.1%}"
        if on_padding and any(part.follows for part in self.passes):
            share += ", which follows from the geometry"

        rows = [("parameters held", f"{self.parameters:,}", held)]
        for name in filter(self.has, ("parameters", "bias")):
            rows.append((f"  {name}, {costs[name].section}", "", str(costs[name])))
        labels = {"document": "document's, over H·W", "dense": "dense", "in bounds": "in bounds"}
        labels |= {name: name for name in met - {"dense", "in bounds"}}
        for name, label in labels.items():
            formula = costs[name]
            if any(key.startswith(f"{name}, ") for key in costs):
                explained = "the sum of the parts"
            else:
                explained = f"{formula.symbols} = {formula.substituted}"
            rows.append((f"{label}, {formula.section}", f"{formula.value:,}", explained))
        rows.append(("measured in the loops", f"{self.multiplies:,}", f"{counted} {meets}"))
        rows.append(("  of which on padding", f"{on_padding:,}", share))
        equals = {part.name: part.equals for part in self.passes}
        if len(self.passes) > 1:
            for name, count in self.parts.items():
                rows.append((f"  {name}", f"{count:,}", str(costs[equals[name]])))
        macs = f"2 × {self.macs:,} MACs, multiplies that an add follows"
        rows.append(("FLOPs", f"{self.flops:,}", macs))
        for name, formula in costs.items():
            if name not in ("bias", "parameters", *labels) and "," not in name:
                rows.append((name, "", str(formula)))
        rows.append(("not counted", "", ", ".join(self.not_counted)))
        return rows + [("✗", "", line) for line in mismatches]

    def _title(self) -> str:
        name = self.variant if self.variant.endswith("layer") else f"{self.variant} convolution"
        return f"{name}, {self.method} loops, output {self.output_shape}"

    def __str__(self) -> str:
        return "\n".join([self._title(), *table.text(("", "", ""), self._rows(), "<><")])

    def _repr_html_(self) -> str:
        return table.html(("", "", ""), self._rows(), "<><", self._title())

    def to_markdown(self) -> str:
        """Return the report as a Markdown table."""
        return table.markdown((self._title(), "count", "formula"), self._rows(), "<><")

    def other_tools(self) -> OtherTools:
        """Return what torch, fvcore, ptflops, thop, torchinfo, DeepSpeed and XLA print for it.

        A table of numbers and the conventions behind them: see `jitconv.costs.other_tools`.
        """
        return other_tools(self.costs, self.output_shape, self.multiplies)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that `json.dump` takes."""
        return {
            "variant": self.variant,
            "method": self.method,
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "multiplies": self.multiplies,
            "multiplies_on_padding": self.multiplies_on_padding,
            "multiplies_in_bounds": self.multiplies_in_bounds,
            "parts": self.parts,
            "macs": self.macs,
            "flops": self.flops,
            "formulas": [
                {**f._asdict(), "value": f.value if isinstance(f.value, int) else float(f.value)}
                for f in self.formulas
            ],
            "not_counted": list(self.not_counted),
            "agrees": self.agrees,
        }


def _refuse(result: Any, other: Any = None) -> NoReturn:
    raise TypeError(
        "a ConvResult is an output and its report, and no number: "
        "calculate with result.output, or unpack it, y, report = ..."
    )


class _Pair(NamedTuple):
    output: np.ndarray
    report: CostReport


class ConvResult(_Pair):
    """The output of a convolution and its costs: ``y, report = conv2d(x, weight)``.

    Attributes
    ----------
    output : numpy.ndarray
        Shape (N, M, OH, OW), or (M, OH, OW) for one image (C, H, W).
    report : CostReport
        Counted multiplies beside the formulas.
    """

    __slots__ = ()

    # A tuple would be repeated by * 2 and joined by + (0,); NumPy's arrays leave it to these.
    __array_priority__ = 1000
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse  # type: ignore[assignment]
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __matmul__ = __rmatmul__ = __pow__ = __rpow__ = __neg__ = __abs__ = _refuse

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is None:  # a word that np.array of NumPy 1 does not know
            return np.asarray(self.output, dtype=dtype)
        return np.array(self.output, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"ConvResult(output={self.output.dtype} {self.output.shape})\n{self.report}"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()
