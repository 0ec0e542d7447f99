"""Spatially separable convolution (분리 가능 컨볼루션), §4 of docs/document.md.

Where a kernel is the product of a column and a row, k = k1 · k2, two one-dimensional passes give
what the two-dimensional one gives: 9 multiplies a pixel become 6 for 3×3, K² become 2K. The same
pair filters every channel. Sobel is the classic example; not every kernel separates. (What Keras
calls SeparableConv2D is the depthwise separable convolution, section 6.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..call import Separated, border, empty, pad
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import NOT_COUNTED, ConvResult, Pass
from ..jit import njit, prange
from ..methods import run
from ..variant import Array, Variant


@njit(parallel=True)
def separable_loops(x, border_rows, met, column, row, y, padding, stride, dilation, counts):
    # x (N, C, HP, W) padded above and below, column (KH,), row (KW,), y (N, C, OH, OW),
    # border_rows (HP,) true on padding, met (KW,) the zeros beside the image that a tap of the row
    # meets along an output row, padding (left, right), counts (N * C * OH, 4)
    N, C, OH, OW = y.shape
    W = x.shape[3]
    (SH, SW), (DH, DW), (left, right) = stride, dilation, padding
    for job in prange(N * C * OH):
        n, c, oh = job // (C * OH), job // OH % C, job % OH
        multiplies, on_padding = 0, 0
        # column pass: one line of sums, padded at its ends; it stays in cache for the row pass
        line = np.zeros(left + W + right, x.dtype)
        middle = line[left : left + W]
        for kh in range(column.size):
            ih, w = oh * SH + kh * DH, column[kh]
            source, outside = x[n, c, ih], border_rows[ih]
            for iw in range(W):
                middle[iw] += source[iw] * w
                multiplies += 1
                on_padding += outside
        counts[job, 0], counts[job, 1] = multiplies, on_padding
        # row pass along that line
        multiplies, on_padding = 0, 0
        out = y[n, c, oh]
        out[:] = 0
        for kw in range(row.size):
            w, source = row[kw], line[kw * DW :]
            for ow in range(OW):
                out[ow] += source[np.uintp(ow * SW)] * w
                multiplies += 1
            on_padding += met[kw]
        counts[job, 2], counts[job, 3] = multiplies, on_padding


def _direct(call: Separated) -> tuple[np.ndarray, tuple[Pass, ...]]:
    window, (N, C), (above, beside) = call.window, call.x.shape[:2], call.window.padding
    padded, _ = pad(call.x, (above, (0, 0)))
    rows, columns = border(window.size[0], above), border(window.size[1], beside)
    y = empty("output", (N, C, *window.output), call.x.dtype)
    counts = np.zeros((N * C * window.output[0], 4), np.int64)
    step, last = window.dilation[1], (window.output[1] - 1) * window.stride[1] + 1
    met = np.array(
        [
            columns[kw * step : kw * step + last : window.stride[1]].sum()
            for kw in range(call.row.size)
        ]
    )
    steps = (beside, window.stride, window.dilation)
    separable_loops(padded, rows, met, call.column, call.row, y, *steps, counts)
    down, down_on_padding, across, across_on_padding = counts.sum(axis=0).tolist()
    return y, (
        Pass("column pass", down, down_on_padding, "dense, column pass"),
        Pass("row pass", across, across_on_padding, "dense, row pass", follows=True),  # from met
    )


def _costs(call: Separated) -> Callable[[], Costs]:
    return partial(formulas.separable, call.x.shape[0], call.x.shape[1], call.window)


def separable_call(
    x: object,
    column: object,
    row: object,
    stride: int | Sequence[int],
    padding: int | str | Sequence,
    dilation: int | Sequence[int],
) -> Separated:
    """Check the arrays and the geometry of a separable convolution."""
    x, batched = checks.image(x)
    column, row = (
        checks.floats(name, taps, x.dtype) for name, taps in (("column", column), ("row", row))
    )
    checks.axes("column", column.shape, "(KH,)")
    checks.axes("row", row.shape, "(KW,)")
    window = shapes.window(x.shape[2:], (column.size, row.size), stride, padding, dilation)
    return Separated(x, batched, window, column.size + row.size, column, row)


def separable_conv2d(
    x: ArrayLike,
    column: ArrayLike,
    row: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
) -> ConvResult:
    """Filter every channel with the kernel ``np.outer(column, row)`` in two one-dimensional passes.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    column : array_like (KH,)
        Taps of the vertical pass, which comes first.
    row : array_like (KW,)
        Taps of the horizontal pass.
    stride, padding, dilation
        As in `conv2d`; the height's are of the column pass, the width's of the row pass.
    method : {'auto', 'direct', 'tiled'}
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, C, OH, OW), or (C, OH, OW) for one image, and `report` with the parts "column
        pass", which makes the output's rows over the width of the image, and "row pass".

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed or does not fit the others, or the output would be empty or too
        large to hold.

    References
    ----------
    Document §4.

    Examples
    --------
    >>> import numpy as np
    >>> y, report = separable_conv2d(np.ones((1, 4, 4)), [1, 2, 1], [1, 0, -1], padding="same")
    >>> report.parts, report.value("ratio to depthwise")
    ({'column pass': 48, 'row pass': 48}, Fraction(2, 3))
    """
    call = separable_call(x, column, row, stride, padding, dilation)
    return run(SEPARABLE, call, method)


class NotSeparableError(ValueError):
    """The kernel is no product of one column and one row.

    Attributes
    ----------
    rank : int
        How many such products it takes.
    error : float
        Largest difference between the kernel and the best single product, relative to the kernel's
        largest value.
    """

    def __init__(self, rank: int, error: float):
        super().__init__(rank, error)
        self.rank, self.error = rank, error

    def __str__(self) -> str:
        return (
            f"kernel: has rank {self.rank}, only rank 1 separates; "
            f"the best column · row misses it by {self.error:.1%} of its largest value; "
            f"separable_terms(kernel) gives {self.rank} products that add up to it"
        )


def separable_terms(kernel: ArrayLike) -> list[tuple[np.ndarray, np.ndarray]]:
    """Write a kernel as a sum of separable ones, with as few as can be, the largest first.

    Parameters
    ----------
    kernel : array_like (KH, KW)
        float32 or float64; finite.

    Returns
    -------
    list of (numpy.ndarray (KH,), numpy.ndarray (KW,))
        Pairs whose outer products add up to the kernel; as many as its rank, none for a kernel of
        zeros.

    Raises
    ------
    TypeError, ValueError
        If kernel is no matrix of finite floats.

    References
    ----------
    Document §4, 한계점; the terms are the singular vectors (Eckart and Young 1936).

    Examples
    --------
    >>> len(separable_terms([[0, 1, 0], [1, -4, 1], [0, 1, 0]]))
    2
    """
    kernel = checks.floats("kernel", kernel)
    checks.axes("kernel", kernel.shape, "(KH, KW)")
    if not np.isfinite(kernel).all():
        raise ValueError("kernel: must be finite, got NaN or Inf")
    largest = np.abs(kernel).max() or 1  # put aside, so that no square of it overflows
    left, sizes, right = np.linalg.svd(kernel.astype(np.float64) / largest, full_matrices=False)
    rank = int((sizes > sizes[0] * max(kernel.shape) * np.finfo(kernel.dtype).eps).sum())
    terms = []
    for column, size, row in zip(left.T[:rank], sizes, right, strict=False):
        sign = np.sign(
            column[np.argmax(np.abs(column))]
        )  # the singular vectors' sign is arbitrary: make the column positive
        terms.append(
            tuple(
                (sign * np.sqrt(size) * np.sqrt(float(largest)) * taps).astype(kernel.dtype)
                for taps in (column, row)
            )
        )
    return terms


def factor_kernel(kernel: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Split a kernel into the column and the row that `separable_conv2d` takes.

    Parameters
    ----------
    kernel : array_like (KH, KW)
        float32 or float64; finite.

    Returns
    -------
    column : numpy.ndarray (KH,)
    row : numpy.ndarray (KW,)
        ``np.outer(column, row)`` is the kernel, to rounding.

    Raises
    ------
    NotSeparableError
        If the kernel's rank is not 1; it carries the rank and the error of the best fit.
    TypeError, ValueError
        If kernel is no matrix of finite floats.

    References
    ----------
    Document §4: k = k1 · k2.

    Examples
    --------
    >>> kernel = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    >>> column, row = factor_kernel(kernel)
    >>> column.shape, row.shape, bool(np.allclose(np.outer(column, row), kernel))
    ((3,), (3,), True)
    """
    terms = separable_terms(kernel)
    kernel = checks.floats("kernel", kernel)
    if not terms:
        return np.zeros(kernel.shape[0], kernel.dtype), np.zeros(kernel.shape[1], kernel.dtype)
    if len(terms) > 1:
        raise NotSeparableError(
            len(terms), float(np.abs(kernel - np.outer(*terms[0])).max() / np.abs(kernel).max())
        )
    return terms[0]


def _place(entry: tuple[int, ...], arguments: Mapping[str, Any]) -> tuple[int, int, int, int]:
    (job, column), (_, C, OH, _), (left, _) = entry, arguments["y"].shape, arguments["padding"]
    return job // (C * OH), job // OH % C, job % OH, column - left


SEPARABLE = Variant(
    name="separable",
    korean="분리 가능 컨볼루션",
    section="§4",
    idea="a column pass, then a row pass along its result",
    function=separable_conv2d,
    direct=_direct,
    any_method=True,
    passes={"column pass": "column", "row pass": "row"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "column": Array("weight", "KH"),
        "row": Array("weight", "KW"),
    },
    costs=_costs,
    example={"C": 1, "H": 4, "W": 4, "KH": 3, "KW": 3},
    photo=lambda photo: separable_conv2d(photo.x, photo.column, photo.row, padding="same"),
    place=_place,
    not_counted=NOT_COUNTED[1:],  # there is no bias
)
