"""Independent oracles: each public function again, from its definition, in slow float64 NumPy, importing nothing of jitconv.

They are written differently from the kernels: output pixel by output pixel over windows cut from a
padded image, the transposed convolution as a scatter onto a canvas, bilinear samples as a sum of
hat functions over all pixels. Arguments and defaults are those of the functions that they stand
for; results are plain arrays.
"""

import itertools
import math

import numpy as np


def pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def ends(padding, size, kernel, stride, dilation):
    """((top, bottom), (left, right)) of any form of padding."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding in ("same", "same_lower"):
        both = []
        for h, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = 0
            while (h + total - d * (k - 1) - 1) // s + 1 < math.ceil(
                h / s
            ):  # the least that gives ceil(h / s) outputs
                total += 1
            both.append((total // 2, total - total // 2)[:: 1 if padding == "same" else -1])
        return tuple(both)
    return tuple(pair(side) for side in pair(padding))


def batch(function):
    """Let a function on batches take single images too."""

    def either(x, *arrays, **options):
        x = np.asarray(x, np.float64)
        arrays = [None if a is None else np.asarray(a, np.float64) for a in arrays]
        if x.ndim == 4:
            return function(x, *arrays, **options)
        return function(x[None], *arrays, **options)[0]

    return either


@batch
def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    (SH, SW), (DH, DW) = pair(stride), pair(dilation)
    M, CG, KH, KW = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), *ends(padding, x.shape[2:], (KH, KW), (SH, SW), (DH, DW))))
    reach_h, reach_w = DH * (KH - 1) + 1, DW * (KW - 1) + 1
    rows, columns = (
        range(0, padded.shape[2] - reach_h + 1, SH),
        range(0, padded.shape[3] - reach_w + 1, SW),
    )
    y = np.zeros((len(x), M, len(rows), len(columns)))
    for (oh, top), (ow, left) in itertools.product(enumerate(rows), enumerate(columns)):
        windows = padded[:, :, top : top + reach_h : DH, left : left + reach_w : DW]
        for m in range(M):
            g = m * groups // M
            y[:, m, oh, ow] = (windows[:, g * CG : (g + 1) * CG] * weight[m]).sum(axis=(1, 2, 3))
    return y if bias is None else y + bias[:, None, None]


def standard_conv2d(x, weight, bias=None, **options):
    return conv2d(x, weight, bias, **options)


def dilated_conv2d(x, weight, bias=None, *, dilation=2, **options):
    return conv2d(x, weight, bias, dilation=dilation, **options)


def grouped_conv2d(x, weight, bias=None, *, groups, **options):
    return conv2d(x, weight, bias, groups=groups, **options)


def depthwise_conv2d(x, weight, bias=None, **options):
    multiplier = len(weight) // np.shape(x)[-3]
    planes = [
        conv2d(
            np.asarray(x)[..., m // multiplier : m // multiplier + 1, :, :],
            weight[m : m + 1],
            **options,
        )
        for m in range(len(weight))
    ]
    y = np.concatenate(planes, axis=-3)
    return y if bias is None else y + np.asarray(bias)[:, None, None]


def pointwise_conv2d(x, weight, bias=None, *, stride=1):
    SH, SW = pair(stride)
    weight = np.asarray(weight).reshape(len(weight), -1)
    y = np.einsum("mc,...chw->...mhw", weight.astype(np.float64), np.asarray(x)[..., ::SH, ::SW])
    return y if bias is None else y + np.asarray(bias)[:, None, None]


def separable_conv2d(x, column, row, **options):
    C = np.shape(x)[-3]
    return depthwise_conv2d(x, np.tile(np.outer(column, row), (C, 1, 1, 1)), **options)


def depthwise_separable_conv2d(x, depthwise_weight, pointwise_weight, bias=None, **options):
    return pointwise_conv2d(
        depthwise_conv2d(x, depthwise_weight, **options), pointwise_weight, bias
    )


@batch
def conv_transpose2d(
    x, weight, bias=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1
):
    (SH, SW), (DH, DW), (EH, EW) = pair(stride), pair(dilation), pair(output_padding)
    (N, C, H, W), (_, MG, KH, KW) = x.shape, weight.shape
    canvas = np.zeros(
        (
            N,
            MG * groups,
            (H - 1) * SH + DH * (KH - 1) + 1 + EH,
            (W - 1) * SW + DW * (KW - 1) + 1 + EW,
        )
    )
    if padding in ("same", "same_lower"):
        size = (H * SH, W * SW)
        (top, _), (left, _) = ends(padding, size, (KH, KW), (SH, SW), (DH, DW))
        canvas = np.zeros(
            (
                N,
                MG * groups,
                max(canvas.shape[2], top + size[0]),
                max(canvas.shape[3], left + size[1]),
            )
        )
    else:
        (top, bottom), (left, right) = ends(padding, (H, W), (KH, KW), (SH, SW), (DH, DW))
        size = (canvas.shape[2] - top - bottom, canvas.shape[3] - left - right)
    for c, ih, iw in np.ndindex(C, H, W):
        g = c * groups // C
        landing = canvas[:, g * MG : (g + 1) * MG, ih * SH :, iw * SW :][
            :, :, : DH * (KH - 1) + 1 : DH, : DW * (KW - 1) + 1 : DW
        ]
        landing += x[:, c, ih, iw][:, None, None, None] * weight[c]
    y = canvas[:, :, top : top + size[0], left : left + size[1]]
    return y if bias is None else y + bias[:, None, None]


def deform_conv2d(x, offset, weight, bias=None, *, stride=1, padding=0, dilation=1, mask=None):
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    if x.ndim == 3:
        mask = None if mask is None else np.asarray(mask)[None]
        options = {"stride": stride, "padding": padding, "dilation": dilation, "mask": mask}
        return deform_conv2d(x[None], np.asarray(offset)[None], weight, bias, **options)[0]
    samples, _ = deformable_samples(
        x, offset, weight.shape, stride, padding, dilation
    )  # (N, C, KH, KW, OH, OW)
    M, CG, KH, KW = weight.shape
    N, C, *_, OH, OW = samples.shape
    if mask is not None:
        mask = np.asarray(mask)
        factors = mask.reshape(N, mask.shape[-3] // (KH * KW), KH, KW, OH, OW)
        samples = samples * factors.repeat(C // factors.shape[1], axis=1)
    y = np.zeros((N, M, OH, OW))
    for m in range(M):
        first = m * (C // CG) // M * CG
        y[:, m] = np.einsum("nckloh,ckl->noh", samples[:, first : first + CG], weight[m])
    return y if bias is None else y + bias[:, None, None]


def deformable_samples(x, offset, weight_shape, stride=1, padding=0, dilation=1):
    """Return every sample (N, C, KH, KW, OH, OW), and whether it lies in the image (N, G, KH, KW, OH, OW)."""
    (SH, SW), (DH, DW) = pair(stride), pair(dilation)
    KH, KW = weight_shape[2:]
    N, C, H, W = x.shape
    (top, _), (left, _) = ends(padding, (H, W), (KH, KW), (SH, SW), (DH, DW))
    OH, OW = offset.shape[-2:]
    offset = np.asarray(offset, np.float64).reshape(N, *offset.shape[-3:])
    offset = offset.reshape(N, offset.shape[1] // (2 * KH * KW), KH, KW, 2, OH, OW)
    G = offset.shape[1]
    samples, inside = np.zeros((N, C, KH, KW, OH, OW)), np.zeros((N, G, KH, KW, OH, OW), bool)
    for n, c, kh, kw, oh, ow in np.ndindex(samples.shape):
        g = c * G // C
        dy, dx = offset[n, g, kh, kw, :, oh, ow]
        h, w = oh * SH + kh * DH - top + dy, ow * SW + kw * DW - left + dx
        if -1 < h < H and -1 < w < W:
            inside[n, g, kh, kw, oh, ow] = True
            hats = np.maximum(0, 1 - abs(np.arange(H) - h))[:, None] * np.maximum(
                0, 1 - abs(np.arange(W) - w)
            )
            samples[n, c, kh, kw, oh, ow] = (hats * x[n, c]).sum()
    return samples, inside


def deformable_layer(
    x,
    offset_weight,
    weight,
    bias=None,
    *,
    offset_bias=None,
    mask_weight=None,
    mask_bias=None,
    **options,
):
    offset = conv2d(x, offset_weight, offset_bias, **options)
    mask = (
        None
        if mask_weight is None
        else 1 / (1 + np.exp(-conv2d(x, mask_weight, mask_bias, **options)))
    )
    return deform_conv2d(x, offset, weight, bias, mask=mask, **options)


def counts(function, x, *arrays, **options):
    """Return (multiplies, multiplies on padding) of a call, by counting on images of ones and kernels of ones.

    Convolved with ones, an image of ones gives in each output pixel the number of its taps that lie
    in the image.
    """
    ones = [np.ones_like(np.asarray(a), np.float64) for a in (x, *arrays) if a is not None]
    if function in (
        "conv2d",
        "standard_conv2d",
        "dilated_conv2d",
        "grouped_conv2d",
        "depthwise_conv2d",
    ):
        y = globals()[function](ones[0], ones[1], **options)
        taps = math.prod(ones[1].shape[1:])
        return y.size * taps, round(y.size * taps - y.sum())
    if function == "pointwise_conv2d":
        return round(pointwise_conv2d(ones[0], ones[1], **options).sum()), 0
    if function == "conv_transpose2d":
        return round(conv_transpose2d(ones[0], ones[1], **options).sum()), 0
    if function == "separable_conv2d":
        sizes = (np.shape(x)[-2:], (np.size(arrays[0]), np.size(arrays[1])))
        stride, dilation = pair(options.get("stride", 1)), pair(options.get("dilation", 1))
        vertical, horizontal = ends(options.get("padding", 0), *sizes, stride, dilation)
        down = {
            "stride": (stride[0], 1),
            "dilation": (dilation[0], 1),
            "padding": (vertical, (0, 0)),
        }
        across = {
            "stride": (1, stride[1]),
            "dilation": (1, dilation[1]),
            "padding": ((0, 0), horizontal),
        }
        middle = separable_conv2d(ones[0], ones[1], [1.0], **down)
        y = separable_conv2d(np.ones_like(middle), [1.0], ones[2], **across)
        total = middle.size * sizes[1][0] + y.size * sizes[1][1]
        return total, round(total - middle.sum() - y.sum())
    if function == "depthwise_separable_conv2d":
        first = counts("depthwise_conv2d", x, arrays[0], **options)
        middle = depthwise_conv2d(ones[0], ones[1], **options)
        return first[0] + counts("pointwise_conv2d", middle, arrays[1])[0], first[1]
    if function == "deform_conv2d":
        x, offset = (
            np.asarray(a)[None] if np.ndim(x) == 3 else np.asarray(a) for a in (x, arrays[0])
        )
        mask, weight = options.pop("mask", None), np.asarray(arrays[1])
        samples, inside = deformable_samples(x, offset, weight.shape, **options)
        C, G, MG = x.shape[1], inside.shape[1], len(weight) * weight.shape[1] // x.shape[1]
        sampling = 4 * inside.size + 4 * samples.size + (samples.size if mask is not None else 0)
        return sampling + MG * samples.size, int(MG * (C // G) * (~inside).sum())
    if function == "deformable_layer":
        offset_weight, weight, *_ = arrays
        biases = {name: options.pop(f"{name}_bias", None) for name in ("offset", "mask")}
        mask = options.pop("mask_weight", None)
        offset = conv2d(x, offset_weight, biases["offset"], **options)
        done = [counts("conv2d", x, offset_weight, **options)]
        if mask is not None:
            done.append(counts("conv2d", x, mask, **options))
        done.append(counts("deform_conv2d", x, offset, weight, mask=mask, **options))
        return tuple(map(sum, zip(*done, strict=True)))
    raise KeyError(function)
