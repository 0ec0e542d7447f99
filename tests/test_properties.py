"""Every variant against its oracle: outputs, counts and verify(), over shapes and options drawn by Hypothesis."""

import calls
import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("function", calls.FUNCTIONS)
@given(data=st.data())
def test_variant_matches_its_oracle_and_its_formulas(function, data):
    call = data.draw(calls.calls(function))
    y, report = call.run()
    expected = call.expected()
    assert y.shape == expected.shape == report.output_shape
    assert y.dtype == call.arrays[0].dtype
    assert y.flags.c_contiguous
    scale = max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(y, expected, atol=scale * (1e-4 if y.dtype == np.float32 else 1e-10))

    report.verify()
    multiplies, on_padding = naive.counts(function, *call.arrays, **call.options)
    assert report.multiplies_in_bounds == multiplies - on_padding
    if report.method == "direct":
        assert report.multiplies == multiplies
    else:  # phases of a transposed convolution meet the zeros around the image
        assert report.multiplies <= report.value("phases" if report.has("phases") else "dense")
    held = [
        a.size
        for name, a in call.given().items()
        if call.variant.arrays[name].role in ("weight", "bias")
    ]
    assert report.parameters == sum(held)
    numbers = [report.parameters, report.multiplies, report.flops, *report.parts.values()]
    assert all(type(n) is int for n in numbers)


@given(calls.calls())
def test_inputs_are_not_modified(call):
    before = [None if a is None else a.copy() for a in call.arrays]
    call.run()
    for array, copy in zip(call.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
