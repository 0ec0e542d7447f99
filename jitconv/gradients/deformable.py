"""Gradients of a deformable convolution: of the image, the weight, the mask and the positions.

Behind the sampling stands a plain convolution of the samples, with one tap for each of them. Its
gradients come first: that of every sample, a column, by the loops of a 1×1 convolution. Then a
column goes two ways. It is spread over the four corner pixels that the sample was read from. And it
moves the position: how much a sample changes when it is read a bit further down or to the right is
the slope of the bilinear surface there, differences of the corner pixels. All channels move
together, so the products of the columns with each corner are summed over the channels first. Where
a sample lies wholly outside the image, also at an offset that is NaN or infinite, all this is zero.

At a whole pixel, and at −1, where samples fade to zero, the surface has an edge; the slope is that
to the right and below, as torchvision takes it.

Here the channels of a pixel lie side by side, for its corners' weights are the same in all of them.
Output rows of all images are taken in bands, so many that the columns of a band stay in cache. Both
kinds of groups, of the weight and of the offsets, cut the channels; loops run over segments of
channels that have both in common.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import shapes
from ..call import Dense
from ..costs import formulas
from ..costs.report import Pass
from ..jit import get_num_threads, njit, prange
from ..methods import run
from ..methods.tiled.registers import LANES, registers
from ..sampling import place_samples
from ..variants.deformable import branches_of, deformable_dense, deformed_call, sigmoid
from ..variants.front_door import conv2d as jitconv_conv2d
from ..variants.grouped import GROUPED
from .backward import GradResult, of_outputs, result, wanted
from .dense import conv2d


class LayerGradients(NamedTuple):
    """Gradients of a deformable layer's arrays; None for one that was not asked for.

    Attributes
    ----------
    x, offset_weight, weight, bias, offset_bias, mask_weight, mask_bias : numpy.ndarray or None
        Of the shape of the array that they belong to.
    """

    x: np.ndarray | None
    offset_weight: np.ndarray | None
    weight: np.ndarray | None
    bias: np.ndarray | None
    offset_bias: np.ndarray | None
    mask_weight: np.ndarray | None
    mask_bias: np.ndarray | None


class DeformableGradients(NamedTuple):
    """Gradients of a deformable convolution's arrays; None for one that was not asked for.

    Attributes
    ----------
    x, offset, weight, bias, mask : numpy.ndarray or None
        Of the shape of the array that they belong to.
    """

    x: np.ndarray | None
    offset: np.ndarray | None
    weight: np.ndarray | None
    bias: np.ndarray | None
    mask: np.ndarray | None


BAND = 2**21  # bytes of the columns of a band


@njit
def corner_products(column, upper_left, upper_right, lower_left, lower_right, length, sums):
    # the products of a column with each of its corners, added to sums (4,)
    acc = registers(column, 4, 1)  # channels across the lanes
    multiplies = 0
    for j in range(LANES):
        for i in range(4):
            acc[i, j] = 0
    for c in range(0, length - LANES + 1, LANES):
        for j in range(LANES):
            k = np.uintp(c) + np.uintp(j)
            acc[0, j] += column[k] * upper_left[k]
            acc[1, j] += column[k] * upper_right[k]
            acc[2, j] += column[k] * lower_left[k]
            acc[3, j] += column[k] * lower_right[k]
            multiplies += 4
    for j in range(LANES):
        for i in range(4):
            sums[i] += acc[i, j]
    for c in range(length // LANES * LANES, length):
        sums[0] += column[c] * upper_left[c]
        sums[1] += column[c] * upper_right[c]
        sums[2] += column[c] * lower_left[c]
        sums[3] += column[c] * lower_right[c]
        multiplies += 4
    return multiplies


@njit(parallel=True)
def corner_loops(
    images, columns, offset, mask, doffset, dmask, samples, places, corners, first, steps, counts
):
    # some of the output rows of all images, from the first on: images (N, H + 3, W + 3, C), one
    # zero above and left, two below and right; columns (g, rows, OW, K, C/g);
    # offset (N, 2 * G * K, OH, OW), y before x; mask (N, G * K, OH, OW), or empty. Filled, where
    # not empty: doffset, dmask, samples, as the columns; places (G * K, rows, OW) among all pixels;
    # corners (G * K, rows, OW, 4), weights times the mask; counts (G * K * rows, 5)
    # steps: see `deform_conv2d`
    (_, HP, WP, C), (taps, rows, OW), OH = images.shape, places.shape, offset.shape[2]
    SH, SW, top, left, DH, DW, KW, K, CG, length = steps
    CO, pixels = C * K // taps, images.reshape(images.size // C, C)  # CO: of an offset group
    for job in prange(taps * rows):  # an output row of one tap, for a sample serves all channels
        tap, row = job // rows, job % rows
        n, oh, g, t = (first + row) // OH, (first + row) % OH, tap // K, tap % K
        down, across, place = offset[n, 2 * tap, oh], offset[n, 2 * tap + 1, oh], places[tap, row]
        shares, outside = np.empty((4, OW), images.dtype), np.empty(OW, np.bool_)
        h, w = oh * SH + t // KW * DH - top, t % KW * DW - left
        placed = place_samples(down, across, h, w, SW, HP - 3, WP - 3, place, shares, outside, True)
        products, masked, positions, values, sums = 0, 0, 0, 0, np.empty(4, images.dtype)
        for ow in range(OW):
            place[ow] += n * HP * WP
            above, below = pixels[place[ow] :], pixels[place[ow] + WP :]
            a, b, c, d = shares[0, ow], shares[1, ow], shares[2, ow], shares[3, ow]
            if doffset.size + dmask.size > 0:
                sums[:] = 0
                for k in range(g * CO, (g + 1) * CO, length):  # channels of one group of each kind
                    products += corner_products(
                        *(columns[k // CG, row, ow, t, k % CG :], above[0, k:], above[1, k:]),
                        *(below[0, k:], below[1, k:], length, sums),
                    )
            p, q, r, s = sums[0], sums[1], sums[2], sums[3]
            if dmask.size > 0:
                dmask[n, tap, oh, ow] = a * p + b * q + c * r + d * s
                masked += 4
            if mask.size > 0:
                factor = mask[n, tap, oh, ow]
                a, b, c, d = factor * a, factor * b, factor * c, factor * d
                masked += 4
            if doffset.size > 0:
                doffset[n, 2 * tap, oh, ow] = (a + c) * (r - p) + (b + d) * (s - q)
                doffset[n, 2 * tap + 1, oh, ow] = (a + b) * (q - p) + (c + d) * (s - r)
                positions += 4
            corner = corners[tap, row, ow]
            corner[0], corner[1], corner[2], corner[3] = a, b, c, d
            if samples.size > 0:
                for k in range(g * CO, (g + 1) * CO, length):
                    sample = samples[k // CG, row, ow, t, k % CG :]
                    upper_left, upper_right = above[0, k:], above[1, k:]
                    lower_left, lower_right = below[0, k:], below[1, k:]
                    for i in range(length):
                        sample[i] = a * upper_left[i] + b * upper_right[i]
                        sample[i] += c * lower_left[i] + d * lower_right[i]
                        values += 4
        counts[job] = placed, products, masked, positions, values


@njit(parallel=True)
def spread_loops(columns, places, corners, dimages, length, slices, counts):
    # some output rows: columns (g, rows, OW, K, C/g), places (G * K, rows, OW) among all pixels,
    # corners (G * K, rows, OW, 4); added to dimages (N, H + 3, W + 3, C)
    # counts (C / length * slices)
    (_, rows, OW, K, CG), (N, HP, WP, C) = columns.shape, dimages.shape
    CO, pixels = C * K // places.shape[0], dimages.reshape(N * HP * WP, C)
    for job in prange(counts.size):  # has channels to itself: no two jobs add to one pixel
        k, part = job // slices * length, job % slices
        few, multiplies = length * (part + 1) // slices - length * part // slices, 0
        k += length * part // slices
        for row in range(rows):
            for ow in range(OW):
                for t in range(K):
                    tap = k // CO * K + t
                    above, below = places[tap, row, ow], places[tap, row, ow] + WP
                    corner = corners[tap, row, ow]
                    a, b, c, d = corner[0], corner[1], corner[2], corner[3]
                    column = columns[k // CG, row, ow, t, k % CG :]
                    upper_left, upper_right = pixels[above, k:], pixels[above + 1, k:]
                    lower_left, lower_right = pixels[below, k:], pixels[below + 1, k:]
                    for i in range(few):
                        upper_left[i] += a * column[i]
                        upper_right[i] += b * column[i]
                        lower_left[i] += c * column[i]
                        lower_right[i] += d * column[i]
                        multiplies += 4
        counts[job] = multiplies


def _product(
    values: np.ndarray, factors: np.ndarray, groups: int, method: str
) -> tuple[np.ndarray, int]:
    """Return a 1×1 convolution of values (C, K, C/g) by factors (M, …), and its multiplies."""
    window = shapes.window(values.shape[1:], 1)
    bias = np.zeros(factors.shape[0], values.dtype)
    weight = np.ascontiguousarray(factors)[:, :, np.newaxis, np.newaxis]
    call = Dense(values[np.newaxis], True, window, 0, weight, bias, False, groups)
    y, report = run(GROUPED, call, method)
    return y[0], report.multiplies


def deform_conv2d(
    dy: ArrayLike,
    x: ArrayLike,
    offset: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    mask: ArrayLike | None = None,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.deform_conv2d` with respect to its arrays.

    Parameters
    ----------
    dy : array_like (N, M, OH, OW) or (M, OH, OW)
        The gradient with respect to the output, in its shape and of x's type.
    x, offset, weight, stride, padding, dilation, mask
        As in the forward call.
    method : {'auto', 'direct', 'tiled'}
        As in the forward call, for the parts "columns" and "weight".
    needs : collection of str, optional
        Which of "x", "offset", "weight", "bias" and "mask" to find; all where it is left out.

    Returns
    -------
    GradResult
        `grads`, with these fields (mask is None where there is none), and `report` with the parts
        "columns", the gradients of the samples, "corner weights" (4 a sample, for all channels),
        "corner products" (4 a sample and channel, for the offset and the mask), "mask" (4 a sample,
        and 4 for its gradient), "positions" (4 a sample), "corner values" (4 a sample and channel,
        for the weight), "input" (4 a sample and channel) and "weight".

    Raises
    ------
    TypeError, ValueError
        As the forward function, if dy has not the shape of its output, or the gradient of a mask is
        wanted where there is none.

    References
    ----------
    Document §9; Dai et al., arXiv:1703.06211, appendix A.

    Examples
    --------
    A 1×1 kernel that reads half a pixel to the right: from there the image rises by 10, by 20, and
    falls by 40 beyond its border.

    >>> import numpy as np
    >>> x, offset = np.array([[[10.0, 20.0, 40.0]]]), np.zeros((2, 1, 3))
    >>> offset[1] = 0.5
    >>> grads, report = deform_conv2d(np.ones((1, 1, 3)), x, offset, np.ones((1, 1, 1, 1)))
    >>> grads.x[0, 0], grads.offset[1, 0], grads.weight.ravel()
    (array([0.5, 1. , 1. ]), array([ 10.,  20., -40.]), array([65.]))
    """
    call = deformed_call(x, offset, weight, None, mask, stride, padding, dilation)
    names = DeformableGradients._fields
    needed = wanted(needs, names, method)
    if not call.has_mask and "mask" in needed:
        if needs is not None:
            raise ValueError("needs: 'mask' was asked for, but the call has no mask")
        needed.remove("mask")
    (N, C, M), window, groups, dtype = call.sizes, call.window, call.groups, call.x.dtype
    dy = of_outputs(dy, call, M)
    (H, W), (OH, OW), (KH, KW) = window.size, window.output, window.kernel
    K, taps, CG = KH * KW, call.offset.shape[1] // 2, C // groups
    length = math.gcd(CG, C * K // taps)  # channels that have both kinds of groups in common
    before = window.padding[0][0], window.padding[1][0]
    steps = (*window.stride, *before, *window.dilation, KW, K, CG, length)
    # images (N, H, W, C), weights (M, K, C/g), outputs of all images (M, N * OH * OW), and of each
    # group (g, N * OH * OW, M/g)
    images = np.zeros((N, H + 3, W + 3, C), dtype)
    images[:, 1 : H + 1, 1 : W + 1] = call.x.transpose(0, 2, 3, 1)
    kernel = call.weight.reshape(M, CG, K).transpose(0, 2, 1).copy()
    outputs = dy.transpose(1, 0, 2, 3).reshape(M, N * OH * OW)
    by_pixel = outputs.reshape(groups, M // groups, N * OH * OW).transpose(0, 2, 1)
    dimages, dweight, doffset, dmask = (
        np.zeros(array.shape, dtype) for array in (images, call.weight, call.offset, call.mask)
    )
    by_tap = dweight.reshape(M, CG, K).transpose(0, 2, 1)  # as the kernel is
    of_samples = needed & {"x", "offset", "mask"}
    masked = (1 + ("mask" in needed)) * call.has_mask
    ran = {
        "columns": of_samples,
        "corner weights": needed - {"bias"},
        "corner products": needed & {"offset", "mask"},
        "mask": masked and needed - {"bias"},
        "positions": "offset" in needed,
        "corner values": "weight" in needed,
        "input": "x" in needed,
        "weight": "weight" in needed,
    }
    counts = {part: 0 for part, runs in ran.items() if runs}
    segments = C // length
    slices = min(length, -(-get_num_threads() // segments))  # of a segment, for threads
    height = max(1, BAND // (OW * K * C * dtype.itemsize))
    kept = np.empty(min(height, N * OH) * OW * K * C if "weight" in needed else 0, dtype)
    none, no_columns = np.empty((0, 0, 0, 0), dtype), np.empty((0, 0, 0, 0, 0), dtype)
    for first in range(0, N * OH if needed - {"bias"} else 0, height):
        rows = min(height, N * OH - first)
        size, pixels = (groups, rows, OW, K, CG), slice(first * OW, (first + rows) * OW)
        columns = no_columns
        samples = kept[: rows * OW * K * C].reshape(size) if kept.size else no_columns
        if of_samples:
            factors = by_pixel[:, pixels].reshape(-1, M // groups)
            columns, multiplies = _product(kernel, factors, groups, method)
            columns, counts["columns"] = columns.reshape(size), counts["columns"] + multiplies
        places, corners = np.empty((taps, rows, OW), np.intp), np.empty((taps, rows, OW, 4), dtype)
        each = np.zeros((taps * rows, 5), np.int64)
        corner_loops(
            *(images, columns, call.offset, call.mask),
            *(doffset if "offset" in needed else none, dmask if "mask" in needed else none),
            *(samples, places, corners, first, steps, each),
        )
        placed = ("corner weights", "corner products", "mask", "positions", "corner values")
        for part, multiplies in zip(placed, each.sum(axis=0).tolist(), strict=True):
            if part in counts:
                counts[part] += multiplies
        if "x" in needed:
            each = np.zeros(segments * slices, np.int64)
            spread_loops(columns, places, corners, dimages, length, slices, each)
            counts["input"] += int(each.sum())
        if "weight" in needed:
            values, factors = samples.reshape(-1, K, CG), outputs[:, pixels]
            made, multiplies = _product(values, factors, groups, method)
            by_tap += made
            counts["weight"] += multiplies
    found = {
        "x": dimages[:, 1 : H + 1, 1 : W + 1].transpose(0, 3, 1, 2).copy(),
        "offset": doffset,
        "weight": dweight,
        "bias": dy.sum(axis=(0, 2, 3)),
        "mask": dmask,
    }
    if not call.batched:
        found |= {name: found[name][0] for name in ("x", "offset", "mask") if found[name].size}
    grads = DeformableGradients(*(found[name] if name in needed else None for name in names))
    passes = [
        Pass(part, multiplies, accumulates=part not in ("corner weights", "mask")).within(part)
        for part, multiplies in counts.items()
    ]
    costs = partial(
        formulas.deformable_gradient,
        *(N, C, M, window),
        groups=groups,
        offset_groups=taps // K,
        masked=masked,
    )
    return result("deformable", grads, method, call, dy, call.parameters, passes, costs)


def deformable_layer(
    dy: ArrayLike,
    x: ArrayLike,
    offset_weight: ArrayLike,
    weight: ArrayLike,
    *,
    offset_bias: ArrayLike | None = None,
    mask_weight: ArrayLike | None = None,
    mask_bias: ArrayLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence = 0,
    dilation: int | Sequence[int] = 1,
    method: str = "auto",
    needs: Collection[str] | None = None,
) -> GradResult:
    """Return the gradients of `jitconv.deformable_layer` with respect to its arrays.

    The offsets are made again by their branch; what moves them, `deform_conv2d` backwards, goes
    back through it. So the branch learns where to look.

    Parameters
    ----------
    dy : array_like (N, M, OH, OW) or (M, OH, OW)
        The gradient with respect to the output, in its shape and of x's type.
    x, offset_weight, weight, offset_bias, mask_weight, mask_bias, stride, padding, dilation
        As in the forward call.
    method : {'auto', 'direct', 'tiled'}
        As in the forward call.
    needs : collection of str, optional
        Which of "x", "offset_weight", "weight", "bias", "offset_bias", "mask_weight" and
        "mask_bias" to find; all where it is left out.

    Returns
    -------
    GradResult
        `grads`, with these fields (those of the mask are None where there is none), and `report`
        with the parts "offset branch", which makes the offsets again, those of `deform_conv2d`,
        "offset branch input" and "offset branch weight", and the same of the mask.

    Raises
    ------
    TypeError, ValueError
        As the forward function, if dy has not the shape of its output, or a gradient of the mask
        branch is wanted where there is none.

    References
    ----------
    Document §9, Layer 구조 및 동작 방식.

    Examples
    --------
    >>> import numpy as np
    >>> x, weight = np.arange(64.0).reshape(1, 8, 8), np.ones((1, 1, 3, 3))
    >>> grads, report = deformable_layer(np.ones((1, 6, 6)), x, np.zeros((18, 1, 3, 3)), weight)
    >>> grads.offset_weight.shape, grads.offset_bias[:2]
    ((18, 1, 3, 3), array([288.,  36.]))
    """
    dense = deformable_dense(x, weight, None, stride, padding, dilation)
    branches = branches_of(dense, offset_weight, offset_bias, mask_weight, mask_bias)
    names = LayerGradients._fields
    needed = wanted(needs, names, method)
    absent = {"mask_weight", "mask_bias"} if "mask" not in branches else set()
    if needs is not None and needed & absent:
        raise ValueError(f"needs: {sorted(needed & absent)} were asked for, but there is no mask")
    needed -= absent
    x = dense.x
    dy = of_outputs(dy, dense, dense.sizes[2])
    steps: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    steps["method"] = method
    read = branches if needed - {"bias"} else {}  # a bias needs no offsets
    forward = {name: jitconv_conv2d(x, *arrays, **steps) for name, arrays in read.items()}
    offset = np.zeros((len(x), np.shape(branches["offset"][0])[0], *dense.window.output), x.dtype)
    mask = sigmoid(forward["mask"].output) if "mask" in forward else None
    # which gradients of the deformable convolution the branches need
    learns = {name: needed & {"x", f"{name}_weight", f"{name}_bias"} for name in branches}
    inner, report = deform_conv2d(
        dy,
        x,
        forward["offset"].output if forward else offset,
        weight,
        **steps,
        mask=mask,
        needs=needed & {"x", "weight", "bias"} | {name for name in branches if learns[name]},
    )
    found = {"x": inner.x, "weight": inner.weight, "bias": inner.bias}
    passes = [
        *(done.report.passes[0].within(f"{name} branch") for name, done in forward.items()),
        *report.passes,
    ]
    for name, (made, _) in branches.items():
        if not learns[name]:
            continue
        outputs = inner.offset
        if mask is not None and name == "mask":
            outputs = inner.mask * mask * (1 - mask)  # the slope of the sigmoid
        of_branch = {field.removeprefix(f"{name}_") for field in learns[name]}
        grads, done = conv2d(outputs, x, made, **steps, needs=of_branch)
        found |= {f"{name}_weight": grads.weight, f"{name}_bias": grads.bias}
        if grads.x is not None:
            found["x"] = found["x"] + grads.x
        for part in done.passes:
            kind = part.equals.partition(",")[0]
            passes.append(part._replace(equals=kind).within(f"{name} branch {part.name}"))
    if not dense.batched and found["x"] is not None:
        found["x"] = found["x"][0]
    grads = LayerGradients(*(found.get(name) if name in needed else None for name in names))
    K = dense.weight.shape[2] * dense.weight.shape[3]
    costs = partial(
        formulas.deformable_gradient,
        *(*dense.sizes, dense.window),
        groups=dense.groups,
        offset_groups=branches["offset"][0].shape[0] // (2 * K),
        masked=1 + bool(learns.get("mask")),
        branches=list(branches),
        biases=[name for name, (_, bias) in branches.items() if bias is not None],
    )
    arrays = itertools.chain(*branches.values())
    held = dense.parameters + sum(np.size(array) for array in arrays if array is not None)
    besides = ("the sigmoid of the mask, and its slope",) if mask is not None else ()
    return result("deformable layer", grads, method, dense, dy, held, passes, costs, besides)
