"""Dask arrays block by block, against the same call on the whole array."""

import calls
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from jitconv import blockwise  # noqa: E402

CUT = {"x", "offset", "mask"}


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@st.composite
def chunks(draw, size):
    """Draw a way to cut an axis."""
    edges = draw(st.sets(st.integers(1, size - 1), max_size=4)) if size > 1 else set()
    edges = [0, *sorted(edges), size]
    return tuple(b - a for a, b in zip(edges[:-1], edges[1:], strict=True))


def lazily(call, draw):
    """Cut the arrays of a call at drawn places, and name its function of Dask arrays."""
    given = {}
    for name, array in call.given().items():
        if name in CUT:
            cut = tuple(draw(chunks(size)) for size in array.shape)
            array = da.from_array(array, chunks=cut)
        given[name] = array
    options = {name: value for name, value in call.options.items() if name not in given}
    function = getattr(blockwise, call.function.__name__)
    return function(**given, **options, method=call.method)


FUNCTIONS = [name for name in calls.FUNCTIONS if name != "standard_conv2d"]


@pytest.mark.parametrize("function", FUNCTIONS)
@given(data=st.data())
def test_the_blocks_make_what_the_whole_call_makes(function, data):
    call = data.draw(calls.calls(function, size=st.integers(1, 30)))
    expected, whole = call.run()
    lazy = lazily(call, data.draw)
    assert lazy.output.shape == expected.shape
    assert lazy.output.dtype == expected.dtype
    y, report = dask.compute(*lazy)
    assert y.shape == expected.shape
    assert y.dtype == expected.dtype
    scale = max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(y, expected, atol=scale * (1e-5 if y.dtype == np.float32 else 1e-13))
    report.verify()
    assert (report.variant, report.method) == (whole.variant, whole.method)
    assert report.output_shape == y.shape
    assert report.parameters == whole.parameters
    if function != "separable_conv2d":
        assert report.multiplies_in_bounds == whole.multiplies_in_bounds
        assert report.value("dense") == whole.value("dense")
