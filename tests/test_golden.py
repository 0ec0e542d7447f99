"""conv2d, conv_transpose2d and resampling against PyTorch's outputs, stored by golden/make_golden.py."""

import json
from pathlib import Path

import numpy as np
import pytest

import jitconv

STORED = np.load(Path(__file__).parent / "golden" / "torch.npz")
CASES = json.loads(str(STORED["cases"]))["cases"]


@pytest.mark.parametrize("case", CASES, ids=[f"{c['function']}-{c['options']}" for c in CASES])
def test_same_as_torch(case):
    x, weight, bias, expected = (
        STORED[f"{case['key']}_{name}"] for name in ("x", "weight", "bias", "y")
    )
    y, report = getattr(jitconv, case["function"])(x, weight, bias, **case["options"])
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
