"""Dask arrays, block by block, held against the same call on the whole array."""

import itertools
import math
import os
import signal
import sys

import calls
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jitconv
from jitconv import jit, shapes
from jitconv.costs.report import CountMismatch

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from jitconv import blockwise  # noqa: E402
from jitconv.blockwise import counting, cutting  # noqa: E402

CUT = {"x", "offset", "mask"}
FUNCTIONS = [name for name in calls.FUNCTIONS if name != "standard_conv2d"]  # that is conv2d


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def cut_axis(draw, size):
    """Draw chunks, some of which may be empty."""
    edges = [0, *sorted(draw(st.lists(st.integers(0, size), max_size=4))), size]
    return tuple(b - a for a, b in itertools.pairwise(edges))


def lazily(call, draw):
    """Return the same call of arrays that are cut at drawn places."""
    named = call.given()
    for name in CUT & set(named):
        chunks = tuple(cut_axis(draw, size) for size in named[name].shape)
        layout = draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray]))
        named[name] = da.from_array(layout(named[name]), chunks=chunks)
    options = {name: value for name, value in call.options.items() if name not in named}
    if "offset" in named and draw(st.booleans()):
        largest = np.abs(call.given()["offset"]).max(initial=0)
        options["max_offset"] = draw(st.sampled_from([largest, float(largest) + 3]))
    return getattr(blockwise, call.function.__name__)(**named, **options, method=call.method)


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=30)  # each plans and runs a graph
@given(data=st.data())
def test_blocks_make_and_count_what_the_whole_call_does(function, data):
    call = data.draw(calls.calls(function, size=st.integers(1, 30)))
    expected, whole = call.run()
    lazy = lazily(call, data.draw)
    assert (lazy.output.shape, lazy.output.dtype) == (expected.shape, expected.dtype)
    y, report = dask.compute(*lazy)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    if call.method == "direct" and not function.startswith("deform"):
        assert y.tobytes() == expected.tobytes()
    scale = max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(y, expected, atol=scale * (1e-5 if y.dtype == np.float32 else 1e-13))

    report.verify()
    assert (report.variant, report.method) == (whole.variant, whole.method)
    assert (report.output_shape, report.parameters) == (y.shape, whole.parameters)
    assert list(report.parts) == list(whole.parts)
    if function != "separable_conv2d":
        assert report.multiplies_in_bounds == whole.multiplies_in_bounds
        assert report.value("dense") == whole.value("dense")
        if call.method == "direct":
            assert report.parts == whole.parts
            assert not report.has("by blocks")
    assert all(type(n) is int for n in [report.multiplies, report.flops, *report.parts.values()])


def test_a_separable_convolution_by_hand():
    x = da.ones((2, 6, 10), chunks=(1, 3, 5))
    report = blockwise.separable_conv2d(x, np.ones(3), np.ones(5), padding="same").report.compute()
    # each of two column blocks reads 2 columns of the other: 5 + 2 + 2 + 5
    assert report.value("dense, column pass") == 2 * 3 * 6 * 14
    assert report.value("repeated by blocks") == 2 * 3 * 6 * 4
    assert report.verify().parts == {"column pass": 504, "row pass": 2 * 5 * 6 * 10}
    # with a stride of 4, no output needs columns 1, 2, 3, 5, …
    x = da.ones((1, 4, 8), chunks=(1, 4, 4))
    report = blockwise.separable_conv2d(x, np.ones(1), np.ones(1), stride=(1, 4)).report.compute()
    assert report.value("left out by blocks") == 4 * (8 - 2)
    assert report.verify().parts == {"column pass": 8, "row pass": 8}


def test_blocks_that_choose_differently_have_a_formula_of_their_own():
    x, weight = da.ones((1, 20, 20), chunks=(1, 5, 5)), np.ones((1, 1, 3, 3))
    report = blockwise.dilated_conv2d(x, weight, dilation=4, padding=4).report.compute()
    # in the first and the last block 11 of 15 taps along an axis meet the image
    assert report.costs["by blocks"].symbols == "in bounds of 4 blocks + dense of 12 blocks"
    assert report.verify().multiplies == 4 * 11 * 11 + 12 * 25 * 9 == report.value("by blocks")
    # the only block that multiplies what is not on padding has none: their sum is that in bounds
    report = blockwise.dilated_conv2d(
        da.ones((1, 48, 48), chunks=16), weight, dilation=16, padding=16
    )
    report = report.report.compute().verify()
    assert report.multiplies == report.value("in bounds") < report.value("dense")
    assert not report.has("by blocks")
    layer = blockwise.deformable_layer(
        x, np.zeros((18, 1, 3, 3)), weight, dilation=4, padding=4, max_offset=0
    )
    report = layer.report.compute().verify()
    assert report.value("by blocks, offset branch") == report.parts["offset branch"] == 18 * 3184


def test_winograds_weights_are_transformed_by_every_block(rng):
    x, weight = rng.normal(size=(2, 21, 21)), rng.normal(size=(2, 2, 3, 3))
    expected, whole = jitconv.conv2d(x, weight, padding=1, method="winograd")
    cut = da.from_array(x, chunks=(1, 8, 9))
    y, report = dask.compute(*blockwise.conv2d(cut, weight, padding=1, method="winograd"))
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert report.verify().method == "winograd"
    assert report.costs["by blocks"].symbols == "winograd of 9 blocks"
    assert report.parts["weight transform"] == 9 * whole.parts["weight transform"]
    tiles = (2 + 2 + 2) * (3 + 3 + 1)
    assert report.parts["products"] == 36 * 2 * 2 * tiles > whole.parts["products"]


def test_each_block_runs_once_for_output_and_report(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    ran = []

    def run(*arguments):
        ran.append(arguments[-2:])
        return run_block(*arguments)

    run_block = cutting.run_block
    monkeypatch.setattr(cutting, "run_block", run)
    x = da.ones((1, 40, 40), chunks=(1, 10, 10))
    y, report = blockwise.conv2d(x, np.ones((1, 1, 3, 3)), padding=1)
    computed, found = dask.compute(y, report)
    assert sorted(ran) == sorted(np.ndindex(4, 4))
    ran.clear()
    _, again = dask.compute(y.to_zarr(tmp_path / "y.zarr", compute=False), report)
    assert sorted(ran) == sorted(np.ndindex(4, 4))
    assert again.verify() == found
    np.testing.assert_array_equal(da.from_zarr(tmp_path / "y.zarr"), computed)
    y, report = dask.persist(y, report)
    ran.clear()
    assert report.compute() == found
    assert not ran


def test_little_more_than_a_row_of_chunks_is_held_at_once():
    def read(block):
        return block + 1

    most = {"read": 0, "standard": 0}

    class Held(dask.callbacks.Callback):
        def _posttask(self, key, value, graph, state, worker):
            words = [key[0].split("-")[0] for key in state["cache"] if isinstance(key, tuple)]
            most.update({word: max(many, words.count(word)) for word, many in most.items()})

    x = da.zeros((1, 80, 80), chunks=(1, 10, 10)).map_blocks(read)
    y, report = blockwise.conv2d(x, np.ones((1, 1, 3, 3)), padding=1)
    with Held():
        dask.compute(y.map_blocks(np.sum, keepdims=True, chunks=(1, 1, 1)), report)
    assert 8 <= most["read"] <= 8 + 4
    assert 1 <= most["standard"] <= 2


def test_a_block_takes_six_tasks():
    ran = []
    count = dask.callbacks.Callback(posttask=lambda *of: ran.append(of[0]))
    for chunks in (4, 8):
        x = da.zeros((1, 8 * chunks, 8 * chunks), chunks=(1, 8, 8)).map_blocks(np.negative)
        y, report = blockwise.conv2d(x, np.ones((1, 1, 3, 3)), padding=1)
        with count:
            dask.compute(y.map_blocks(np.sum, keepdims=True, chunks=(1, 1, 1)), report)
    # read, edges, run, write, counts, total; a few more in each graph
    assert 0 <= len(ran) - 6 * (4**2 + 8**2) <= 2 * 8


def test_weights_may_change_before_the_blocks_run():
    weight, twice = np.ones((1, 2, 1, 1)), [[[[2.0]], [[2.0]]]]
    lazy = [blockwise.conv2d(image(), weight).output, blockwise.conv2d(image(), twice).output]
    weight[:], twice[0][0] = 5, [[5.0]]
    assert [y.compute().max() for y in lazy] == [2, 4]


def test_layers_follow_each_other(rng):
    x, first, second = (rng.normal(size=s) for s in ((2, 40, 40), (3, 2, 3, 3), (1, 3, 5, 5)))
    middle, one = jitconv.conv2d(x, first, padding=1)
    expected, two = jitconv.conv2d(middle, second, padding=2, stride=2)
    lazy = blockwise.conv2d(da.from_array(x, chunks=(2, 10, 10)), first, padding=1)
    then = blockwise.conv2d(lazy.output, second, padding=2, stride=2)
    y, *reports = dask.compute(then.output, lazy.report, then.report)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert [report.verify().multiplies for report in reports] == [one.multiplies, two.multiplies]


def test_edges_keep_no_chunk_in_memory():
    x = np.ones((1, 8, 9))
    wide = cutting.edges(x, (4, 4), (4, 4)).values()  # together more than the chunk
    assert all(np.shares_memory(x, piece) for piece in wide)
    pieces = cutting.edges(x, (2, 1), (0, 3))
    assert not any(np.shares_memory(x, piece) for piece in pieces.values())
    shapes = {place: piece.shape[1:] for place, piece in pieces.items()}
    assert (shapes[-1, 0], shapes[1, 1]) == ((2, 9), (1, 3))


@pytest.mark.parametrize("chunks", [(1, 1, 1), (1, 2, 40), (3, 7, 1), (2, 16, 16)])
def test_chunks_smaller_than_a_halo_are_joined(chunks, rng):
    x, weight = rng.normal(size=(3, 16, 40)), rng.normal(size=(2, 3, 3, 3))
    lazy = blockwise.dilated_conv2d(da.from_array(x, chunks=chunks), weight, dilation=3, padding=3)
    assert min(min(lazy.output.chunks[axis]) for axis in (1, 2)) >= 3
    expected, whole = jitconv.dilated_conv2d(x, weight, dilation=3, padding=3)
    y, report = dask.compute(*lazy)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert report.verify().multiplies_in_bounds == whole.multiplies_in_bounds


@pytest.mark.parametrize("method", ["direct", "tiled"])
def test_an_image_that_no_memory_holds_is_planned(method):
    x = da.zeros((1, 10**6, 10**6), chunks=(1, 10**5, 10**5))
    y, _ = blockwise.conv2d(x, np.ones((1, 1, 3, 3)), padding=1, method=method)
    assert y.shape == x.shape


def test_outputs_are_cut_as_the_image_is():
    x = da.ones((1, 30, 50), chunks=(1, 10, (20, 10, 20)))
    same = blockwise.conv2d(x, np.ones((1, 1, 5, 5)), padding="same").output
    assert same.chunks == ((1,), (10, 10, 10), (20, 10, 20))
    half = blockwise.conv2d(x, np.ones((1, 1, 3, 3)), stride=2, padding=1).output
    assert half.chunks == ((1,), (5, 5, 5), (10, 5, 10))
    twice = blockwise.conv_transpose2d(x, np.ones((1, 1, 2, 2)), stride=2).output
    assert twice.chunks == ((1,), (20, 20, 20), (40, 20, 40))


@given(st.data())
def test_blocks_cover_an_axis(data):
    size, kernel, stride, dilation = (data.draw(st.integers(1, most)) for most in (30, 5, 5, 4))
    reach = shapes.effective_kernel_size(kernel, dilation)
    ends = data.draw(st.tuples(st.integers(0, 40), st.integers(0, 40)))
    if size + sum(ends) < reach:
        ends = (reach, reach)
    window = shapes.window((1, size), (1, kernel), stride, ((0, 0), ends), dilation)
    chunks = [chunk for chunk in cut_axis(data.draw, size) if chunk]
    low, high = shapes.halo(window, 1)
    blocks = shapes.blocks(window, 1, chunks)
    assert sum(block.outputs for block in blocks) == window.output[1]
    start, first, taps = 0, 0, 0
    for pixels, block in zip(chunks, blocks, strict=True):
        held = range(max(start - low, 0), min(start + pixels + high, size))
        at, end = block.pixels
        if block.outputs:
            assert 0 <= at < end <= len(held)
            of_block = shapes.window(
                (1, end - at), (1, kernel), stride, ((0, 0), block.padding), dilation
            )
            assert of_block.output[1] == block.outputs
            taps += of_block.taps[1]
            # the window of its first output begins where that of the whole does
            assert held[at] - block.padding[0] == first * stride - ends[0]
        start, first = start + pixels, first + block.outputs
    if min(chunks) >= max(low, high):
        assert taps == window.taps[1]


# Deformable


def moved(rng, largest=2.0):
    x, weight = rng.normal(size=(2, 20, 24)), rng.normal(size=(3, 2, 3, 3))
    offset = rng.uniform(-largest, largest, size=(18, 20, 24))
    return x, offset, weight


def test_an_offset_that_goes_too_far_is_told(rng):
    x, offset, weight = moved(rng)
    offset[3, 15, 20] = -7.25
    arrays = da.from_array(x, chunks=(2, 6, 8)), da.from_array(offset, chunks=(18, 20, 8)), weight
    y, report = blockwise.deform_conv2d(*arrays, padding=1, max_offset=2)
    with pytest.raises(
        ValueError, match=r"max_offset: is 2, but a block has .* 7.25 pixels; pass 8"
    ):
        dask.compute(y, report)
    expected, whole = jitconv.deform_conv2d(x, offset, weight, padding=1)
    for reach in (None, 7.25, 8, 1000, 1e30):
        y, report = dask.compute(*blockwise.deform_conv2d(*arrays, padding=1, max_offset=reach))
        np.testing.assert_allclose(y, expected, atol=1e-12)
        assert report.verify().parts == whole.parts
        assert report.multiplies_on_padding == whole.multiplies_on_padding


def test_a_reach_that_float32_rounds_up_is_kept():
    arrays = da.ones((1, 8, 8), dtype=np.float32), da.full((2, 8, 8), 0.1, dtype=np.float32)
    y, _ = blockwise.deform_conv2d(*arrays, np.ones((1, 1, 1, 1), np.float32), max_offset=0.1)
    assert y.compute().shape == (1, 8, 8)  # although 0.1 in float32 is a little more


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_place_lies_outside(rng, value):
    x, offset, weight = moved(rng)
    offset[2:4, 5:9, 3:9] = value
    arrays = da.from_array(x, chunks=(2, 6, 8)), da.from_array(offset, chunks=(18, 5, 24)), weight
    expected, whole = jitconv.deform_conv2d(x, offset, weight, padding=1)
    y, report = dask.compute(*blockwise.deform_conv2d(*arrays, padding=1))
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert report.verify().multiplies_on_padding == whole.multiplies_on_padding


def test_a_whole_offset_reaches_the_last_pixel_of_its_halo(rng):
    x, offset, weight = moved(rng)
    offset[...] = 3
    x[0, 14], x[1, :, 16] = np.inf, np.nan  # behind the farthest places: 0 times that is NaN
    arrays = da.from_array(x, chunks=(2, 5, 6)), da.from_array(offset, chunks=(18, 5, 24)), weight
    with np.errstate(invalid="ignore"):
        expected, _ = jitconv.deform_conv2d(x, offset, weight, padding=1)
        y = blockwise.deform_conv2d(*arrays, padding=1, max_offset=3).output.compute()
    np.testing.assert_allclose(y, expected, atol=1e-12)


# Bad input


def image(**options):
    return da.ones((2, 8, 8), chunks=(1, 4, 4), **options)


WEIGHT = np.ones((3, 2, 3, 3))
UNKNOWN = image()[image()[:, 0, 0] > 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: blockwise.conv2d(np.ones((2, 8, 8)), WEIGHT),
            TypeError,
            r"x: must be a Dask array, got ndarray; pass dask.array.from_array\(x, chunks=...\)",
        ),
        (
            lambda: blockwise.conv2d(UNKNOWN, WEIGHT),
            ValueError,
            r"x: has chunks of unknown sizes, .*x.compute_chunk_sizes\(\)",
        ),
        (lambda: blockwise.conv2d(image()[0], WEIGHT), ValueError, "x: must have 4 axes, or 3"),
        (
            lambda: blockwise.conv2d(image(dtype=int), WEIGHT),
            TypeError,
            "x: must be float32 or float64, got int64; convert it first",
        ),
        (
            lambda: blockwise.conv2d(image().astype(object), WEIGHT),
            TypeError,
            "x: must be float32 or float64, got object",
        ),
        (
            lambda: blockwise.conv2d(image().map_blocks(np.ma.asarray), WEIGHT),
            TypeError,
            "x: chunks must be NumPy arrays, got MaskedArray",
        ),
        (
            lambda: blockwise.conv2d(image(), da.ones((3, 2, 3, 3))),
            TypeError,
            r"weight: must be a NumPy array; pass weight.compute\(\)",
        ),
        (
            lambda: blockwise.conv2d(image(), WEIGHT, da.ones(3)),
            TypeError,
            r"bias: must be a NumPy array",
        ),
        (
            lambda: blockwise.conv2d(image(), WEIGHT.astype(np.float32)),
            TypeError,
            "weight: must be float64 as x is",
        ),
        (
            lambda: blockwise.conv2d(da.ones((8, 8, 2)), WEIGHT),
            ValueError,
            r"to fit x \(8, 8, 2\), .* x looks like NHWC",
        ),
        (
            lambda: blockwise.conv2d(image(), np.ones((1, 2, 9, 9))),
            ValueError,
            "so that the output would be empty",
        ),
        (
            lambda: blockwise.conv2d(image(), WEIGHT, method="fast"),
            ValueError,
            "method: must be one of",
        ),
        (
            lambda: blockwise.conv2d(image(), WEIGHT, stride=2, method="winograd"),
            ValueError,
            "method: 'winograd' needs a 3×3 kernel, stride 1",
        ),
        (lambda: blockwise.conv2d(image(), WEIGHT, stride=0), ValueError, "stride: must be"),
        (lambda: blockwise.conv2d(image()), TypeError, "conv2d: missing .* argument: 'weight'"),
        (lambda: blockwise.conv2d(image(), WEIGHT, method=None), ValueError, "got None"),
        (lambda: blockwise.conv2d(image(), WEIGHT, pad=1), TypeError, "'pad'"),
        (
            lambda: blockwise.deform_conv2d(image(), np.ones((18, 6, 6)), WEIGHT),
            TypeError,
            "offset: must be a Dask array",
        ),
        (
            lambda: blockwise.deform_conv2d(image()[None], da.ones((1, 18, 5, 6)), WEIGHT),
            ValueError,
            r"offset: must be .* = \(1, 18, 6, 6\) .* got shape \(1, 18, 5, 6\)",
        ),
        (
            lambda: blockwise.deform_conv2d(image(), da.ones((1, 18, 6, 6)), WEIGHT),
            ValueError,
            "offset: must have the images of x",
        ),
        (
            lambda: blockwise.deform_conv2d(image(), da.ones((18, 6, 6)), WEIGHT, max_offset=-1),
            ValueError,
            "max_offset: must be a finite number, at least 0, got -1",
        ),
        (
            lambda: blockwise.deform_conv2d(image(), da.ones((18, 6, 6)), WEIGHT, max_offset="far"),
            ValueError,
            "max_offset: must be a finite number",
        ),
        (
            lambda: blockwise.deform_conv2d(
                image(), da.ones((18, 6, 6)), WEIGHT, max_offset=10**400
            ),
            ValueError,
            "max_offset: must be a finite number",
        ),
        (
            lambda: blockwise.deform_conv2d(image(), da.ones((18, 6, 6)), da.from_array(WEIGHT)),
            TypeError,
            "weight: must be a NumPy array",
        ),
        (
            lambda: blockwise.deformable_layer(
                image(), np.ones((18, 2, 3, 3)), WEIGHT, offset_bias=da.ones(18)
            ),
            TypeError,
            r"offset_bias: must be a NumPy array; pass offset_bias.compute\(\)",
        ),
        (
            lambda: blockwise.deformable_layer(image(), np.ones((17, 2, 3, 3)), WEIGHT),
            ValueError,
            "offset_weight: must be",
        ),
    ],
)
def test_bad_input_is_told_when_the_graph_is_built(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("chunks", [(5, 5), (-1, 10), (5, 4.0)])
def test_chunks_that_are_not_those_of_an_axis(chunks):
    for make, cut in (
        (shapes.window, shapes.blocks),
        (shapes.transposed_window, shapes.transposed_blocks),
    ):
        with pytest.raises((TypeError, ValueError), match="chunks"):
            cut(make(9, 3), 0, chunks)


def test_a_wrong_count_of_one_block_is_found(monkeypatch):
    def miscounted(report):
        found = counting.counted(report)
        kind = next(kind for kind, what in found if what == "blocks")
        found[kind, "multiplies"] += 1
        return found

    monkeypatch.setattr(cutting, "counted", miscounted)
    report = blockwise.conv2d(image(), WEIGHT, padding=1).report.compute()
    with pytest.raises(CountMismatch, match="multiplies"):
        report.verify()


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("jitconv.blockwise")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dask.array", None)
    monkeypatch.delattr(jitconv, "blockwise", raising=False)
    with pytest.raises(ImportError, match=r'pip install "jitconv\[dask\]"'):
        _ = jitconv.blockwise
    with pytest.raises(AttributeError, match="no attribute 'blockwize'"):
        _ = jitconv.blockwize


# Threads, processes, clusters


def test_blocks_of_several_threads(rng):
    x, weight = rng.normal(size=(2, 100, 100)), rng.normal(size=(3, 2, 3, 3))
    expected, whole = jitconv.conv2d(x, weight, padding=1)
    lazy = blockwise.conv2d(da.from_array(x, chunks=(2, 20, 20)), weight, padding=1)
    for _ in range(5):
        y, report = dask.compute(*lazy, scheduler="threads", num_workers=4)
        np.testing.assert_allclose(y, expected, atol=1e-12)
        assert report.verify().multiplies == whole.multiplies


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def die_once(block, mark, block_id=None):
    """Kill the worker that makes a chunk in the middle, the first time."""
    if block_id == (0, 3, 3) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_worker_that_dies_changes_no_count(cluster, rng, tmp_path):
    pytest.importorskip("zarr")
    x, weight = rng.normal(size=(1, 120, 120)), rng.normal(size=(1, 1, 5, 5))
    cut = da.from_array(x, chunks=(1, 20, 20))
    cut = cut.map_blocks(die_once, tmp_path / "died", meta=x[:0])
    y, report = blockwise.conv2d(cut, weight, padding=2)
    store = y.to_zarr(tmp_path / "y.zarr", compute=False)
    with dask.config.set(scheduler=cluster):
        _, report = dask.compute(store, report)
    assert (tmp_path / "died").exists()
    expected, whole = jitconv.conv2d(x, weight, padding=2)
    np.testing.assert_allclose(da.from_zarr(tmp_path / "y.zarr"), expected, atol=1e-12)
    assert report.verify().multiplies == whole.multiplies


def test_a_worker_uses_its_own_threads(cluster):
    def threads():
        with jit.limited_threads(cutting.own_threads()):
            return numba.get_num_threads()

    assert cluster.submit(cutting.own_threads, pure=False).result() == 1
    assert cluster.submit(threads, pure=False).result() == 1
    assert cutting.own_threads() == math.inf


def test_processes_run_one_thread_each(rng):
    x, weight = rng.normal(size=(1, 40, 40)), rng.normal(size=(1, 1, 3, 3))
    lazy = blockwise.conv2d(da.from_array(x, chunks=(1, 20, 20)), weight, padding=1)
    threads = dask.delayed(cutting.own_threads)()
    with dask.config.set({"multiprocessing.context": "spawn", "scheduler": "processes"}):
        y, report, threads = dask.compute(*lazy, threads, num_workers=2)
    assert threads == 1
    np.testing.assert_allclose(y, jitconv.conv2d(x, weight, padding=1).output, atol=1e-12)
    report.verify()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_works_or_is_refused(rng):
    jitconv.conv2d(np.ones((1, 8, 8)), np.ones((1, 1, 3, 3)))
    x, weight = rng.normal(size=(1, 40, 40)), rng.normal(size=(1, 1, 3, 3))
    y, report = blockwise.conv2d(da.from_array(x, chunks=(1, 20, 20)), weight, padding=1)
    with dask.config.set({"multiprocessing.context": "fork", "scheduler": "processes"}):
        if not numba.config.DISABLE_JIT and numba.threading_layer() == "omp":
            with pytest.raises(RuntimeError, match="forked from one that had run jitconv's loops"):
                dask.compute(y, report)
        else:
            dask.compute(y, report)[1].verify()
