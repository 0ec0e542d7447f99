"""All nine variants on one input: cost by formula, multiplies counted in the loops, and time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import checks, filters, table, tiles
from .report import ConvResult, CostReport
from .variants.deformable import deformable_layer
from .variants.depthwise import depthwise_conv2d
from .variants.depthwise_separable import depthwise_separable_conv2d
from .variants.dilated import dilated_conv2d
from .variants.grouped import grouped_conv2d
from .variants.pointwise import pointwise_conv2d
from .variants.separable import separable_conv2d
from .variants.standard import conv2d
from .variants.transposed import conv_transpose2d

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
    "✓: measured = dense, or in bounds where the loops skip what is cropped; parameters = formula",
    "× standard: multiplies in bounds over those of the standard convolution",
    "GFLOP/s: executed FLOPs (2 × MACs) a nanosecond; checks, padding and allocation included",
)


class Row(NamedTuple):
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
            f"{report.multiplies_on_padding / report.multiplies:.2%}",
            "✓" if report.agrees else "✗",
            f"{self.ratio:.4f}",
            f"{self.seconds * 1e3:,.1f}",
            f"{1e-9 * report.flops / self.seconds:.1f}",
        )

    def line(self) -> str:
        """Return the row as a line of at most 100 columns."""
        return line(self.cells())


def line(cells: Iterable[str]) -> str:
    """Set the cells of a row in their columns."""
    return " ".join(
        f"{c:{width}}" for c, width in zip(cells, COLUMNS.values(), strict=True)
    ).rstrip()


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Nine rows, one a variant; shows itself as text, an HTML table in notebooks, and a figure.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the document.
    photo : numpy.ndarray (H, W) or (H, W, 3)
        The input, to be looked at.
    title : str
        What ran.
    """

    rows: tuple[Row, ...]
    photo: np.ndarray
    title: str

    @property
    def agrees(self) -> bool:
        """Whether every row's counts are those of its formulas."""
        return all(row.report.agrees for row in self.rows)

    def __str__(self) -> str:
        return "\n".join([self.title, line(COLUMNS), *(row.line() for row in self.rows), *LEGEND])

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
        from .plots.comparison import plot_comparison

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
    warm_up(job.dtype)
    return Comparison(tuple(job.rows()), job.photo, job.title)


@dataclass(frozen=True, eq=False)
class Job:
    """A comparison that is about to run: inputs made and checked, nothing computed."""

    calls: tuple[Callable[[], ConvResult], ...]
    dtype: np.dtype
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
            photo = np.moveaxis(image, 0, -1).squeeze()
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
        return cls(_calls(x, kernel_size, M, groups), x.dtype, photo, title)

    def rows(self) -> Iterator[Row]:
        """Run each variant, and yield its row as it finishes."""
        standard = None
        for call in self.calls:
            seconds = []
            for _ in range(5):
                begin = time.perf_counter()
                y, report = call()
                seconds.append(time.perf_counter() - begin)
            standard = standard or report.multiplies_in_bounds
            ratio = report.multiplies_in_bounds / standard
            yield Row(report, ratio, statistics.median(seconds), y[0, 0].copy())


def warm_up(dtype: DTypeLike = np.float32) -> float:
    """Compile the loops that the nine variants choose, or load them from Numba's cache.

    Parameters
    ----------
    dtype : data-type
        float32 or float64: each has machine code of its own.

    Returns
    -------
    float
        How many seconds that took.

    Examples
    --------
    >>> seconds = warm_up()
    """
    begin = time.perf_counter()
    x = np.zeros((1, 2, 3, 3), checks.float_type(dtype))
    for M in (2, 2 * tiles.FEW):  # too few to fill vector registers, and enough
        for call in _calls(x, 1, M, 2):
            call()
    return time.perf_counter() - begin


def _calls(x: np.ndarray, K: int, M: int, groups: int) -> tuple[Callable[[], ConvResult], ...]:
    """Return the nine calls. Their kernels are reliefs, lit from max(C, M) directions."""
    C, dtype = x.shape[1], x.dtype
    rng = np.random.default_rng(0)
    line = np.arange(K) - (K - 1) / 2
    bell = np.exp(-2 * (line / K) ** 2)
    bell /= bell.sum()
    slope = -2 * line * bell
    light = np.pi * np.arange(max(C, M))[:, np.newaxis, np.newaxis] / max(C, M)
    across, down = np.outer(bell, slope), np.outer(slope, bell)
    relief = np.outer(bell, bell) + np.cos(light) * across + np.sin(light) * down

    mix = (rng.random((M, C)) / C).astype(dtype)
    each = relief[:C, np.newaxis].astype(dtype)
    dense = mix[:, :, np.newaxis, np.newaxis] * relief[:M, np.newaxis].astype(dtype)
    swapped, part = dense.swapaxes(0, 1), dense[:, : C // groups]
    column, row = bell.astype(dtype), (bell + slope).astype(dtype)
    offsets = rng.normal(0, 0.3, (2 * K * K, C, K, K)).astype(dtype)
    return (
        lambda: conv2d(x, dense, padding="same"),
        lambda: dilated_conv2d(x, dense, dilation=2, padding="same"),
        lambda: conv_transpose2d(x, swapped, stride=2, padding="same"),
        lambda: separable_conv2d(x, column, row, padding="same"),
        lambda: depthwise_conv2d(x, each, padding="same"),
        lambda: depthwise_separable_conv2d(x, each, mix, padding="same"),
        lambda: pointwise_conv2d(x, mix),
        lambda: grouped_conv2d(x, part, groups=groups, padding="same"),
        lambda: deformable_layer(x, offsets, dense, padding="same"),
    )


def load_image(path: str | Path | None = None, largest: int = 1024) -> tuple[np.ndarray, str]:
    """Read an image file with matplotlib, as float32 between 0 and 1.

    Parameters
    ----------
    path : str or Path, optional
        Grey, RGB or RGBA, of any format that matplotlib reads; alpha is left out. None takes the
        photo of Grace Hopper that comes with matplotlib.
    largest : int
        Where a side is longer, only every second, third … pixel is taken.

    Returns
    -------
    image : numpy.ndarray (colours, H, W)
    description : str
        The file's name, and whether pixels were left out.

    Raises
    ------
    ValueError
        If the file is missing or is no image.

    Examples
    --------
    >>> image, description = load_image()
    >>> image.shape, description
    ((3, 600, 512), 'grace_hopper.jpg')
    """
    from matplotlib import cbook, image

    try:
        if path is None:
            path = "grace_hopper.jpg"
            with cbook.get_sample_data(path) as file:
                pixels = image.imread(file)
        else:
            pixels = image.imread(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except Exception as error:  # matplotlib and Pillow raise anything for a file that is no image
        raise ValueError(
            f"{path}: matplotlib cannot read it as an image ({error}); PNG and JPEG files work"
        ) from None
    pixels = np.atleast_3d(pixels)
    pixels = pixels[:, :, : 3 if pixels.shape[2] >= 3 else 1]
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
    step = -(-max(pixels.shape[:2]) // largest)
    description = Path(path).name + (f", 1 of {step}×{step} pixels" if step > 1 else "")
    return np.ascontiguousarray(
        np.moveaxis(pixels[::step, ::step], -1, 0), np.float32
    ) / np.float32(scale), description


def feature_maps(image: np.ndarray) -> np.ndarray:
    """Filter each colour with six named filters: three that smooth, then three that find edges.

    Parameters
    ----------
    image : numpy.ndarray (colours, H, W)
        float32.

    Returns
    -------
    numpy.ndarray (6·colours, H, W)
        All colours through the first filter, then all through the second …

    Examples
    --------
    >>> import numpy as np
    >>> feature_maps(np.ones((3, 8, 8), np.float32)).shape
    (18, 8, 8)
    """
    smooth = [filters.identity(3), filters.gaussian(3), filters.box(3)]
    edges = [filters.laplacian(), filters.sobel("x"), filters.sobel("y")]
    bank = np.stack(smooth + edges)[:, np.newaxis]
    colours, H, W = image.shape
    maps, _ = depthwise_conv2d(image, np.tile(bank, (colours, 1, 1, 1)), padding="same")
    return maps.reshape(colours, len(bank), H, W).swapaxes(0, 1).reshape(-1, H, W)
