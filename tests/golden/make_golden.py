"""Write torch.npz: what PyTorch makes of conv2d, conv_transpose2d, interpolate and max_pool2d calls. Run by hand where torch is installed.

python tests/golden/make_golden.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, max_pool2d, pad

CONV = [  # x shape, weight shape, options
    ((2, 3, 7, 6), (4, 3, 3, 3), {}),
    ((2, 3, 7, 6), (4, 3, 3, 3), {"padding": 1}),
    ((1, 3, 8, 9), (2, 3, 3, 2), {"stride": 2}),
    ((1, 3, 8, 9), (2, 3, 3, 2), {"stride": (2, 3), "padding": (1, 2)}),
    ((1, 2, 9, 9), (3, 2, 3, 3), {"dilation": 2}),
    ((1, 2, 9, 8), (3, 2, 3, 3), {"dilation": (3, 2), "padding": 3, "stride": (1, 2)}),
    ((1, 2, 6, 7), (3, 2, 3, 3), {"padding": ((0, 2), (3, 1))}),
    ((1, 2, 6, 7), (3, 2, 2, 4), {"padding": ((2, 0), (0, 1)), "stride": 2, "dilation": (2, 1)}),
    ((1, 2, 6, 7), (3, 2, 4, 2), {"padding": "same"}),
    ((1, 2, 6, 7), (3, 2, 3, 3), {"padding": "same", "dilation": 2}),
    ((1, 2, 6, 7), (3, 2, 3, 3), {"padding": "valid"}),
    ((2, 6, 5, 5), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    ((1, 6, 7, 5), (9, 2, 3, 1), {"groups": 3, "stride": (3, 1), "padding": (2, 0)}),
    ((1, 4, 6, 6), (8, 1, 3, 3), {"groups": 4, "padding": 1, "dilation": 2}),
    ((1, 5, 4, 6), (3, 5, 1, 1), {"stride": 2}),
    ((1, 1, 3, 3), (1, 1, 5, 5), {"padding": 4}),
    ((1, 1, 4, 4), (2, 1, 1, 1), {"padding": 2, "stride": 3}),
    ((3, 4, 4), (2, 3, 3, 3), {"padding": 1}),
]
TRANSPOSED = [
    ((2, 3, 4, 5), (3, 4, 3, 3), {}),
    ((1, 2, 8, 8), (2, 1, 4, 4), {"stride": 2, "padding": 1}),
    ((1, 2, 4, 5), (2, 3, 3, 2), {"stride": (2, 3)}),
    ((1, 2, 4, 5), (2, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 2, 4, 5), (2, 3, 3, 3), {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 1)}),
    ((1, 2, 4, 5), (2, 3, 3, 2), {"dilation": (2, 3), "stride": 1, "output_padding": (1, 2)}),
    ((1, 2, 4, 4), (2, 3, 3, 3), {"dilation": 2, "stride": 3, "padding": 2}),
    ((2, 4, 3, 4), (4, 3, 3, 3), {"groups": 2, "stride": 2}),
    (
        (1, 6, 3, 4),
        (6, 2, 2, 3),
        {"groups": 3, "stride": (1, 2), "padding": (0, 1), "output_padding": (0, 1)},
    ),
    ((1, 3, 4, 4), (3, 1, 4, 4), {"groups": 3, "stride": 2, "padding": 1}),
    ((1, 2, 4, 4), (2, 2, 1, 1), {"stride": 3, "output_padding": 2}),
    ((1, 2, 4, 5), (2, 3, 3, 3), {"stride": 2, "padding": ((1, 0), (2, 1))}),
    ((1, 1, 5, 5), (1, 1, 5, 5), {"padding": 4}),
    ((2, 4, 4), (2, 3, 3, 3), {"stride": 2}),
]


def run(function, x, weight, bias, options):
    x, weight, bias = map(torch.from_numpy, (x, weight, bias))
    options = dict(options)
    padding = options.get("padding")
    if isinstance(padding, tuple) and isinstance(
        padding[0], tuple
    ):  # torch pads both ends alike: pad or crop here
        del options["padding"]
        (top, bottom), (left, right) = padding
        if function is conv2d:
            return conv2d(pad(x, (left, right, top, bottom)), weight, bias, **options).numpy()
        y = conv_transpose2d(x, weight, bias, **options)
        return y[..., top : y.shape[-2] - bottom, left : y.shape[-1] - right].numpy()
    return function(x, weight, bias, **options).numpy()


def main():
    rng = np.random.default_rng(0)
    stored, cases = {}, []
    for function, calls in ((conv2d, CONV), (conv_transpose2d, TRANSPOSED)):
        for x_shape, weight_shape, options in calls:
            outputs = (
                weight_shape[0]
                if function is conv2d
                else weight_shape[1] * options.get("groups", 1)
            )
            key = f"{len(cases):02}"
            arrays = [
                rng.normal(size=shape).astype(np.float32)
                for shape in (x_shape, weight_shape, (outputs,))
            ]
            stored.update(
                {
                    f"{key}_{name}": a
                    for name, a in zip(("x", "weight", "bias"), arrays, strict=True)
                }
            )
            stored[f"{key}_y"] = run(function, *arrays, options)
            cases.append({"key": key, "function": function.__name__, "options": options})
    x = rng.normal(size=(1, 2, 5, 6)).astype(np.float32)
    stored["resample_x"] = x
    stored["bilinear_y"] = interpolate(
        torch.from_numpy(x), scale_factor=(3, 2), mode="bilinear"
    ).numpy()
    stored["pool_y"] = max_pool2d(torch.from_numpy(x), (3, 2), stride=2, padding=1).numpy()
    stored["cases"] = np.array(json.dumps({"torch": torch.__version__, "cases": cases}))
    np.savez_compressed(Path(__file__).with_name("torch.npz"), **stored)


if __name__ == "__main__":
    main()
