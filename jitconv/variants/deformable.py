"""Deformable convolution (변형 가능 컨볼루션), section 9 of the document.

Every tap of every output pixel is moved by an offset (오프셋) of its own, a fraction of pixels down
and right, and reads the image there by bilinear interpolation (이중선형 보간) of the four corner
pixels. The offsets come from a convolution of their own: `deformable_layer` runs both. With a mask,
each sample is weighted as well (version 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import arrays, checks, formulas, shapes, tiles
from ..jit import njit, prange
from ..report import NOT_COUNTED, ConvResult, CostReport, Pass, pack
from .standard import conv2d

SAMPLES = 2**21  # bytes of samples that are gathered before they are multiplied: they stay in cache


@njit
def place_samples(dy, dx, h, w, step, H, W, place, corners, outside):
    # dy, dx (OW,): offsets of one tap along an output row; h, w: its first place without offset;
    # filled: place (OW,), the upper left corner pixel in a padded plane of (H + 3) * (W + 3),
    # corners (4, OW), the weights of the four corner pixels, outside (OW,), none is in the image
    multiplies = 0
    for ow in range(dy.size):
        ih, iw = h + np.float64(dy[ow]), w + ow * step + np.float64(dx[ow])
        # before any conversion to an integer, and true for NaN
        outside[ow] = not (ih > -1 and ih < H and iw > -1 and iw < W)
        if outside[ow]:
            ih, iw = float(H), float(W)  # there the padding is zero at all four corners
        below, right = ih - np.floor(ih), iw - np.floor(iw)
        place[ow] = (int(np.floor(ih)) + 1) * (W + 3) + int(np.floor(iw)) + 1
        corners[0, ow], corners[1, ow] = (1 - below) * (1 - right), (1 - below) * right
        corners[2, ow], corners[3, ow] = below * (1 - right), below * right
        multiplies += 4
    return multiplies


@njit
def sample_row(pixels, W, place, corners, sample):
    # pixels ((H + 3) * (W + 3),): one padded channel; filled: sample (OW,), between the corners
    below = pixels[W + 3 :]
    multiplies = 0
    for ow in range(sample.size):
        i, j = np.uintp(place[ow]), np.uintp(place[ow] + 1)
        sample[ow] = corners[0, ow] * pixels[i] + corners[1, ow] * pixels[j]
        sample[ow] += corners[2, ow] * below[i] + corners[3, ow] * below[j]
        multiplies += 4
    return multiplies


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


@njit(parallel=True)
def channels_last(x, padded):
    # x (N, C, H, W), padded (N, H + 3, W + 3, C): one zero above and left, two below and right
    N, C, H, W = x.shape
    for job in prange(N * (H + 3)):
        n, h = job // (H + 3), job % (H + 3)
        line = padded[n, h]
        for w in range(W + 3):
            for c in range(C):
                line[w, c] = 0
        if 1 <= h <= H:
            for c in range(C):
                row, column = x[n, c, h - 1], line[1:, c]
                for w in range(W):
                    column[w] = row[w]


@njit
def sample_pixel(pixels, W, place, corner, outside, sample):
    # pixels ((H + 3) * (W + 3), channels), corner (4,); filled: sample (channels,)
    left, right = pixels[place], pixels[place + 1]
    below_left, below_right = pixels[place + W + 3], pixels[place + W + 4]
    a, b, c, d = corner[0], corner[1], corner[2], corner[3]
    multiplies, zeros = 0, 0
    for i in range(sample.size):
        sample[i] = a * left[i] + b * right[i] + (c * below_left[i] + d * below_right[i])
        multiplies += 4
        zeros += outside
    return multiplies, zeros


@njit(parallel=True)
def sample_loops(x, offset, mask, first, image, steps, y, counts):
    # the samples of some output rows of one image, from the first on, all channels side by side:
    # x ((H + 3) * (W + 3), C) padded, image (H, W), offset (2 * G * KH * KW, OH, OW), mask
    # (·, OH, OW) or empty, y (rows, OW, KH, KW, C), counts (rows, 4)
    rows, OW, KH, KW, C = y.shape
    H, W = image
    SH, SW, top, left, DH, DW = steps
    G = offset.shape[0] // (2 * KH * KW)
    for job in prange(rows):
        oh = first + job
        place, outside = np.empty(OW, np.intp), np.empty(OW, np.bool_)
        corners, corner = np.empty((4, OW), y.dtype), np.empty(4, y.dtype)
        corner_weights, corner_values, masked, zeros = 0, 0, 0, 0
        for tap in range(G * KH * KW):
            g, kh, kw = tap // (KH * KW), tap // KW % KH, tap % KW
            dy, dx = offset[2 * tap, oh], offset[2 * tap + 1, oh]
            h, w = oh * SH + kh * DH - top, kw * DW - left
            corner_weights += place_samples(dy, dx, h, w, SW, H, W, place, corners, outside)
            begin, end = g * C // G, (g + 1) * C // G  # the channels of offset group g
            pixels = x[:, begin:end]
            for ow in range(OW):
                for i in range(4):
                    corner[i] = corners[i, ow]
                sample = y[job, ow, kh, kw, begin:end]
                values, none = sample_pixel(pixels, W, place[ow], corner, outside[ow], sample)
                corner_values += values
                zeros += none
                if mask.size > 0:
                    factor = mask[tap, oh, ow]
                    for i in range(sample.size):
                        sample[i] *= factor
                        masked += 1
        counts[job, 0], counts[job, 1] = corner_weights, corner_values
        counts[job, 2], counts[job, 3] = masked, zeros


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
    return _deform(
        x,
        offset,
        weight,
        bias,
        mask,
        {"stride": stride, "padding": padding, "dilation": dilation},
        {},
        method,
    )


def _deform(
    x, offset, weight, bias, mask, options: dict, branches: dict[str, CostReport], method: str
) -> ConvResult:
    """Check, sample, convolve and report.

    `branches` are the reports of the convolutions that made offset and mask.
    """
    x, batched = checks.image(x)
    weight = checks.floats("weight", weight, x.dtype)
    checks.axes("weight", weight, "(M, C/groups, KH, KW)")
    if x.shape[1] % weight.shape[1]:
        raise ValueError(
            f"weight: (M, C/groups, KH, KW), its second axis must divide the {x.shape[1]} channels "
            f"of x, got shape {weight.shape}; pass {x.shape[1]} there for one group"
        )
    groups = x.shape[1] // weight.shape[1]
    layer = checks.layer(x, weight, bias, groups)._replace(batched=batched)
    window = shapes.window(x.shape[2:], weight.shape[2:], **options)
    (N, C, M), taps = layer.sizes, weight.shape[2] * weight.shape[3]
    offset = _each_sample("offset", offset, layer, window, "2·G·KH·KW", 2 * taps)
    offset_groups = offset.shape[1] // (2 * taps)
    has_mask = mask is not None
    if has_mask:
        mask = _each_sample("mask", mask, layer, window, "G·KH·KW", taps, offset_groups)
    else:
        mask = np.empty((0, 0, 0, 0), x.dtype)

    method = tiles.chosen(method, M // groups >= tiles.FEW)
    y = arrays.empty("output", (N, M, *window.output), x.dtype)
    before = (window.padding[0][0], window.padding[1][0])
    steps = (window.stride, before, window.dilation)
    if method == "tiled":
        counts = _tiled(layer, offset, mask, groups, y, window, steps)
    else:
        padded, _ = arrays.pad(x, ((1, 2), (1, 2)))
        planes = padded.reshape(N, C, padded.shape[2] * padded.shape[3])
        counts = np.zeros((N * window.output[0], 5), np.int64)
        deformable_loops(planes, offset, mask, weight, layer.bias, y, window.size, *steps, counts)

    corner_weights, corner_values, masked, multiplies, on_padding = counts.sum(axis=0).tolist()
    passes = (
        *(branch.passes[0]._replace(name=f"{name} branch") for name, branch in branches.items()),
        Pass("corner weights", corner_weights, accumulates=False),
        Pass("corner values", corner_values),
        *([Pass("mask", masked, accumulates=False)] if has_mask else []),
        Pass("kernel", multiplies, on_padding),
    )
    costs = partial(
        _costs,
        N,
        C,
        M,
        window,
        offset.copy(),  # the caller may change it before the formulas are asked for
        groups=groups,
        offset_groups=offset_groups,
        mask=has_mask,
        layer=bool(branches),
        bias=layer.has_bias,
        **{f"{name}_bias": branch.has("bias") for name, branch in branches.items()},
    )
    parameters = layer.parameters + sum(branch.parameters for branch in branches.values())
    variant = "deformable layer" if branches else "deformable"
    not_counted = (*NOT_COUNTED, "sample positions")
    if "mask" in branches:
        not_counted += ("the sigmoid of the mask",)
    return pack(
        batched, y, CostReport(variant, method, y.shape, parameters, passes, costs, not_counted)
    )


def _tiled(
    layer: checks.Layer,
    offset: np.ndarray,
    mask: np.ndarray,
    groups: int,
    y: np.ndarray,
    window: shapes.Window,
    steps: tuple[shapes.Pair, ...],
) -> np.ndarray:
    """Gather the samples of a few pixels, multiply them in tiles, and go on to the next."""
    (N, C, M), (H, W), (OH, OW), kernel = layer.sizes, window.size, window.output, window.kernel
    K = kernel[0] * kernel[1]
    padded = arrays.empty("padded x", (N, H + 3, W + 3, C), y.dtype)
    channels_last(layer.x, padded)
    padded = padded.reshape(N, (H + 3) * (W + 3), C)
    weight = layer.weight.reshape(groups, M // groups, 1, C // groups * K)
    height = min(OH, max(1, SAMPLES // (OW * K * C * y.itemsize)))
    samples = arrays.empty("samples", (height, OW, *kernel, C), y.dtype)
    rows = np.array([(0, 1, 1, 0, 0, 0, 1, K, 1)], shapes.STRIP)  # the taps, one below the other
    total = np.zeros(5, np.int64)
    for n, first in itertools.product(range(N), range(0, OH, height)):
        some = samples[: OH - first]
        counts = np.zeros((len(some), 4), np.int64)
        factors = mask[n] if mask.size else np.empty((0, 0, 0), y.dtype)
        sample_loops(padded[n], offset[n], factors, first, (H, W), sum(steps, ()), some, counts)
        columns = np.array([(first * OW, 1, len(some) * OW, 0, K * C, 0, 1, 1, 0)], shapes.STRIP)
        plane = y[n : n + 1].reshape(1, M, 1, OH * OW)
        done = tiles.multiply(some, weight, layer.bias, plane, (K, 1), (0, 1, C), rows, columns)
        multiplies, (*sampling, zeros) = int(done.sum()), counts.sum(axis=0)
        # each sample met as many output channels as there were multiplies for a sample
        total += (*sampling, multiplies, zeros * (multiplies // some.size))
    return total[np.newaxis]


def _costs(
    N: int, C: int, M: int, window: shapes.Window, offset: np.ndarray, **options
) -> tuple[formulas.Formula, ...]:
    samples = _samples_in_image(offset, window)
    return formulas.deformable(N, C, M, window, samples=samples, **options)


def _each_sample(
    name: str,
    value: ArrayLike,
    layer: checks.Layer,
    window: shapes.Window,
    rule: str,
    taps: int,
    groups: int | None = None,
) -> np.ndarray:
    """Check an array that holds values for every sample: offset or mask."""
    array = checks.floats(name, value, layer.x.dtype)
    if array.ndim == 3 and not layer.batched:
        array = array[np.newaxis]
    N, C, _ = layer.sizes
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


def _samples_in_image(offset: np.ndarray, window: shapes.Window) -> int:
    """Count the samples with a corner in the image, in NumPy, independently of the loops."""
    N, channels, OH, OW = offset.shape
    KH, KW = window.kernel
    moves = offset.reshape(N, channels // (2 * KH * KW), KH, KW, 2, OH, OW)
    inside = True
    for axis, positions in enumerate((np.arange(OH)[:, np.newaxis], np.arange(OW))):
        taps = np.arange(window.kernel[axis]) * window.dilation[axis] - window.padding[axis][0]
        taps = taps.reshape((-1, 1, 1, 1) if axis == 0 else (-1, 1, 1))
        place = moves[:, :, :, :, axis] + (taps + positions * window.stride[axis]).astype(
            np.float64
        )
        inside = inside & (place > -1) & (place < window.size[axis])
    return int(np.count_nonzero(inside))


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
    (True, 26136)
    """
    x, batched = checks.image(x)
    weight = checks.floats("weight", weight, x.dtype)
    checks.axes("weight", weight, "(M, C/groups, KH, KW)")
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    branches, taps = {}, weight.shape[2] * weight.shape[3]
    if mask_weight is None and mask_bias is not None:
        raise ValueError("mask_bias: has no meaning without mask_weight; pass both or neither")
    for name, kernel, added, each in (
        ("offset", offset_weight, offset_bias, 2 * taps),
        ("mask", mask_weight, mask_bias, taps),
    ):
        if name == "mask" and kernel is None:
            continue
        kernel = checks.floats(f"{name}_weight", kernel, x.dtype)
        if (
            kernel.ndim != 4
            or kernel.shape[0] % each
            or kernel.shape[1:] != (x.shape[1], *weight.shape[2:])
        ):
            raise ValueError(
                f"{name}_weight: must be "
                f"(G·{each}, {x.shape[1]}, {weight.shape[2]}, {weight.shape[3]}), "
                f"{each} values for each offset group and the size of weight, "
                f"got shape {kernel.shape}"
            )
        checks.biases(added, kernel.shape[0], x.dtype, f"{name}_bias")
        branches[name] = conv2d(x, kernel, added, method=method, **options)
    offset, mask = branches["offset"].output, None
    if "mask" in branches:
        mask = np.tanh(branches["mask"].output / 2) / 2 + 0.5  # the sigmoid, without overflow
    y, report = _deform(
        x,
        offset,
        weight,
        bias,
        mask,
        options,
        {name: r.report for name, r in branches.items()},
        method,
    )
    return pack(batched, y, report)
