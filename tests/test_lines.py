"""The loops over lines do what the direct ones do: the same outputs, the same multiplies in bounds, on any number of threads."""

import os
import re
import subprocess
import sys

import calls
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jitconv
from jitconv import bench, shapes
from jitconv.jit import get_num_threads
from jitconv.methods.tiled import (
    channels,
    lines,
    products,
    regions,
    registers,
    turned,
    turned_products,
)
from jitconv.methods.tiled.strips import convolution, phases

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
    direct.verify()
    tiled.verify()


few = st.integers(1, 3)


@given(
    channels=st.integers(16, 40),
    more=few,
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 7)),
    stride=st.tuples(few, few),
    dilation=st.tuples(few, few),
    padding=st.integers(0, 4),
    transposed=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_sixteen_channels_side_by_side_are_direct(
    channels, more, size, kernel, stride, dilation, padding, transposed, dtype
):
    if numba.config.DISABLE_JIT:
        channels, size = 16 + channels % 2, tuple(1 + s % 6 for s in size)
    rng = np.random.default_rng(channels)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = 0 if transposed else max(padding, *(r - s for r, s in zip(reach, size, strict=True)))
    x = rng.normal(size=(2, channels, *size)).astype(dtype)
    outputs = channels if transposed else more * channels
    weight, bias = (rng.normal(size=s).astype(dtype) for s in ((outputs, 1, *kernel), outputs))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": channels}
    function = jitconv.conv_transpose2d if transposed else jitconv.conv2d
    y, direct = function(x, weight, bias, method="direct", **options)
    z, tiled = function(x, weight, bias, method="tiled", **options)
    np.testing.assert_allclose(z, y, atol=1e-4 if dtype == np.float32 else 1e-11)
    assert direct.multiplies_in_bounds == tiled.verify().multiplies_in_bounds


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
    """More taps than are summed at a time, all kinds of channel blocks, several bands of rows, wide images."""
    x = rng.normal(size=(2, C, *size)).astype(dtype)
    weight = rng.normal(size=(M, C // groups, 5, 3)).astype(dtype)
    options = {"groups": groups, "padding": "same", "dilation": (1, 2)}
    y, direct = jitconv.conv2d(x, weight, np.ones(M, dtype), method="direct", **options)
    z, tiled = jitconv.conv2d(x, weight, np.ones(M, dtype), method="tiled", **options)
    np.testing.assert_allclose(z, y, atol=1e-3 if dtype == np.float32 else 1e-10)
    assert tiled.verify().multiplies_in_bounds == direct.multiplies_in_bounds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_last_pixels_meet_the_taps_of_their_phase(rng, dtype):
    """Seven outputs of a phase, too few for a vector; its taps lie apart in the weight."""
    x, weight = rng.normal(size=(1, 40, 1, 7)), rng.normal(size=(40, 3, 1, 6))
    arrays = x.astype(dtype), weight.astype(dtype)
    options = {"stride": (1, 2), "padding": (0, 2)}
    y, _ = jitconv.conv_transpose2d(*arrays, method="direct", **options)
    z, report = jitconv.conv_transpose2d(*arrays, method="tiled", **options)
    np.testing.assert_allclose(z, y, atol=1e-4 if dtype == np.float32 else 1e-12)
    report.verify()


@pytest.mark.parametrize("channels", [1, 7, 8, 12])
@pytest.mark.parametrize("pixels", [1, 2, 8, 9, 15, 35])
def test_the_last_pixels_meet_all_channels(rng, channels, pixels):
    """One by one, in pairs, or in eights with few channels; five of 21 taps fill no vector."""
    x, weight = rng.normal(size=(2, 21, pixels, 1)), rng.normal(size=(channels, 21))
    y, report = jitconv.pointwise_conv2d(x, weight, method="tiled")
    np.testing.assert_allclose(y, np.einsum("mc,nchw->nmhw", weight, x), atol=1e-12)
    assert report.verify().multiplies == y.size * 21


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
def test_many_taps_of_the_last_pixels_round_little(rng):
    x, weight = (rng.normal(size=s).astype(np.float32) for s in ((2048, 7, 7), (8, 2048, 7, 7)))
    y, exact = (
        jitconv.conv2d(x.astype(dtype), weight.astype(dtype)).output
        for dtype in (np.float32, np.float64)
    )
    worst = np.abs(y - exact).max() / np.abs(exact).max()
    assert worst < 1.5e-6  # with one sum of all taps in each lane, five times as much


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux tells the peak")
def test_many_channels_to_few_take_little_memory():
    (memory,) = bench.memory((2048, 4, (4, 4096), 1))
    assert float(memory[1].split()[0]) < 64  # MiB; the lines of all channels would be 400


ON_ANY_THREADS = """
import hashlib, numba, numpy as np, jitconv
for function, x, weight, options in (
    ("conv2d", (1, 70, 33, 31), (21, 70, 3, 3), {"padding": 1}),
    ("conv2d", (1, 16, 40, 40), (16, 16, 3, 3), {"padding": 16, "dilation": 16}),
    ("conv2d", (2, 3, 40, 41), (13, 3, 7, 7), {"stride": 2, "padding": ((3, 1), (0, 5))}),
    ("conv2d", (1, 2, 3, 70000), (3, 2, 3, 3), {"padding": 1}),
    ("pointwise_conv2d", (1, 900, 5, 5), (7, 900, 1, 1), {}),
    ("depthwise_conv2d", (2, 11, 17, 19), (22, 1, 5, 3), {"padding": "same"}),
    ("conv_transpose2d", (1, 40, 9, 11), (40, 12, 4, 3), {"stride": (2, 3), "padding": 1}),
    ("separable_conv2d", (1, 3, 50, 60), (5,), {"padding": "same"}),
    ("deform_conv2d", (1, 8, 20, 21), (9, 8, 3, 3), {"padding": 1}),
):
    rng, found = np.random.default_rng(0), set()
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in (x, weight)]
    if function == "separable_conv2d":
        arrays.append(arrays[1])
    if function == "deform_conv2d":
        arrays.insert(1, rng.standard_normal((1, 18, *x[2:]), dtype=np.float32))
    for threads in (1, 2, 3, 4, 7):
        numba.set_num_threads(threads)
        y, report = getattr(jitconv, function)(*arrays, method="tiled", **options)
        found.add((hashlib.md5(y).hexdigest(), report.verify().multiplies))
    assert len(found) == 1, function
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
def test_same_bits_on_any_number_of_threads():
    environment = {**os.environ, "NUMBA_NUM_THREADS": "7"}
    command = [sys.executable, "-c", ON_ANY_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_auto_takes_lines():
    x = np.zeros((2, 4, 4), np.float32)
    weight = np.zeros((1, 2, 2, 2), np.float32)
    assert jitconv.conv2d(x, weight).report.method == "tiled"
    assert jitconv.conv_transpose2d(x, weight.swapaxes(0, 1)).report.method == "tiled"
    offset = np.zeros((8, 3, 3), np.float32)
    assert jitconv.deform_conv2d(x, offset, weight).report.method == "tiled"


def test_dilated_leaves_out_padding_where_it_is_much(rng):
    x, weight = rng.normal(size=(8, 24, 24)), rng.normal(size=(8, 8, 3, 3))
    near, far = (
        jitconv.dilated_conv2d(x, weight, padding=d, dilation=d, method="tiled").report.verify()
        for d in (2, 12)
    )
    assert near.multiplies == near.value("dense") > near.multiplies_in_bounds
    assert far.multiplies == far.value("in bounds") < far.value("dense")
    # for few output channels, to fill more lines takes longer than what is left out
    few, many = (
        regions.plan(1, 256, M, 1, shapes.window((33, 33), 3, 1, 12, 12), False, 4, 1).equals
        for M in (8, 256)
    )
    assert (few, many) == ("dense", "in bounds")
    # half is outside, but nine regions of four to 36 pixels would take longer
    small = jitconv.dilated_conv2d(x[:, :14, :14], weight, padding=6, dilation=6).report.verify()
    assert small.multiplies == small.value("dense") > 1.9 * small.value("in bounds")


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
def test_many_channels_of_a_large_image_have_lines(rng):
    x, weight = rng.normal(size=(1, 64, 130, 131)), rng.normal(size=(3, 64, 1, 1))
    window = shapes.window(x.shape[2:], 1, 1, 0, 1)
    few, many, small = (
        regions.plan(1, channels, 3, 1, window, False, itemsize, 1).sizes[0]
        for channels, itemsize in ((63, 8), (64, 8), (64, 4))
    )
    assert few == small == 0 < many  # numbers in lines
    y, report = jitconv.pointwise_conv2d(x, weight, method="tiled")
    np.testing.assert_allclose(y, np.einsum("mc,nchw->nmhw", weight[:, :, 0, 0], x), atol=1e-12)
    assert report.verify().multiplies == 3 * x.size


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
    window = shapes.Window(
        *((n, n) for n in (size, kernel, stride)),
        ((before, 0),) * 2,
        (dilation,) * 2,
        (outputs,) * 2,
        (0, 0),
    )
    (strip,) = convolution(window, 1)
    inputs = {
        (o, t): o * stride - before + t * dilation for o in range(outputs) for t in range(kernel)
    }
    assert listed([strip]) == inputs
    outside = [i for i in inputs.values() if not 0 <= i < size]
    assert strip.on_padding(size) == len(outside)
    cut = strip.inside(size)
    assert listed(cut) == {key: i for key, i in inputs.items() if 0 <= i < size}
    assert sum(piece.outputs for piece in cut) == outputs


@given(**axes)
def test_phases_list_the_taps_of_every_output(size, kernel, stride, before, dilation, outputs):
    window = shapes.Window(
        *((n, n) for n in (size, kernel, stride)),
        ((before, 0),) * 2,
        (dilation,) * 2,
        (outputs,) * 2,
        (0, 0),
    )
    strips = phases(window, 0)
    lands = {
        (o, t): (o + before - t * dilation) // stride
        for o in range(outputs)
        for t in range(kernel)
        if (o + before - t * dilation) % stride == 0
    }
    assert listed(strips) == lands
    assert sum(strip.outputs for strip in strips) == outputs
    assert shapes.taps_of_phases(outputs, kernel, stride, before, dilation) == len(lands)


def listed(strips):
    return {
        (s.first + a * s.step, s.tap + t * s.tap_step): s.source + a * s.per_output + t * s.per_tap
        for s in strips
        for a in range(s.outputs)
        for t in range(s.taps)
    }


def test_regions_cover_every_output_once():
    for size, C in (((1, 1), 3), ((3, 90000), 2), ((200, 200), 70), ((2000, 16), 1)):
        window = shapes.window(size, 3, 1, 1, 1)
        cut, _, sizes, *_, equals = regions.plan(1, C, 5, 1, window, False, 4, 1)
        covered = np.zeros(size, int)
        for region in cut:
            oh, ow, height, width = (region[name] for name in ("oh", "ow", "height", "width"))
            covered[oh : oh + height, ow : ow + width] += 1
        assert (covered == 1).all()
        assert equals == "dense"
        assert 4 * sizes[0] <= 2**21


def test_taps_left_out_are_the_same_on_every_processor(monkeypatch):
    layers = [
        (shapes.window((size, size), 3, 1, rate, rate), outputs)
        for size in range(10, 50, 3)
        for rate in (size // 3, size // 2)
        for outputs in range(4, 40, 5)
    ]
    here = [regions.strips_of(window, False, outputs) for window, outputs in layers]
    for block in (8, 4):
        monkeypatch.setattr(regions, "BLOCK", block)
        assert here == [regions.strips_of(window, False, outputs) for window, outputs in layers]


@pytest.mark.parametrize(
    ("C", "M", "size", "K"), [(8, 8, (22, 257), 6), (256, 4, (64, 64), 3), (117, 24, (46, 51), 3)]
)
def test_regions_are_cut_so_that_two_threads_have_as_much_to_do(C, M, size, K):
    window = shapes.window(size, K, 1, "same", 1)
    heights = regions.plan(1, C, M, 1, window, False, 4, 1).regions["height"]
    half = len(heights) // 2
    assert half > 0
    assert heights[:half].sum() == pytest.approx(heights[half:].sum(), rel=0.2)


def test_a_region_has_no_more_rows_than_fill_the_cache():
    rows, columns = (
        regions.strips_of(shapes.window((500, 300), 3), False, 8)[axis][0] for axis in (0, 1)
    )
    _, highest, width = regions.cut_to_cache(rows, columns, 64, False, 2**17, 4096)
    for outputs in (1, 3, 64):
        height = regions.cut_for_threads(rows, columns, 64, outputs, False, highest, width, 1)
        assert height <= highest * 17 / 16 + 1


def test_threads_share_what_takes_long():
    even, uneven = ((9, 1),) * 4, ((1, 1), (1, 1), (9, 1), (1, 1))
    assert lines.parts_of(64, 1, even, 2, 1) == lines.parts_of(64, 2, uneven, 2, 1) == 1
    assert lines.parts_of(64, 1, uneven, 2, 1) == 2
    assert lines.parts_of(64, 1, even[:2], 2, 1) == 2  # no thread has a region for itself
    assert lines.parts_of(64, 1, even[:1], 4, 1) == 4
    assert lines.parts_of(registers.BLOCK, 1, even[:1], 4, 1) == 1  # one block of channels
    assert lines.parts_of(64, 1, even, 2, 3) == 4
    assert lines.parts_of(64, 1, even[:3], 2, 1) == 2
    assert lines.parts_of(64, 1, ((9, 100),) * 3, 2, 1) == 1  # to fill twice takes longer


def test_what_is_soon_done_wakes_no_thread():
    def jobs(size, images=1):
        window = shapes.window((size, size), 3, 1, 1, 1)
        return regions.plan(images, 8, 8, 1, window, False, 4, 1).jobs(100)

    threads = get_num_threads()
    assert jobs(8) == 1
    assert jobs(32) == jobs(8, images=100) == (2 * threads if threads > 1 else 1)


def test_tile_extents_fit_the_registers():
    assert registers.BYTES in (16, 32, 64)
    tiles = [(4, lines.FOUR), (3, lines.THREE), (1, lines.ONE)]
    for many, vectors in [(registers.MANY, lines.WIDE), *tiles]:
        numbers = max(registers.LANES, vectors * registers.BYTES // 4)
        assert numbers % registers.LANES == 0
        across = numbers * 4 // registers.BYTES  # vectors
        # beside the sums, the pixels or the weights of a tap, and one of the others
        assert (many + 1) * (across + 1) - max(many, across) <= registers.REGISTERS
    for dtype in (np.float32, np.float64):
        rows, numbers = registers.registers(np.zeros(1, dtype), 6, 4).shape
        assert (rows, numbers) == (6, max(16, 4 * registers.BYTES // np.dtype(dtype).itemsize))


vectors_only = pytest.mark.skipif(
    numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK,
    reason="no vectors without compiled loops, or with tests in them",
)


@vectors_only
@pytest.mark.parametrize(
    ("tile", "channels", "vectors"),
    [
        (lines.long, registers.MANY, lines.WIDE),
        (lines.two, registers.MANY, 2),
        (lines.short, registers.MANY, 1),
        (lines.long4, 4, lines.FOUR),
        (lines.short4, 4, 1),
        (lines.long3, 3, lines.THREE),
        (lines.short3, 3, 1),
        (lines.long1, 1, lines.ONE),
        (lines.short1, 1, 1),
    ],
)
def test_the_innermost_loop_is_vectors_of_multiply_adds(tile, channels, vectors):
    """On every processor, also where LLVM would rather use halves of them."""
    pixels = registers.registers(np.zeros(1, np.float32), channels, vectors).shape[1]

    def once(values, shifts, weight, sums):
        w, apart = np.uintp(0), np.uintp(9)
        factors = lines.Factors(values, 0, shifts, weight, w, apart, shifts, channels, pixels)
        return tile(factors, 0, pixels, 0, weight, 0, 0, lines.Outputs(sums, 0, pixels))

    sums = np.zeros(channels * pixels, np.float32)
    assert multiply_adds(once, sums) == 9 * sums.size


@vectors_only
@pytest.mark.parametrize(
    ("dots", "channels", "pixels"),
    [
        (lines.dots, registers.BLOCK, 1),
        (lines.dots2, registers.BLOCK, lines.PAIR),
        (lines.dots1, 1, 1),
    ],
)
def test_so_are_the_taps_of_a_pixel(dots, channels, pixels):
    def once(window, shifts, weight, sums):
        R, zero = registers.LANES * shifts.size, np.uintp(0)
        return dots(window, zero, R, weight, zero, np.uintp(R), sums, zero)

    sums = np.zeros(channels * pixels * registers.LANES, np.float32)
    assert multiply_adds(once, sums) == 9 * sums.size


@vectors_only
@pytest.mark.parametrize(
    ("part", "rows"),
    [
        (products.many, products.CHANNELS * products.TAPS),
        (products.thin, products.CHANNELS),
        (products.many1, products.TAPS),
        (products.thin1, 1),
    ],
)
def test_so_are_the_products_of_a_weights_gradient(part, rows):
    def once(values, shifts, weight, sums):
        zero, end = np.uintp(0), registers.LANES
        return part(weight, zero, np.uintp(9), values, zero, shifts, zero, end, sums)

    sums = np.zeros(rows * registers.LANES, np.float32)
    assert multiply_adds(once, sums) == sums.size


@vectors_only
@pytest.mark.parametrize(
    ("run", "channels", "vectors"),
    [(channels.run_four, 4, channels.FOUR), (channels.run_one, 1, channels.ONE)],
)
def test_so_are_runs_of_pixels_of_depthwise_channels(run, channels, vectors):
    pixels = registers.registers(np.zeros(1, np.float32), channels, vectors).shape[1]

    def once(values, shifts, weight, sums):
        z, step = np.uintp(0), np.uintp(9)
        read = (values, z, step, pixels, shifts, shifts, weight, z, step)
        return run(*read, weight, z, step, sums, z, np.uintp(pixels))

    sums = np.zeros(channels * pixels, np.float32)
    assert multiply_adds(once, sums) == 9 * sums.size


@vectors_only
@pytest.mark.parametrize(("part", "pixels"), [(turned.some, turned.SOME), (turned.single, 1)])
def test_so_are_pixels_of_sixteen_channels(part, pixels):
    def once(values, shifts, weight, sums):
        return part(values, shifts[:pixels], 0, shifts, shifts, weight, weight, sums)

    sums = np.zeros(pixels * registers.LANES, np.float32)
    assert multiply_adds(once, sums) == 9 * sums.size


@vectors_only
@pytest.mark.parametrize(
    ("part", "taps"), [(turned_products.some, turned_products.TAPS), (turned_products.single, 1)]
)
def test_so_are_the_products_of_sixteen_channels(part, taps):
    def once(values, shifts, weight, sums):
        return part(values, shifts, weight, 0, shifts, np.uintp(0), sums)

    sums = np.zeros(taps * registers.LANES, np.float32)
    assert multiply_adds(once, sums) == 9 * sums.size


def multiply_adds(once, sums):
    """Compile a part, and look at its loop; return what it counts."""
    arrays = np.zeros(2000, np.float32), np.zeros(9, np.uintp), np.zeros(2000, np.float32)
    compiled = numba.njit(once, fastmath={"contract"}, error_model="numpy")
    multiplies = compiled(*arrays, sums)
    assembly = next(iter(compiled.inspect_asm().values()))
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[registers.BYTES]
    blocks = re.split(r"^\.?L?BB.*:.*$", assembly, flags=re.MULTILINE)
    adds = {block: len(re.findall(rf"vfmadd\d+ps.*%{register}", block)) for block in blocks}
    innermost = max(adds, key=adds.get)
    assert adds[innermost] >= sums.nbytes // registers.BYTES
    assert "gather" not in innermost
    assert "call" not in innermost
    assert "vextractps" not in assembly  # the sums are stored as vectors too
    return multiplies


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_buffers_begin_at_a_cache_line(dtype):
    for size in range(1, 30):
        array = registers.aligned.py_func(size, np.ones(1, dtype))
        assert array.ctypes.data % registers.BYTES == 0
        assert (array.shape, array.dtype) == ((size,), dtype)
        array[:] = 1


@pytest.mark.parametrize("function", ["conv2d", "conv_transpose2d"])
def test_long_strides_go_to_the_direct_loops(rng, function):
    """They would split an image, or an output, into stride² parts."""
    x, weight = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 2, 1, 1))
    options = {"stride": 1000, "padding": 1000 if function == "conv2d" else 0}
    y, report = getattr(jitconv, function)(x, weight, **options)
    assert report.verify().method == "direct"
    assert np.abs(y).sum() > 0
    with pytest.raises(ValueError, match="method: 'tiled' has no loops for this"):
        getattr(jitconv, function)(x, weight, **options, method="tiled")
