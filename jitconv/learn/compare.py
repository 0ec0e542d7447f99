"""All nine variants on one input: cost by formula, multiplies counted in the loops, and time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import checks, table
from ..costs.report import CostReport
from ..images.photo import feature_maps, load_image
from ..images.reliefs import reliefs
from ..variant import Photo
from ..variants import VARIANTS, warm_up

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {  # and their widths, enough for any photo: rows are printed one by one
    "variant": "<19",
    "parameters": ">10",
    "document's": ">13",
    "measured": ">13",
    "on padding": ">10",
    "": "<1",
    "× standard": ">10",
    "ms": ">8",
    "GFLOP/s": ">7",
}
LEGEND = (
    "document's: multiplies by its formula, over the input; measured: counted in the loops",
    "✓: the multiplies measured and the parameters held are what the formulas say",
    "× standard: multiplies in bounds over those of the standard convolution",
    "GFLOP/s: executed FLOPs (2 × MACs) a nanosecond; checks, padding and allocation included",
)


class Compared(NamedTuple):
    """One variant of a comparison.

    Attributes
    ----------
    report : CostReport
        Its counts.
    ratio : float
        Multiplies in bounds over those of the standard convolution.
    seconds : float
        Median time of a call, without compilation.
    preview : numpy.ndarray (OH, OW)
        First channel of the first output.
    """

    report: CostReport
    ratio: float
    seconds: float
    preview: np.ndarray

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        report = self.report
        return (
            report.variant,
            f"{report.parameters:,}",
            f"{report.value('document'):,}",
            f"{report.multiplies:,}",
            f"{report.multiplies_on_padding / max(1, report.multiplies):.2%}",
            "✓" if report.agrees else "✗",
            f"{self.ratio:.4f}",
            f"{self.seconds * 1e3:,.1f}",
            f"{1e-9 * report.flops / self.seconds:.1f}",
        )

    def line(self) -> str:
        """Return the row as a line of at most 100 columns."""
        return table.line(self.cells(), COLUMNS)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Nine rows, one a variant; shows itself as text, an HTML table in notebooks, and a figure.

    Attributes
    ----------
    rows : tuple of Compared
        In the order of the document.
    photo : numpy.ndarray (H, W) or (H, W, 3)
        The input, to be looked at.
    title : str
        What ran.
    """

    rows: tuple[Compared, ...]
    photo: np.ndarray
    title: str

    @property
    def agrees(self) -> bool:
        """Whether every row's counts are those of its formulas."""
        return all(row.report.agrees for row in self.rows)

    def __str__(self) -> str:
        head = table.line(COLUMNS, COLUMNS)
        return "\n".join([self.title, head, *(row.line() for row in self.rows), *LEGEND])

    __repr__ = __str__

    def _table(self) -> tuple[list[str], list[tuple[str, ...]], str]:
        align = "".join(width[0] for width in COLUMNS.values())
        return list(COLUMNS), [row.cells() for row in self.rows], align

    def _repr_html_(self) -> str:
        return table.html(*self._table(), "\n".join([self.title, *LEGEND]))

    def to_markdown(self) -> str:
        """Return the comparison as Markdown."""
        return "\n\n".join([self.title, table.markdown(*self._table()), *LEGEND])

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values that `json.dump` takes."""
        rows = [
            {**row.report.to_dict(), "ratio": row.ratio, "seconds": row.seconds}
            for row in self.rows
        ]
        return {"title": self.title, "rows": rows}

    def plot(self) -> Figure:
        """Draw the nine outputs and, beside them, the measured counts against the formulas."""
        from ..plots.comparison import plot_comparison

        return plot_comparison(self)


def compare(
    x: ArrayLike | str | Path | None = None,
    *,
    kernel_size: int = 3,
    out_channels: int | None = None,
    groups: int | None = None,
) -> Comparison:
    """Run all nine variants on one input, with 'same' padding and fixed weights.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W), or the path of an image, optional
        An image becomes feature maps: its colours × six named filters. None takes matplotlib's
        sample photo.
    kernel_size : int
        Taps on each side of the kernels.
    out_channels : int, optional
        Output channels of the variants that mix channels; as many as input channels where None.
    groups : int, optional
        Groups of the grouped convolution; the least number above 1 that divides input and output
        channels where None.

    Returns
    -------
    Comparison
        A row for each variant.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed, there is no image in the batch, or the path is no image.

    Examples
    --------
    >>> import numpy as np
    >>> comparison = compare(np.random.default_rng(0).random((4, 16, 16)))
    >>> [row.report.variant for row in comparison.rows][:3], comparison.agrees
    (['standard', 'dilated', 'transposed'], True)
    """
    job = Job.prepare(x, kernel_size, out_channels, groups)
    warm_up(job.inputs.x.dtype)
    return Comparison(tuple(job.rows()), job.photo, job.title)


@dataclass(frozen=True, eq=False)
class Job:
    """A comparison that is about to run: inputs made and checked, nothing computed."""

    inputs: Photo
    photo: np.ndarray
    title: str

    @classmethod
    def prepare(
        cls,
        x: ArrayLike | str | Path | None,
        kernel_size: int,
        out_channels: int | None,
        groups: int | None,
    ) -> Job:
        """Load the image, make feature maps and weights, and check the options."""
        kernel_size = checks.integer("kernel_size", kernel_size, 1)
        if x is None or isinstance(x, (str, Path)):
            image, source = load_image(x)
            x = feature_maps(image)[np.newaxis]
            photo = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
        else:
            x, _ = checks.image(x)
            if len(x) == 0:
                raise ValueError(
                    f"x: must hold at least one image to compare on, got shape {x.shape}"
                )
            photo, source = x[0, 0], "array"
        N, C, H, W = x.shape
        M = C if out_channels is None else checks.integer("out_channels", out_channels, 1)
        if groups is None:
            groups = next((g for g in range(2, math.gcd(C, M) + 1) if math.gcd(C, M) % g == 0), 1)
        groups = checks.integer("groups", groups, 1)
        checks.divides("groups", groups, C, "the input channels")
        checks.divides("groups", groups, M, "the output channels")
        batch = "" if N == 1 else f"{N} × "
        title = (
            f"{source}: {batch}{C} channels of {H}×{W} to {M}, "
            f"kernel {kernel_size}×{kernel_size}, groups={groups}, {x.dtype}"
        )
        return cls(reliefs(x, kernel_size, M, groups), photo, title)

    def rows(self) -> Iterator[Compared]:
        """Run each variant, and yield its row as it finishes."""
        standard = None
        for variant in VARIANTS.values():
            seconds = []
            for _ in range(5):
                begin = time.perf_counter()
                y, report = variant.photo(self.inputs)
                seconds.append(time.perf_counter() - begin)
            standard = standard or report.multiplies_in_bounds
            ratio = report.multiplies_in_bounds / standard
            yield Compared(report, ratio, statistics.median(seconds), y[0, 0].copy())
