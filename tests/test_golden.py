"""Convolutions and resampling against PyTorch's and torchvision's outputs, stored by the scripts in golden/."""

import json
from pathlib import Path

import numba
import numpy as np
import pytest

import jitconv

STORED = np.load(Path(__file__).parent / "golden" / "torch.npz")
CASES = json.loads(str(STORED["cases"]))["cases"]
DEFORMED = np.load(Path(__file__).parent / "golden" / "torchvision.npz")
DEFORMABLE = json.loads(str(DEFORMED["cases"]))["cases"]


@pytest.mark.parametrize("case", CASES, ids=[f"{c['function']}-{c['options']}" for c in CASES])
def test_same_as_torch(case):
    x, weight, bias, expected = (
        STORED[f"{case['key']}_{name}"] for name in ("x", "weight", "bias", "y")
    )
    y, report = getattr(jitconv, case["function"])(x, weight, bias, **case["options"])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    report.verify()


@pytest.mark.parametrize("method", ["direct", "tiled"])
@pytest.mark.parametrize(
    "case", DEFORMABLE, ids=[f"{c['about']}-{c['options']}" for c in DEFORMABLE]
)
def test_same_as_torchvision(case, method):
    arrays = {name: DEFORMED[f"{case['key']}_{name}"] for name in case["arrays"]}
    expected = arrays.pop("y")
    y, report = jitconv.deform_conv2d(**arrays, **case["options"], method=method)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    report.verify()


def test_resampling_as_torch():
    x = STORED["resample_x"]
    np.testing.assert_allclose(
        jitconv.bilinear_upsample(x, (3, 2)), STORED["bilinear_y"], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(
        jitconv.max_pool2d(x, (3, 2), stride=2, padding=1), STORED["pool_y"]
    )


ROUNDING = json.loads((Path(__file__).parent / "golden" / "rounding.json").read_text("utf8"))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.parametrize("layer", ROUNDING, ids=lambda layer: " ".join(map(str, layer[:5])))
def test_float32_rounds_about_as_in_torch(layer):
    """The greatest error is at most twice PyTorch's: sums are cut into short ones."""
    function, C, M, H, K, options, torch_missed = layer
    rng, groups = np.random.default_rng(C + M + H), options.get("groups", 1)
    x = rng.standard_normal((1, C, H, H), dtype=np.float32)
    shape = (C, M, K, K) if function == "conv_transpose2d" else (M, C // groups, K, K)
    weight = rng.standard_normal(shape, dtype=np.float32)
    run = getattr(jitconv, function)
    exact = run(x.astype(float), weight.astype(float), **options, method="direct").output
    y = run(x, weight, **options, method="tiled").output
    assert np.abs(y - exact).max() <= 2 * torch_missed * np.abs(exact).max()
