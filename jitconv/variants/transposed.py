"""Transposed convolution (전치 컨볼루션), §3 of docs/document.md.

A convolution is a sparse matrix (희소행렬); this is its transpose (전치행렬). Every input pixel is
multiplied by the whole kernel and lands on the output `stride` pixels from its neighbour; where
they overlap they add up; padding crops the output. It upsamples, but does not undo a convolution:
`deconvolve` does (역연산).

A job collects one output row: it asks which input rows land there, and adds their pixels where
they land. So no two jobs write the same pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..call import Dense, counted, transposed
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import ConvResult, Pass
from ..jit import njit, prange
from ..methods import run
from ..variant import Array, Variant

MATRIX_LIMIT = 2**22


@njit(parallel=True)
def transposed_loops(x, weight, bias, y, stride, crop, dilation, groups, counts):
    # x (N, C, H, W), weight (C, M/g, KH, KW), bias (M,), y (N, M, OH, OW), counts (N * M * OH, 2),
    # crop (rows above, columns left)
    N, C, H, W = x.shape
    _, M, OH, OW = y.shape
    _, MG, KH, KW = weight.shape
    (SH, SW), (top, left), (DH, DW) = stride, crop, dilation
    for job in prange(N * M * OH):
        n, m, oh = job // (M * OH), job // OH % M, job % OH
        first = m // MG * (C // groups)  # the first input channel of m's group
        multiplies = 0
        out = y[n, m, oh]
        out[:] = bias[m]
        for c in range(first, first + C // groups):
            for kh in range(KH):
                # input row ih lands on output row ih * SH + kh * DH - top
                ih, rest = divmod(oh + top - kh * DH, SH)
                if rest == 0 and 0 <= ih < H:
                    for kw in range(KW):
                        # input column iw lands on output column iw * SW + shift
                        w, shift = weight[c, m % MG, kh, kw], kw * DW - left
                        begin, end = max(0, -(shift // SW)), min(W, (OW - 1 - shift) // SW + 1)
                        row, target = x[n, c, ih, begin:], out[begin * SW + shift :]
                        for i in range(end - begin):  # none where the tap is cropped everywhere
                            target[np.uintp(i * SW)] += row[i] * w
                            multiplies += 1
        counts[job, 0] = multiplies


def _direct(call: Dense) -> tuple[np.ndarray, tuple[Pass, ...]]:
    y, counts = call.outputs()
    window = call.window
    crop = (window.padding[0][0], window.padding[1][0])
    steps = (window.stride, crop, window.dilation, call.groups)
    transposed_loops(call.x, call.weight, call.bias, y, *steps, counts)
    return y, counted(counts, "in bounds")


def _costs(call: Dense) -> Callable[[], Costs]:
    return partial(
        formulas.transposed, *call.sizes, call.window, groups=call.groups, bias=call.has_bias
    )


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    method: str = "auto",
) -> ConvResult:
    """Apply the transpose of a convolution, as `torch.nn.functional.conv_transpose2d` does.

    Every multiply is counted.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    weight : array_like (C, M/groups, KH, KW)
        Of x's type; input channels come first.
    bias : array_like (M,), optional
        Added to every output of its channel.
    stride : int or (int, int)
        Output pixels from one input pixel's landing to the next.
    padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Rows and columns cropped from the output: the padding of the convolution whose transpose
        this is. 'same' gives size · stride outputs.
    output_padding : int or (int, int)
        Further output rows at the bottom and columns at the right, computed like all others; less
        than stride or dilation.
    dilation : int or (int, int)
        Pixels from one tap to the next.
    groups : int
        Parts into which the channels are cut.
    method : {'auto', 'direct', 'tiled'}
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report` with honest counts:
        `document` based on the input, `dense` on the output, `in bounds`, without the taps that are
        cropped, which is what the direct loops do, and `phases`, with the zeros around the image,
        which is what the tiled ones do unless leaving them out is faster.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed or does not fit the others, or the output would be empty or too
        large to hold.

    References
    ----------
    Document §3; Dumoulin and Visin, arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> y, report = conv_transpose2d(np.ones((1, 2, 2)), np.ones((1, 1, 3, 3)), stride=2)
    >>> y[0].astype(int)
    array([[1, 1, 2, 1, 1],
           [1, 1, 2, 1, 1],
           [2, 2, 4, 2, 2],
           [1, 1, 2, 1, 1],
           [1, 1, 2, 1, 1]])
    >>> report.multiplies, report.value("in bounds"), report.value("dense")
    (36, 36, 225)
    """
    groups = checks.integer("groups", groups, 1)
    call = transposed(
        x,
        weight,
        bias,
        output_padding=output_padding,
        groups=groups,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    return run(TRANSPOSED, call, method)


def convolution_matrix(
    weight: ArrayLike,
    input_shape: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> np.ndarray:
    """Write a convolution as the sparse matrix that it is.

    ``matrix @ x.ravel()`` is `conv2d` of x, ``matrix.T @ y.ravel()`` is `conv_transpose2d` of y,
    both ravelled.

    Parameters
    ----------
    weight : array_like (M, C/groups, KH, KW)
        float32 or float64.
    input_shape : (C, H, W)
        Shape of one image.
    stride, padding, dilation, groups
        As in `conv2d`.

    Returns
    -------
    numpy.ndarray (M·OH·OW, C·H·W)
        Mostly zeros.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed, or the matrix would have more than 2²² = 4,194,304 entries.

    References
    ----------
    Document §3, 희소행렬.

    Examples
    --------
    A kernel of two taps on a row of three pixels.

    >>> convolution_matrix([[[[1, 2]]]], (1, 1, 3)).astype(int)
    array([[1, 2, 0],
           [0, 1, 2]])
    """
    if not hasattr(input_shape, "__len__") or len(input_shape) != 3:
        raise ValueError(f"input_shape: must be (C, H, W), got {input_shape!r}")
    C, H, W = (checks.integer(f"input_shape[{i}]", size, 1) for i, size in enumerate(input_shape))
    weight = checks.floats("weight", weight)
    checks.axes("weight", weight.shape, "(M, C/groups, KH, KW)")
    M, CG, KH, KW = weight.shape
    groups = checks.integer("groups", groups, 1)
    if CG * groups != C or M % groups:
        raise ValueError(
            f"weight: (M, C/groups, KH, KW) with {groups} groups does not fit "
            f"input_shape {(C, H, W)}, got {weight.shape}"
        )
    window = shapes.window((H, W), (KH, KW), stride, padding, dilation)
    OH, OW = window.output
    if M * OH * OW * C * H * W > MATRIX_LIMIT:
        raise ValueError(
            f"input_shape: the matrix would have {M * OH * OW:,} × {C * H * W:,} entries, "
            f"more than {MATRIX_LIMIT:,}; take a smaller image: this is for looking at"
        )
    matrix = np.zeros((M, OH, OW, C, H, W), weight.dtype)
    for m, c, kh, kw in np.ndindex(weight.shape):
        for oh, ow in np.ndindex(OH, OW):
            ih = oh * window.stride[0] + kh * window.dilation[0] - window.padding[0][0]
            iw = ow * window.stride[1] + kw * window.dilation[1] - window.padding[1][0]
            if 0 <= ih < H and 0 <= iw < W:
                matrix[m, oh, ow, m // (M // groups) * CG + c, ih, iw] = weight[m, c, kh, kw]
    return matrix.reshape(M * OH * OW, C * H * W)


def deconvolve(
    y: ArrayLike,
    weight: ArrayLike,
    input_shape: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> np.ndarray:
    """Undo a convolution, which a transposed one does not.

    Find the image whose convolution comes nearest to y.

    Parameters
    ----------
    y : array_like (M, OH, OW)
        What `conv2d` made, in weight's type.
    weight : array_like (M, C/groups, KH, KW)
        The kernel that made it.
    input_shape : (C, H, W)
        Shape of the image to find.
    stride, padding, dilation, groups
        As in the convolution.

    Returns
    -------
    numpy.ndarray (C, H, W)
        The least-squares solution; the original image where the convolution lost nothing, that is
        where the matrix has full column rank. Else the smallest of all images that fit.

    Raises
    ------
    TypeError, ValueError
        As `convolution_matrix`; or if y has another shape than the convolution would make.

    References
    ----------
    Document §3, 실제 Deconvolution과의 차이.

    Examples
    --------
    >>> import numpy as np
    >>> from jitconv import conv2d
    >>> x, weight = np.arange(9.0).reshape(1, 3, 3), np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> y, _ = conv2d(x, weight, padding=1)
    >>> bool(np.allclose(deconvolve(y, weight, (1, 3, 3), padding=1), x))
    True
    """
    matrix = convolution_matrix(
        weight, input_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    y = checks.floats("y", y, matrix.dtype)
    window = shapes.window(tuple(input_shape)[1:], np.shape(weight)[2:], stride, padding, dilation)
    expected = (np.shape(weight)[0], *window.output)
    if y.shape != expected:
        raise ValueError(f"y: this convolution makes shape {expected}, got shape {y.shape}")
    if not (np.isfinite(y).all() and np.isfinite(matrix).all()):
        raise ValueError("y, weight: must be finite to be solved for, got NaN or Inf")
    solution, *_ = np.linalg.lstsq(matrix, y.ravel(), rcond=None)
    return solution.reshape(tuple(input_shape))


TRANSPOSED = Variant(
    name="transposed",
    korean="전치 컨볼루션",
    section="§3",
    idea="an input is spread over the outputs, where neighbours overlap",
    function=conv_transpose2d,
    direct=_direct,
    any_method=True,
    passes={"kernel": "weight"},
    arrays={
        "x": Array("image", "N, C, H, W"),
        "weight": Array("weight", "C, M/g, KH, KW"),
        "bias": Array("bias", "M"),
    },
    costs=_costs,
    example={"C": 1, "M": 1, "H": 2, "W": 2, "KH": 3, "KW": 3},
    options={"stride": 2},
    photo=lambda photo: conv_transpose2d(
        photo.x, photo.dense.swapaxes(0, 1), stride=2, padding="same"
    ),
)
