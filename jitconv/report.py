"""What every variant returns: the output, and a report of counted multiplies against formulas."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from . import table
from .checks import Layer
from .formulas import Formula
from .tools import OtherTools, other_tools

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
    accumulates : bool
        Whether an add follows each multiply, which makes it a MAC.
    """

    name: str
    multiplies: int
    on_padding: int = 0
    accumulates: bool = True


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
    costs : callable
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
    costs: Callable[[], tuple[Formula, ...]] = field(repr=False, compare=False)
    not_counted: tuple[str, ...] = NOT_COUNTED

    @functools.cached_property
    def formulas(self) -> tuple[Formula, ...]:
        """Parameters, document, dense, in bounds, and the variant's own."""
        return self.costs()

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

        These are all, but for the corner weights and the mask of a deformable convolution.
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
        return self._formula(name).value

    def has(self, name: str) -> bool:
        """Return whether the report has a formula of that name."""
        return any(formula.name == name for formula in self.formulas)

    def _formula(self, name: str) -> Formula:
        by_name = {formula.name: formula for formula in self.formulas}
        if name not in by_name:
            raise KeyError(f"{name!r} is none of {', '.join(by_name)}")
        return by_name[name]

    def verify(self) -> CostReport:
        """Check that what the loops counted is what the formulas say, pass by pass and in all.

        A loop that multiplies the zeros of the padding must have done the dense count, a loop that
        skips them the count in bounds; in both, multiplies − on padding = in bounds. The parameters
        held must be those of the formula.

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
        found = []

        def compare(what: str, measured: int, formula: Formula) -> None:
            if measured != formula.value:
                found.append(f"{what} {measured:,} measured, but {formula.name}: {formula}")

        def compare_pass(
            name: str, multiplies: int, on_padding: int, dense: str, in_bounds: str
        ) -> None:
            compare(f"{name} in bounds", multiplies - on_padding, self._formula(in_bounds))
            if on_padding:
                compare(name, multiplies, self._formula(dense))

        held = self.value("parameters") + (self.value("bias") if self.has("bias") else 0)
        if held != self.parameters:
            found.append(f"parameters {self.parameters:,} held, but {held:,} by formula")
        if len(self.passes) == 1:
            total = (self.multiplies, self.multiplies_on_padding)
            compare_pass("multiplies", *total, "dense", "in bounds")
            return found
        compare("multiplies in bounds", self.multiplies_in_bounds, self._formula("in bounds"))
        for name, multiplies, on_padding, _ in self.passes:
            dense, in_bounds = f"dense, {name}", f"in bounds, {name}"
            compare_pass(
                name, multiplies, on_padding, dense, in_bounds if self.has(in_bounds) else dense
            )
        return found

    @property
    def agrees(self) -> bool:
        """Whether `verify` passes."""
        return not self._mismatches()

    def _rows(self) -> list[tuple[str, str, str]]:
        mismatches = self._mismatches()
        held = "✗" if any(line.startswith("parameters") for line in mismatches) else "✓"
        counted = "✗" if any(not line.startswith("parameters") for line in mismatches) else "✓"
        meets = "in bounds" if self.multiplies < self.value("dense") else "dense"
        if meets == "in bounds" and self.multiplies_on_padding:
            meets = "pass by pass"
        share = self.multiplies_on_padding / self.multiplies if self.multiplies else 0

        rows = [("parameters held", f"{self.parameters:,}", held)]
        for name in filter(self.has, ("parameters", "bias")):
            rows.append((f"  {name}, {self._formula(name).section}", "", str(self._formula(name))))
        labels = {"document": "document's, over H·W", "dense": "dense", "in bounds": "in bounds"}
        for name, label in labels.items():
            formula = self._formula(name)
            if len(self.passes) > 1 and name != "document":
                explained = "the sum of the parts"
            else:
                explained = f"{formula.symbols} = {formula.substituted}"
            rows.append((f"{label}, {formula.section}", f"{formula.value:,}", explained))
        rows.append(("measured in the loops", f"{self.multiplies:,}", f"{counted} {meets}"))
        rows.append(("  of which on padding", f"{self.multiplies_on_padding:,}", f"{share:.1%}"))
        if len(self.passes) > 1:
            for name, count in self.parts.items():
                rows.append((f"  {name}", f"{count:,}", str(self._formula(f"dense, {name}"))))
        macs = f"2 × {self.macs:,} MACs, multiplies that an add follows"
        rows.append(("FLOPs", f"{self.flops:,}", macs))
        for formula in self.formulas:
            if formula.name not in ("bias", "parameters", *labels) and "," not in formula.name:
                rows.append((formula.name, "", str(formula)))
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

        A table of numbers and the conventions behind them: see `jitconv.tools.other_tools`.
        """
        return other_tools(self)

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


class ConvResult(NamedTuple):
    """The output of a convolution and its costs: ``y, report = conv2d(x, weight)``.

    Attributes
    ----------
    output : numpy.ndarray
        Shape (N, M, OH, OW), or (M, OH, OW) for one image (C, H, W).
    report : CostReport
        Counted multiplies beside the formulas.
    """

    output: np.ndarray
    report: CostReport

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is None:  # a word that np.array of NumPy 1 does not know
            return np.asarray(self.output, dtype=dtype)
        return np.array(self.output, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"ConvResult(output={self.output.dtype} {self.output.shape})\n{self.report}"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def result(
    variant: str,
    method: str,
    layer: Layer,
    y: np.ndarray,
    counts: np.ndarray,
    costs: Callable[[], tuple[Formula, ...]],
) -> ConvResult:
    """Pack the output and what one pass of loops counted.

    Parameters
    ----------
    variant, method : str
        Names for the report.
    layer : Layer
        The checked arrays.
    y : numpy.ndarray (N, M, OH, OW)
        The output.
    counts : numpy.ndarray (jobs, 2)
        Multiplies, and those on padding, of each parallel job.
    costs : callable
        Gives the formulas of the call.
    """
    passes = (Pass("kernel", *counts.sum(axis=0).tolist()),)
    return pack(
        layer.batched, y, CostReport(variant, method, y.shape, layer.parameters, passes, costs)
    )


def pack(batched: bool, y: np.ndarray, report: CostReport) -> ConvResult:
    """Return a batch for a batch and one image for one image."""
    return (
        ConvResult(y, report)
        if batched
        else ConvResult(y[0], replace(report, output_shape=y.shape[1:]))
    )
