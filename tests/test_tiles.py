"""The tiled loops do what the direct ones do: the same outputs, the same multiplies in bounds, on any number of threads."""

import os

import calls
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jitconv
from jitconv import bench
from jitconv.methods.tiled import registers, strips, tiles

TILED = [name for name, (_, v) in calls.FUNCTIONS.items() if "tiled" in calls.methods(v)]


@pytest.mark.parametrize("function", TILED)
@given(data=st.data())
def test_tiled_is_direct(function, data):
    call = data.draw(calls.calls(function))
    y, direct = call._replace(method="direct").run()
    z, tiled = call._replace(method="tiled").run()
    scale = max(1, np.abs(y).max(initial=0))
    np.testing.assert_allclose(z, y, atol=scale * (1e-4 if y.dtype == np.float32 else 1e-10))
    assert (direct.method, tiled.method) == ("direct", "tiled")
    assert direct.multiplies_in_bounds == tiled.multiplies_in_bounds
    assert [f.value for f in direct.formulas] == [f.value for f in tiled.formulas]
    tiled.verify()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("C", "M", "groups", "size"),
    [
        (40, 150, 1, (30, 33)),
        (130, 64, 2, (7, 10)),
        (24, 24, 8, (61, 64)),
        (8, 42, 2, (61, 64)),
        (70, 5, 1, (6, 900)),
    ],
)
def test_large_layers(rng, dtype, C, M, groups, size):
    """More taps than stay in cache, all kinds of channel blocks, several bands of rows, wide planes, some channels at a time."""
    x = rng.normal(size=(2, C, *size)).astype(dtype)
    weight = rng.normal(size=(M, C // groups, 5, 3)).astype(dtype)
    options = {"groups": groups, "padding": "same", "dilation": (1, 2)}
    y, direct = jitconv.conv2d(x, weight, np.ones(M, dtype), method="direct", **options)
    z, tiled = jitconv.conv2d(x, weight, np.ones(M, dtype), method="tiled", **options)
    np.testing.assert_allclose(z, y, atol=1e-3 if dtype == np.float32 else 1e-10)
    assert tiled.verify().multiplies_in_bounds == direct.multiplies_in_bounds


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux tells the peak")
def test_many_channels_to_few_take_little_memory():
    (memory,) = bench.memory((2048, 4, (4, 4096), 1))
    assert float(memory[1].split()[0]) < 64  # MiB; the lines of all channels would be 400


def test_auto_takes_tiles_unless_they_are_slower():
    x = np.zeros((2, 4, 4), np.float32)
    few, enough = (np.zeros((2, M, 2, 2), np.float32) for M in (1, 64))
    assert jitconv.conv_transpose2d(x, few).report.method == "direct"
    assert jitconv.conv_transpose2d(x, enough).report.method == "tiled"
    deep = x.repeat(16, axis=0)
    assert jitconv.conv_transpose2d(deep, few.repeat(16, axis=0)).report.method == "tiled"
    offset = np.zeros((8, 3, 3), np.float32)
    for image, M, method in (
        (x, 32, "direct"),
        (x, 64, "tiled"),
        (deep, 16, "tiled"),
        (deep, 8, "direct"),
    ):
        weight = np.zeros((M, len(image), 2, 2), np.float32)
        assert jitconv.deform_conv2d(image, offset, weight).report.method == method
    assert jitconv.conv2d(x, few[:, :, :1, :1].repeat(2, axis=1)).report.method == "tiled"


axes = {
    "size": st.integers(1, 9),
    "kernel": st.integers(1, 6),
    "stride": st.integers(1, 4),
    "before": st.integers(0, 9),
    "dilation": st.integers(1, 4),
    "outputs": st.integers(1, 12),
}


@given(**axes)
def test_strips_list_the_taps_of_every_output(size, kernel, stride, before, dilation, outputs):
    cut = strips.strips(size, kernel, stride, before, dilation, outputs)
    inputs = {
        (o, t): o * stride - before + t * dilation for o in range(outputs) for t in range(kernel)
    }
    assert listed(cut) == {key: i for key, i in inputs.items() if 0 <= i < size}
    assert sum(strip["count"] for strip in cut) == outputs


@given(**axes)
def test_transposed_strips_list_the_taps_of_every_output(
    size, kernel, stride, before, dilation, outputs
):
    cut = strips.transposed_strips(size, kernel, stride, before, dilation, outputs)
    lands = {(i * stride + t * dilation - before, t): i for i in range(size) for t in range(kernel)}
    assert listed(cut) == {(o, t): i for (o, t), i in lands.items() if 0 <= o < outputs}
    assert sum(strip["count"] for strip in cut) == outputs


def listed(strips):
    return {
        (s["first"] + a * s["step"], s["tap"] + t * s["tap_step"]): s["source"]
        + a * s["per_output"]
        + t * s["per_tap"]
        for s in strips
        for a in range(s["count"])
        for t in range(s["taps"])
    }


def test_tile_extents_fit_the_registers():
    assert registers.BYTES in (16, 32, 64)
    assert tiles.PIXELS * (tiles.WIDE + 1) <= registers.REGISTERS
    assert registers.registers(np.zeros(1, np.float32), 6, 2).shape == (6, registers.BYTES // 2)


@pytest.mark.skipif(
    numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK,
    reason="no vectors without compiled loops, or with tests in them",
)
def test_vectors_fill_the_registers():
    """On every processor, also where LLVM would rather use halves of them."""
    channels = tiles.WIDE * tiles.BYTES // 4
    x, weight = np.ones(9, np.float32), np.ones((4, channels), np.float32)
    starts, shifts, taps = np.zeros(tiles.PIXELS, np.uintp), np.arange(3), np.arange(3)
    sums = np.zeros((tiles.PIXELS, channels), np.float32)
    assert tiles.wide(x, starts, shifts, weight, taps, sums) == 3 * sums.size
    llvm = "".join(tiles.wide.inspect_llvm().values())
    assert f"fmul contract <{tiles.BYTES // 4} x float>" in llvm


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packed_weights_begin_at_a_cache_line(dtype):
    for rows in range(1, 9):
        array = tiles.aligned(rows, 3, np.ones(1, dtype))
        assert array.ctypes.data % tiles.BYTES == 0
        assert (array.shape, array.dtype) == ((rows, 3), dtype)
        array[:] = 1
