"""Write rounding.json: by how much PyTorch's float32 outputs miss those of float64. Run by hand where PyTorch is installed.

python tests/golden/make_rounding.py
"""

import json
from pathlib import Path

import numpy as np
import torch

LAYERS = [  # function, C, M, H, K, options
    *(
        ("conv2d", C, C, H, 3, {"padding": 1})
        for C, H in ((64, 56), (128, 28), (256, 14), (512, 7))
    ),
    *(("conv2d", C, C, H, 3, {"padding": 1}) for C, H in ((96, 40), (160, 20), (320, 10))),
    ("conv2d", 3, 64, 224, 7, {"stride": 2, "padding": 3}),
    ("conv2d", 64, 96, 33, 5, {"padding": 2}),
    ("conv2d", 512, 12, 40, 3, {"padding": 1}),
    ("conv2d", 96, 1, 64, 7, {"padding": 3}),
    ("conv2d", 192, 192, 25, 3, {"padding": 6, "dilation": 6}),
    ("conv2d", 256, 256, 28, 3, {"padding": 12, "dilation": 12}),
    ("conv2d", 96, 96, 40, 3, {"padding": 1, "groups": 3}),
    ("conv2d", 512, 512, 14, 3, {"padding": 1, "groups": 32}),
    ("conv2d", 256, 64, 56, 1, {}),
    ("conv2d", 960, 160, 7, 1, {}),
    ("conv2d", 1024, 1024, 7, 1, {}),
    ("conv2d", 192, 192, 28, 7, {"padding": 3, "groups": 192}),
    ("conv_transpose2d", 64, 32, 56, 4, {"stride": 2, "padding": 1}),
    ("conv_transpose2d", 256, 128, 14, 4, {"stride": 2, "padding": 1}),
]


def arrays(function, C, M, H, K, options):
    """Return the image and the weight of a layer, the same in each run."""
    rng, groups = np.random.default_rng(C + M + H), options.get("groups", 1)
    x = rng.standard_normal((1, C, H, H), dtype=np.float32)
    shape = (C, M, K, K) if function == "conv_transpose2d" else (M, C // groups, K, K)
    return x, rng.standard_normal(shape, dtype=np.float32)


def missed(y, exact):
    """Return the greatest error, as a share of the greatest output."""
    return float(np.abs(y - exact).max() / np.abs(exact).max())


if __name__ == "__main__":
    stored = []
    for layer in LAYERS:
        function, *_, options = layer
        x, weight = map(torch.from_numpy, arrays(*layer))
        run = getattr(torch.nn.functional, function)
        exact = run(x.double(), weight.double(), **options).numpy()
        stored.append([*layer, missed(run(x, weight, **options).numpy(), exact)])
    lines = ",\n".join(map(json.dumps, stored))
    (Path(__file__).parent / "rounding.json").write_text(f"[\n{lines}\n]\n", encoding="utf8")
