"""Deformable convolution (변형 가능 컨볼루션), §9 of docs/document.md.

Every tap of every output pixel is moved by an offset (오프셋) of its own, a fraction of pixels down
and right, and reads the image there by bilinear interpolation (이중선형 보간) of the four corner
pixels. The offsets come from a convolution of their own: `deformable_layer` runs both. With a mask,
each sample is weighted as well (version 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import checks, shapes
from ..call import Deformed, Dense, dense, empty, pad
from ..costs import formulas
from ..costs.formula import Costs
from ..costs.report import NOT_COUNTED, ConvResult, CostReport, Pass
from ..jit import njit, prange
from ..methods import run
from ..sampling import place_samples, sample_row
from ..variant import Array, Variant
from .front_door import conv2d


@njit(parallel=True)
def deformable_loops(x, offset, mask, weight, bias, y, size, stride, padding, dilation, counts):
    # x (N, C, (H + 3) * (W + 3)): one zero above and left, two below and right; size (H, W)
    # offset (N, 2 * G * KH * KW, OH, OW), y before x; mask (N, G * KH * KW, OH, OW) or empty
    # weight (M, C/g, KH, KW), bias (M,), y (N, M, OH, OW), counts (N * OH, 5)
    C, H, W = x.shape[1], size[0], size[1]
    N, M, OH, OW = y.shape
    _, CG, KH, KW = weight.shape
    (SH, SW), (top, left), (DH, DW) = stride, padding, dilation
    G, MG = offset.shape[1] // (2 * KH * KW), M // (C // CG)
    for job in prange(N * OH):  # one output row of all channels, for a sample serves them all
        n, oh = job // OH, job % OH
        place, outside = np.empty(OW, np.intp), np.empty(OW, np.bool_)
        sample, corners = np.empty(OW, x.dtype), np.empty((4, OW), x.dtype)
        corner_weights, corner_values, masked, multiplies, on_padding = 0, 0, 0, 0, 0
        for m in range(M):
            y[n, m, oh] = bias[m]
        for tap in range(G * KH * KW):
            g, kh, kw = tap // (KH * KW), tap // KW % KH, tap % KW
            dy, dx = offset[n, 2 * tap, oh], offset[n, 2 * tap + 1, oh]
            h, w = oh * SH + kh * DH - top, kw * DW - left
            corner_weights += place_samples(dy, dx, h, w, SW, H, W, place, corners, outside)
            for c in range(g * C // G, (g + 1) * C // G):  # the channels of offset group g
                corner_values += sample_row(x[n, c], W, place, corners, sample)
                if mask.size > 0:
                    for ow in range(OW):
                        sample[ow] *= mask[n, tap, oh, ow]
                        masked += 1
                for m in range(c // CG * MG, c // CG * MG + MG):  # the outputs of c's weight group
                    out, k = y[n, m, oh], weight[m, c % CG, kh, kw]
                    for ow in range(OW):
                        out[ow] += sample[ow] * k
                        multiplies += 1
                        on_padding += outside[ow]
        counts[job] = corner_weights, corner_values, masked, multiplies, on_padding


def _direct(call: Deformed) -> tuple[np.ndarray, tuple[Pass, ...]]:
    (N, C, M), window = call.sizes, call.window
    padded, _ = pad(call.x, ((1, 2), (1, 2)))
    planes = padded.reshape(N, C, padded.shape[2] * padded.shape[3])
    y = empty("output", (N, M, *window.output), call.x.dtype)
    counts = np.zeros((N * window.output[0], 5), np.int64)
    before = (window.padding[0][0], window.padding[1][0])
    steps = (window.size, window.stride, before, window.dilation)
    deformable_loops(planes, call.offset, call.mask, call.weight, call.bias, y, *steps, counts)
    return y, call.passes(*counts.sum(axis=0).tolist())


def deform_conv2d(
    x: ArrayLike,
    offset: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    mask: ArrayLike | None = None,
    method: str = "auto",
) -> ConvResult:
    """Convolve with taps moved by offsets, as `torchvision.ops.deform_conv2d` does.

    Every multiply is counted.

    A corner pixel counts only if it lies in the image, its weight unchanged, so that a sample fades
    to zero between −1 and 0 and between H − 1 and H. A sample whose offset is NaN or infinite lies
    outside and is zero.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    offset : array_like (N, 2·G·KH·KW, OH, OW), or without N for one image
        Pixels down, then right, for each tap in row-major order, for each of G offset groups, which
        cut C on their own.
    weight : array_like (M, C/groups, KH, KW)
        Of x's type. The number of groups follows from it.
    bias : array_like (M,), optional
        Added to every output of its channel.
    stride, padding, dilation
        As in `conv2d`.
    mask : array_like (N, G·KH·KW, OH, OW), or without N for one image, optional
        Factor of each sample: version 2.
    method : {'auto', 'direct', 'tiled'}
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report` with the parts "corner
        weights" (4 a sample), "corner values" (4 a sample and channel), "mask" and "kernel". On
        padding are the kernel's multiplies whose sample lies wholly outside the image.

    Raises
    ------
    TypeError, ValueError
        If an argument is ill-formed or does not fit the others, or the output would be empty or too
        large to hold.

    References
    ----------
    Document §9; Dai et al., arXiv:1703.06211; Zhu et al., arXiv:1811.11168.

    Examples
    --------
    A 1×1 kernel, moved half a pixel to the right.

    >>> import numpy as np
    >>> offset = np.zeros((2, 1, 3))
    >>> offset[1] = 0.5
    >>> y, report = deform_conv2d(np.array([[[10.0, 20.0, 40.0]]]), offset, np.ones((1, 1, 1, 1)))
    >>> y, report.parts
    (array([[[15., 30., 20.]]]), {'corner weights': 12, 'corner values': 12, 'kernel': 3})
    """
    call = deformed_call(x, offset, weight, bias, mask, stride, padding, dilation)
    return run(DEFORMABLE, call, method)


def deformed_call(
    x: object,
    offset: object,
    weight: object,
    bias: object,
    mask: object,
    stride: int | Sequence[int],
    padding: int | str | Sequence,
    dilation: int | Sequence[int],
) -> Deformed:
    """Check the arrays and the geometry of a deformable convolution."""
    return _deformed(deformable_dense(x, weight, bias, stride, padding, dilation), offset, mask)


def deformable_dense(
    x: object,
    weight: object,
    bias: object,
    stride: int | Sequence[int],
    padding: int | str | Sequence,
    dilation: int | Sequence[int],
) -> Dense:
    """Check what is no offset and no mask; the groups follow from the weight."""
    images, batched = checks.image(x)
    weight = checks.floats("weight", weight, images.dtype)
    checks.axes("weight", weight.shape, "(M, C/groups, KH, KW)")
    groups, rest = divmod(images.shape[1], weight.shape[1])
    if rest:
        raise ValueError(
            f"weight: (M, C/groups, KH, KW), its second axis must divide the {images.shape[1]} "
            f"channels of x, got shape {weight.shape}; pass {images.shape[1]} there for one group"
        )
    x = images if batched else images[0]
    return dense(x, weight, bias, groups=groups, stride=stride, padding=padding, dilation=dilation)


def _deformed(call: Dense, offset: object, mask: object) -> Deformed:
    taps = call.weight.shape[2] * call.weight.shape[3]
    offsets = _each_sample("offset", offset, call, "2·G·KH·KW", 2 * taps)
    if mask is None:
        masks = np.empty((0, 0, 0, 0), call.x.dtype)
    else:
        groups = offsets.shape[1] // (2 * taps)
        masks = _each_sample("mask", mask, call, "G·KH·KW", taps, groups)
    samples = shapes.samples_in_bounds(offsets, call.window)
    return Deformed(**vars(call), offset=offsets, mask=masks, samples=samples)


def _each_sample(
    name: str,
    value: object,
    call: Dense,
    rule: str,
    taps: int,
    groups: int | None = None,
) -> np.ndarray:
    """Check an array that holds values for every sample: offset or mask."""
    array = checks.floats(name, value, call.x.dtype)
    if array.ndim == 3 and not call.batched:
        array = array[np.newaxis]
    (N, C, _), window = call.sizes, call.window
    expected = (N, taps * (groups or 1), *window.output)
    fits = (
        array.ndim == 4
        and array.shape[0] == N
        and array.shape[2:] == window.output
        and array.shape[1] >= taps
    )
    if not fits or array.shape[1] % taps or (groups and array.shape[1] != taps * groups):
        more = "" if groups else "; a multiple of that for more offset groups G"
        raise ValueError(
            f"{name}: must be (N, {rule}, OH, OW) = {expected} "
            f"for a {window.kernel[0]}×{window.kernel[1]} kernel and output "
            f"{window.output}{more}; got shape {array.shape}"
        )
    checks.divides(
        f"{name} groups (its channels / {taps})", array.shape[1] // taps, C, "the channels of x"
    )
    return array


def branches_of(
    call: Dense, offset_weight: object, offset_bias: object, mask_weight: object, mask_bias: object
) -> dict[str, tuple[np.ndarray, Any]]:
    """Check the branches of a layer: return the weight and the bias of each by its name."""
    (_, C, _), kernel = call.sizes, call.window.kernel
    if mask_weight is None and mask_bias is not None:
        raise ValueError("mask_bias: has no meaning without mask_weight; pass both or neither")
    branches = {}
    for name, given, added, each in (
        ("offset", offset_weight, offset_bias, 2 * kernel[0] * kernel[1]),
        ("mask", mask_weight, mask_bias, kernel[0] * kernel[1]),
    ):
        if name == "mask" and given is None:
            continue
        made = checks.floats(f"{name}_weight", given, call.x.dtype)
        if made.ndim != 4 or made.shape[0] % each or made.shape[1:] != (C, *kernel):
            raise ValueError(
                f"{name}_weight: must be (G·{each}, {C}, {kernel[0]}, {kernel[1]}), "
                f"{each} values for each offset group and the size of weight, "
                f"got shape {made.shape}"
            )
        checks.biases(added, made.shape[0], call.x.dtype, f"{name}_bias")
        branches[name] = made, added
    return branches


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return 1/(1 + e^−v), without overflow."""
    return np.tanh(values / 2) / 2 + 0.5


def deformable_layer(
    x: ArrayLike,
    offset_weight: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    offset_bias: ArrayLike | None = None,
    mask_weight: ArrayLike | None = None,
    mask_bias: ArrayLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
) -> ConvResult:
    """Run the document's two convolutions: one makes offsets from the image, one samples at them.

    Parameters
    ----------
    x : array_like (N, C, H, W) or (C, H, W)
        float32 or float64.
    offset_weight : array_like (2·G·KH·KW, C, KH, KW)
        Kernel of the offset branch, as large as `weight`'s, run with the same stride, padding and
        dilation.
    weight : array_like (M, C/groups, KH, KW)
        Of x's type.
    bias : array_like (M,), optional
        Added to every output of its channel.
    offset_bias : array_like (2·G·KH·KW,), optional
        Added to the offsets.
    mask_weight : array_like (G·KH·KW, C, KH, KW), optional
        Kernel of the mask branch, whose output goes through a sigmoid: version 2.
    mask_bias : array_like (G·KH·KW,), optional
        Added before the sigmoid; needs `mask_weight`.
    stride, padding, dilation, method
        As in `conv2d`.

    Returns
    -------
    ConvResult
        `output` (N, M, OH, OW), or (M, OH, OW) for one image, and `report` with the parts "offset
        branch", "mask branch" and those of `deform_conv2d`.

    Raises
    ------
    TypeError, ValueError
        As `deform_conv2d`.

    References
    ----------
    Document §9, Layer 구조 및 동작 방식.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.ones((3, 8, 8)), np.ones((2, 3, 3, 3))
    >>> y, report = deformable_layer(x, np.zeros((18, 3, 3, 3)), weight, padding=1)
    >>> bool(np.allclose(y, conv2d(x, weight, padding=1).output)), report.parts["offset branch"]
    (True, 31104)
    """
    call = deformable_dense(x, weight, bias, stride, padding, dilation)
    branches = branches_of(call, offset_weight, offset_bias, mask_weight, mask_bias)
    done = {
        name: conv2d(
            call.x, *arrays, stride=stride, padding=padding, dilation=dilation, method=method
        )
        for name, arrays in branches.items()
    }
    mask = sigmoid(done["mask"].output) if "mask" in done else None
    deformed = _deformed(call, done["offset"].output, mask)
    y, inner = run(DEFORMABLE, deformed, method)
    reports = {name: result.report for name, result in done.items()}
    return ConvResult(y, layer_report(inner, reports, deformed, branches))


def layer_report(
    inner: CostReport,
    reports: Mapping[str, CostReport],
    call: Deformed,
    branches: Mapping[str, tuple[np.ndarray, Any]],
) -> CostReport:
    """Return the report of a layer: those of its branches and of what they move, put together."""
    biases = {f"{name}_bias": added is not None for name, (_, added) in branches.items()}
    return CostReport(
        LAYER.name,
        inner.method,
        inner.output_shape,
        inner.parameters + sum(report.parameters for report in reports.values()),
        (
            *(report.passes[0].within(f"{name} branch") for name, report in reports.items()),
            *inner.passes,
        ),
        LAYER.costs(call, **biases),
        (*LAYER.not_counted, *["the sigmoid of the mask"] * ("mask" in reports)),
    )


def _costs(call: Deformed, **more: bool) -> Callable[[], Costs]:
    return partial(
        formulas.deformable,
        *call.sizes,
        call.window,
        samples=call.samples,
        groups=call.groups,
        offset_groups=call.offset.shape[1] // (2 * call.window.kernel[0] * call.window.kernel[1]),
        mask=call.has_mask,
        bias=call.has_bias,
        **more,
    )


DEFORMABLE = Variant(
    name="deformable",
    korean="변형 가능 컨볼루션",
    section="§9",
    idea="each tap looks where its offset points, between four pixels",
    function=deform_conv2d,
    direct=_direct,
    any_method=True,
    passes={
        "corner weights": "numbers",
        "corner values": "kept",
        "mask": "mask",
        "kernel": "weight",
    },
    arrays={
        "x": Array("image", "N, C, H, W"),
        "offset": Array("positions", "N, 2·G·KH·KW, OH, OW"),
        "weight": Array("weight", "M, C/g, KH, KW"),
        "bias": Array("bias", "M"),
        "mask": Array("factor", "N, G·KH·KW, OH, OW"),
    },
    costs=_costs,
    example={"C": 1, "M": 1, "H": 4, "W": 4, "KH": 3, "KW": 3},
    photo=lambda photo: deformable_layer(photo.x, photo.offsets, photo.dense, padding="same"),
    not_counted=(*NOT_COUNTED, "sample positions"),
)

# The same section: the document's layer is both convolutions.
LAYER = Variant(
    name="deformable layer",
    korean=DEFORMABLE.korean,
    section=DEFORMABLE.section,
    idea="one convolution makes the offsets, another looks where they point",
    function=deformable_layer,
    passes={
        "offset branch": "offset_weight",
        "mask branch": "mask_weight",
        **DEFORMABLE.passes,
        "mask": "numbers",
    },
    arrays={
        "x": Array("image", "N, C, H, W"),
        "offset_weight": Array("weight", "2·G·KH·KW, C, KH, KW"),
        "weight": Array("weight", "M, C/g, KH, KW"),
        "bias": Array("bias", "M"),
        "offset_bias": Array("bias", "2·G·KH·KW"),
        "mask_weight": Array("weight", "G·KH·KW, C, KH, KW"),
        "mask_bias": Array("bias", "G·KH·KW"),
    },
    costs=partial(_costs, layer=True),
    example=DEFORMABLE.example,
    photo=DEFORMABLE.photo,
    not_counted=DEFORMABLE.not_counted,
)
