"""Gradients of a deformable convolution: of the image, the weight, the mask and the positions.

Behind the sampling stands a plain convolution of the samples, with one tap for each of them. Its
gradients come first: that of every sample, a column, by the loops of a 1×1 convolution. Then a
sample's gradient goes two ways. It is spread over the four corner pixels that the sample was read
from. And it moves the position: how much a sample changes when it is read a bit further down or to
the right is the slope of the bilinear surface there. Where a sample lies wholly outside the image,
also at an offset that is NaN or infinite, all this is zero.

At a whole pixel, and at −1, where samples fade to zero, the surface has an edge; the slope is that
to the right and below, as torchvision takes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import shapes
from ..call import empty, pad
from ..costs import formulas
from ..costs.report import Pass
from ..jit import njit, prange
from ..sampling import place_samples, sample_row
from ..variants.deformable import branches_of, deformable_dense, deformed_call, sigmoid
from ..variants.front_door import conv2d as jitconv_conv2d
from . import weights
from .backward import GradResult, of_input, of_outputs, result, wanted
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


@njit(parallel=True)
def sample_loops(
    x, offset, mask, columns, samples, doffset, dmask, places, corners, size, steps, counts
):
    # one image: x (C, (H + 3) * (W + 3)), one zero above and left, two below and right; size (H, W)
    # offset (2 * G * K, OH, OW), y before x; mask (G * K, OH, OW) or empty; places (G * K, OH, OW)
    # and corners (G * K, OH, 4, OW): filled; counts (G * K * OH, 4); steps: see `deform_conv2d`
    # columns (C * K, OH, OW), the gradients of the samples, or empty; where there is a mask, they
    # are multiplied by it; samples (C * K, OH, OW), doffset, dmask: filled, or empty
    (H, W), C, (taps, OH, OW) = size, x.shape[0], places.shape
    SH, SW, top, left, DH, DW, KW, K = steps
    G = taps // K
    for job in prange(taps * OH):  # an output row of one tap, for a sample serves all channels
        tap, oh = job // OH, job % OH
        g, t = tap // K, tap % K
        place, (a, b, c, d) = places[tap, oh], corners[tap, oh]
        outside = np.empty(OW, np.bool_)
        h, w = oh * SH + t // KW * DH - top, t % KW * DW - left
        down, right = offset[2 * tap, oh], offset[2 * tap + 1, oh]
        placed = place_samples(down, right, h, w, SW, H, W, place, corners[tap, oh], outside, True)
        values, masked, positions, value = 0, 0, 0, np.empty(OW, x.dtype)
        for ci in range(g * C // G, (g + 1) * C // G):  # the channels of offset group g
            pixels, below, column = x[ci], x[ci, W + 3 :], value
            if columns.size > 0:
                column = columns[ci * K + t, oh]
            if samples.size > 0 or dmask.size > 0:
                values += sample_row(pixels, W, place, corners[tap, oh], value)
            if dmask.size > 0:
                for ow in range(OW):
                    dmask[tap, oh, ow] += column[ow] * value[ow]
                    masked += 1
            if samples.size > 0:
                samples[ci * K + t, oh] = value
                if mask.size > 0:
                    for ow in range(OW):
                        samples[ci * K + t, oh, ow] *= mask[tap, oh, ow]
                        masked += 1
            if columns.size > 0 and mask.size > 0:
                for ow in range(OW):
                    column[ow] *= mask[tap, oh, ow]
                    masked += 1
            if doffset.size > 0:
                for ow in range(OW):
                    i, j = np.uintp(place[ow]), np.uintp(place[ow] + 1)
                    # how steep between the upper and the lower corners, and the left and the right
                    slope = (a[ow] + c[ow]) * (below[i] - pixels[i])
                    slope += (b[ow] + d[ow]) * (below[j] - pixels[j])
                    doffset[2 * tap, oh, ow] += column[ow] * slope
                    slope = (a[ow] + b[ow]) * (pixels[j] - pixels[i])
                    slope += (c[ow] + d[ow]) * (below[j] - below[i])
                    doffset[2 * tap + 1, oh, ow] += column[ow] * slope
                    positions += 6
        counts[job] = placed, values, masked, positions


@njit(parallel=True)
def spread_loops(columns, places, corners, dx, W, counts):
    # one image: columns (C * K, OH, OW), places (G * K, OH, OW), corners (G * K, OH, 4, OW),
    # dx (C, (H + 3) * (W + 3)) zeros, padded as x is; counts (C,)
    (taps, OH, OW), C = places.shape, dx.shape[0]
    K = columns.shape[0] // C
    for c in prange(C):  # a job has a channel to itself: no two of them add to one pixel
        multiplies, first = 0, c * (taps // K) // C * K  # the first tap of c's offset group
        pixels, below = dx[c], dx[c, W + 3 :]
        for t in range(K):
            for oh in range(OH):
                column, place, corner = (
                    columns[c * K + t, oh],
                    places[first + t, oh],
                    corners[first + t, oh],
                )
                for ow in range(OW):
                    i, j = np.uintp(place[ow]), np.uintp(place[ow] + 1)
                    pixels[i] += column[ow] * corner[0, ow]
                    pixels[j] += column[ow] * corner[1, ow]
                    below[i] += column[ow] * corner[2, ow]
                    below[j] += column[ow] * corner[3, ow]
                    multiplies += 4
        counts[c] = multiplies


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
        "columns", the gradients of the samples, "corner weights" (4 a sample), "corner values" (4 a
        sample and channel, for the weight and the mask), "mask", "positions" (6 a sample and
        channel), "input" (4) and "weight".

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
    K, pixels = KH * KW, shapes.window(window.output, 1)
    taps = call.offset.shape[1] // 2
    before = window.padding[0][0], window.padding[1][0]
    steps = (*window.stride, *before, *window.dilation, KW, K)
    kernel, none = call.weight.reshape(M, -1, 1, 1), np.empty((0, 0, 0), dtype)
    padded, _ = pad(call.x, ((1, 2), (1, 2)))
    planes = padded.reshape(N, C, (H + 3) * (W + 3))
    dx, dweight = np.zeros_like(planes), np.zeros_like(kernel)
    doffset, dmask = np.zeros_like(call.offset), np.zeros_like(call.mask)
    places, corners = np.empty((taps, OH, OW), np.intp), np.empty((taps, OH, 4, OW), dtype)
    samples = empty("samples", (C * K, OH, OW), dtype) if "weight" in needed else none
    of_samples, of_values = needed & {"x", "offset", "mask"}, needed & {"weight", "mask"}
    masked = call.has_mask * (bool(of_samples) + len(of_values))
    ran = {
        "columns": of_samples,
        "corner weights": needed - {"bias"},
        "corner values": of_values,
        "mask": masked,
        "positions": "offset" in needed,
        "input": "x" in needed,
        "weight": "weight" in needed,
    }
    counts = {part: 0 for part, run in ran.items() if run}
    for n in range(N if needed - {"bias"} else 0):
        columns = none
        if of_samples:
            made, done = of_input(dy[n : n + 1], kernel, pixels, groups, method)
            columns = made[0]
            counts["columns"] += done.multiplies
        each = np.zeros((taps * OH, 4), np.int64)
        sample_loops(
            planes[n],
            call.offset[n],
            call.mask[n] if call.has_mask else none,
            columns,
            samples,
            doffset[n] if "offset" in needed else none,
            dmask[n] if "mask" in needed else none,
            *(places, corners, window.size, steps, each),
        )
        placed = ("corner weights", "corner values", "mask", "positions")
        for part, multiplies in zip(placed, each.sum(axis=0).tolist(), strict=True):
            if part in counts:
                counts[part] += multiplies
        if "x" in needed:
            each = np.zeros(C, np.int64)
            spread_loops(columns, places, corners, dx[n], W, each)
            counts["input"] += int(each.sum())
        if "weight" in needed:
            of_image, done = weights.run(samples[np.newaxis], dy[n : n + 1], pixels, groups, method)
            dweight += of_image
            counts["weight"] += done.multiplies
    found = {
        "x": dx.reshape(padded.shape)[:, :, 1 : H + 1, 1 : W + 1].copy(),
        "offset": doffset,
        "weight": dweight.reshape(call.weight.shape),
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
    forward = {name: jitconv_conv2d(x, *arrays, **steps) for name, arrays in branches.items()}
    mask = sigmoid(forward["mask"].output) if "mask" in forward else None
    # which gradients of the deformable convolution the branches need
    learns = {name: needed & {"x", f"{name}_weight", f"{name}_bias"} for name in branches}
    inner, report = deform_conv2d(
        dy,
        x,
        forward["offset"].output,
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
    meets_mask = sum((bool(learns["offset"] or learns.get("mask")), "weight" in needed))
    masked = (meets_mask + bool(learns.get("mask"))) * (mask is not None)
    K = dense.weight.shape[2] * dense.weight.shape[3]
    costs = partial(
        formulas.deformable_gradient,
        *(*dense.sizes, dense.window),
        groups=dense.groups,
        offset_groups=branches["offset"][0].shape[0] // (2 * K),
        masked=masked,
        branches=list(branches),
        biases=[name for name, (_, bias) in branches.items() if bias is not None],
    )
    held = dense.parameters + sum(done.report.parameters for done in forward.values())
    besides = ("the sigmoid of the mask, and its slope",) if mask is not None else ()
    return result("deformable layer", grads, method, dense, dy, held, passes, costs, besides)
