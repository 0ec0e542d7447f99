"""Write torchvision.npz: what torchvision makes of deform_conv2d calls. Run by hand where torchvision is installed.

python tests/golden/make_deformable.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.ops import deform_conv2d

CALLS = [  # x shape, weight shape, offset groups, where the samples go, options, more
    ((1, 3, 5, 6), (4, 3, 3, 3), 1, "near", {"padding": 1}, ""),
    ((2, 3, 6, 5), (2, 3, 3, 3), 1, "near", {}, "mask"),
    ((1, 2, 5, 6), (3, 2, 3, 3), 1, "unmoved", {"padding": 1}, ""),
    ((1, 2, 5, 6), (3, 2, 3, 3), 1, "far", {"padding": 1}, ""),
    ((1, 2, 5, 6), (3, 2, 3, 3), 1, "whole pixels", {"padding": 1}, "no bias"),
    ((1, 2, 5, 6), (3, 2, 3, 3), 1, "borders", {"padding": 1}, ""),
    ((1, 2, 5, 4), (3, 2, 2, 2), 1, "borders", {}, "float64"),
    ((1, 2, 6, 5), (3, 2, 3, 3), 1, "fading", {}, "mask"),
    ((1, 2, 4, 5), (3, 2, 3, 3), 1, "huge", {"padding": 1}, ""),
    (
        (1, 2, 7, 8),
        (3, 2, 3, 2),
        1,
        "near",
        {"stride": (2, 1), "dilation": (1, 2), "padding": (2, 1)},
        "",
    ),
    ((1, 2, 9, 8), (3, 2, 3, 3), 1, "near", {"stride": 2, "padding": 2, "dilation": 2}, "no bias"),
    ((1, 4, 5, 5), (3, 4, 2, 3), 2, "near", {"padding": (0, 1)}, "mask"),
    ((1, 4, 5, 6), (6, 2, 3, 3), 1, "near", {"stride": (1, 2)}, ""),
    ((2, 6, 4, 5), (6, 2, 2, 2), 2, "near", {"dilation": (2, 1)}, "mask, no bias, float64"),
    ((1, 6, 5, 4), (6, 1, 3, 3), 3, "near", {"padding": (1, 0)}, ""),
    ((1, 5, 4, 6), (20, 5, 1, 1), 5, "near", {"stride": 2}, "mask"),
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def moved(rng, where, place, length):
    """Return offsets along one axis, for taps that read at `place` without them."""
    near = 0.7 * rng.normal(size=place.shape)
    if where == "unmoved":
        return 0 * near
    if where == "far":  # every other one, or little but the bias would come out
        return near * rng.choice([1, 70], place.shape)
    if where == "whole pixels":
        return rng.integers(-2, 3, place.shape)
    if where == "borders":
        return rng.choice([-1, 0, 0.5, length - 1, length], place.shape) - place
    if where == "fading":  # between −1 and 0, and between length − 1 and length
        return rng.choice([-1, length - 1], place.shape) + rng.random(place.shape) - place
    if where == "huge":
        near.flat[rng.integers(near.size)] = 1e6
    return near


def offsets(rng, where, x_shape, kernel, groups, options):
    """Return (N, 2·G·KH·KW, OH, OW): down, then right, for each tap."""
    axes = []
    for axis, (size, k) in enumerate(zip(x_shape[2:], kernel, strict=True)):
        stride, padding, dilation = (
            pair(options.get(name, default))[axis]
            for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        )
        outputs = (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1
        axes.append(np.arange(k)[:, np.newaxis] * dilation + np.arange(outputs) * stride - padding)
    down = axes[0][:, np.newaxis, :, np.newaxis]  # KH, 1, OH, 1
    right = axes[1][np.newaxis, :, np.newaxis, :]  # 1, KW, 1, OW
    shape = (x_shape[0], groups, *np.broadcast_shapes(down.shape, right.shape))
    both = [
        moved(rng, where, np.broadcast_to(place, shape), length)
        for place, length in zip((down, right), x_shape[2:], strict=True)
    ]
    return np.stack(both, axis=4).reshape(shape[0], -1, *shape[4:])


def main():
    rng = np.random.default_rng(0)
    stored, cases = {}, []
    for x_shape, weight_shape, groups, where, options, more in CALLS:
        offset = offsets(rng, where, x_shape, weight_shape[2:], groups, options)
        arrays = {
            "x": rng.normal(size=x_shape),
            "offset": offset,
            "weight": rng.normal(size=weight_shape),
        }
        if "no bias" not in more:
            arrays["bias"] = rng.normal(size=weight_shape[0])
        if "mask" in more:
            arrays["mask"] = rng.random((len(offset), offset.shape[1] // 2, *offset.shape[2:]))
        dtype = np.float64 if "float64" in more else np.float32
        arrays = {name: a.astype(dtype) for name, a in arrays.items()}
        tensors = {name: torch.from_numpy(a) for name, a in arrays.items()}
        arrays["y"] = deform_conv2d(tensors.pop("x"), **tensors, **options).numpy()
        key = f"{len(cases):02}"
        stored.update({f"{key}_{name}": a for name, a in arrays.items()})
        about = f"{where}, offset groups {groups}{', ' * bool(more)}{more}"
        cases.append({"key": key, "about": about, "arrays": list(arrays), "options": options})
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    stored["cases"] = np.array(json.dumps({**versions, "cases": cases}))
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **stored)


if __name__ == "__main__":
    main()
