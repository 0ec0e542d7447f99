"""Write gradients.npz: what autograd makes of conv2d, conv_transpose2d and torchvision's deform_conv2d calls. Run by hand where torchvision is installed.

python tests/golden/make_gradients.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import conv2d, conv_transpose2d
from torchvision.ops import deform_conv2d

CASES = [  # function, x shape, weight shape, options
    ("conv2d", (2, 3, 7, 6), (4, 3, 3, 3), {"padding": 1}),
    ("conv2d", (1, 3, 8, 9), (2, 3, 3, 2), {"stride": [2, 3], "padding": [1, 2]}),
    ("conv2d", (1, 10, 13, 12), (9, 10, 3, 3), {"stride": 2, "padding": 1}),
    ("dilated_conv2d", (1, 2, 9, 8), (3, 2, 3, 3), {"dilation": [3, 2], "padding": 3}),
    (
        "grouped_conv2d",
        (1, 6, 7, 5),
        (9, 2, 3, 1),
        {"groups": 3, "stride": [3, 1], "padding": [2, 0]},
    ),
    ("depthwise_conv2d", (1, 3, 9, 17), (6, 1, 3, 3), {"padding": 1}),
    ("pointwise_conv2d", (1, 5, 4, 6), (3, 5, 1, 1), {"stride": 2}),
    ("conv_transpose2d", (1, 2, 8, 8), (2, 1, 4, 4), {"stride": 2, "padding": 1}),
    (
        "conv_transpose2d",
        (2, 6, 3, 4),
        (6, 2, 2, 3),
        {"groups": 3, "stride": [1, 2], "padding": [0, 1], "output_padding": [0, 1]},
    ),
    (
        "conv_transpose2d",
        (1, 2, 4, 5),
        (2, 3, 3, 2),
        {"dilation": [2, 3], "output_padding": [1, 2]},
    ),
]

DEFORMED = [  # x shape, weight shape, offset groups, whether masked and at whole pixels, options
    ((2, 4, 6, 7), (6, 4, 3, 3), 1, False, False, {"padding": 1}),
    ((1, 4, 6, 7), (6, 2, 3, 3), 2, True, False, {"stride": 2, "dilation": 2, "padding": 2}),
    ((1, 6, 5, 6), (4, 6, 2, 2), 3, True, True, {}),
    ((1, 2, 5, 6), (3, 2, 3, 3), 1, False, True, {"padding": 1}),
]


def deformed(rng, x_shape, weight_shape, G, masked, whole, options):
    """Return the arrays of a deformable call, and their gradients, by name."""
    arrays = {"x": rng.normal(size=x_shape), "weight": rng.normal(size=weight_shape)}
    (N, _, H, W), (_, _, KH, KW), grow = x_shape, weight_shape, 2 * options.get("padding", 0)
    step, apart = options.get("stride", 1), options.get("dilation", 1)
    OH, OW = ((n + grow - apart * (k - 1) - 1) // step + 1 for n, k in ((H, KH), (W, KW)))
    arrays["offset"] = 2 * rng.normal(size=(N, 2 * G * KH * KW, OH, OW))
    if whole:
        arrays["offset"] = np.round(arrays["offset"])
    if masked:
        arrays["mask"] = rng.normal(size=(N, G * KH * KW, OH, OW))
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}
    x, offset, weight = (tensors[name] for name in ("x", "offset", "weight"))
    y = deform_conv2d(x, offset, weight, **options, mask=tensors.get("mask"))
    arrays["dy"] = rng.normal(size=tuple(y.shape))
    y.backward(torch.from_numpy(arrays["dy"]))
    return arrays | {f"d{name}": tensor.grad.numpy() for name, tensor in tensors.items()}


def main() -> None:
    """Write the file beside this script."""
    rng = np.random.default_rng(0)
    arrays, cases = {}, []
    for key, (name, x_shape, weight_shape, options) in enumerate(CASES):
        x, weight = (rng.normal(size=s).astype(np.float32) for s in (x_shape, weight_shape))
        groups = x_shape[1] if name == "depthwise_conv2d" else options.get("groups", 1)
        transposed = name == "conv_transpose2d"
        M = weight_shape[1] * groups if transposed else weight_shape[0]
        tensors = [
            torch.tensor(a, requires_grad=True) for a in (x, weight, np.zeros(M, np.float32))
        ]
        function = conv_transpose2d if transposed else conv2d
        y = function(*tensors, **{**options, "groups": groups})
        dy = rng.normal(size=tuple(y.shape)).astype(np.float32)
        y.backward(torch.from_numpy(dy))
        arrays |= {f"{key}_dy": dy, f"{key}_x": x, f"{key}_weight": weight}
        for tensor, field in zip(tensors, ("x", "weight"), strict=False):
            arrays[f"{key}_d{field}"] = tensor.grad.numpy()
        names = ["x", "weight"]
        cases.append({"key": key, "function": name, "arrays": names, "options": options})
    for key, case in enumerate(DEFORMED, len(CASES)):
        found = deformed(rng, *case)
        arrays |= {f"{key}_{name}": array for name, array in found.items()}
        names = [name for name in found if f"d{name}" in found]
        cases.append(
            {"key": key, "function": "deform_conv2d", "arrays": names, "options": case[-1]}
        )
    path = Path(__file__).parent / "gradients.npz"
    np.savez_compressed(path, cases=json.dumps(cases), **arrays)


if __name__ == "__main__":
    main()
