"""Winograd's method: right outputs, counts that its own formulas give, the same bits on any number of threads, clear refusals."""

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import textwrap

import hypothesis.strategies as st
import naive
import numba
import numpy as np
import pytest
from calls import njit
from hypothesis import given

import jitconv
from jitconv.costs import formulas
from jitconv.methods import winograd
from jitconv.shapes import window

ends = st.tuples(st.integers(0, 3), st.integers(0, 3))
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")


def convolve(x, weight, bias=None, **options):
    y, report = jitconv.conv2d(x, weight, bias, method="winograd", **options)
    report.verify()
    return y


def arrays(rng, N, C, M, size, groups=1, dtype=np.float32):
    x = rng.normal(size=(N, C, *size)).astype(dtype)
    return x, rng.normal(size=(M, C // groups, 3, 3)).astype(dtype)


def error(y, x, weight, **options):
    exact, _ = jitconv.conv2d(
        x.astype(np.float64), weight.astype(np.float64), method="tiled", **options
    )
    return np.abs(y - exact).max() / np.abs(exact).max()


@given(data=st.data())
def test_it_is_the_definition(data):
    draw, few = data.draw, st.integers(1, 3) if numba.config.DISABLE_JIT else st.integers(1, 9)
    g, padding = draw(st.integers(1, 3)), draw(st.integers(0, 2) | st.tuples(ends, ends))
    CG, MG = draw(few), draw(few)
    if not numba.config.DISABLE_JIT and draw(st.booleans()):
        CG, MG = draw(st.integers(15, 34)), draw(st.integers(1, 20))
    (top, bottom), (left, right) = naive.ends(padding, (1, 1), (3, 3), (1, 1), (1, 1))
    H = draw(st.integers(max(1, 3 - top - bottom), 14))
    W = draw(st.integers(max(1, 3 - left - right), 14))
    dtype, rng = draw(st.sampled_from([np.float32, np.float64])), np.random.default_rng(H * W)
    x, weight = arrays(rng, draw(st.integers(0, 3)), g * CG, g * MG, (H, W), g, dtype)
    bias = rng.normal(size=g * MG).astype(dtype) if draw(st.booleans()) else None
    y, report = jitconv.conv2d(x, weight, bias, padding=padding, groups=g, method="winograd")
    expected = naive.conv2d(x, weight, bias, padding=padding, groups=g)
    scale = max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(y, expected, atol=scale * (1e-5 if dtype == np.float32 else 1e-13))
    assert report.verify().method == "winograd"
    N, T = len(x), len(x) * -(-y.shape[2] // 4) * -(-y.shape[3] // 4)
    assert list(report.parts.items()) == [
        ("weight transform", 63 * g * MG * CG * (N > 0)),
        ("input transform", 108 * g * CG * T),
        ("products", 36 * g * MG * CG * T),
        ("output transform", 60 * g * MG * T),
    ]
    assert report.macs == report.parts["products"]
    assert report.multiplies_on_padding == 0


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("C", "M", "groups", "size"),
    [
        (64, 64, 1, (56, 56)),  # bands of tiles for each thread
        (256, 64, 1, (14, 14)),  # more input channels than DEPTH
        (272, 24, 2, (7, 7)),
        (40, 27, 1, (20, 20)),  # a tile that is left over; 27 channels are 16 + 8 + 3
        (3, 16, 1, (130, 515)),  # a row of tiles that is longer than a band
    ],
)
def test_layers(rng, dtype, C, M, groups, size):
    x, weight = arrays(rng, 1, C, M, size, groups, dtype)
    options = {"padding": 1, "groups": groups}
    assert error(convolve(x, weight, **options), x, weight, **options) < (
        1e-5 if dtype == np.float32 else 1e-13
    )


@compiled
def test_fewer_multiplies_than_the_formula(rng):
    _, report = jitconv.conv2d(*arrays(rng, 1, 64, 64, (56, 56)), padding=1, method="winograd")
    assert report.multiplies == report.value("winograd") == 31_266_816
    assert report.value("dense") == 115_605_504
    assert report.multiplies < 0.29 * report.value("in bounds")
    assert "63·C·M + 108·C·T + 36·C·M·T + 60·M·T" in str(report)
    assert report.to_dict()["agrees"]


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (winograd.input_line, winograd.IN),
        (winograd.weight_line, winograd.WEIGHT),
        (winograd.output_line, winograd.OUT),
    ],
)
def test_a_transform_multiplies_as_often_as_it_says(line, count):
    """What is written between numbers(...) is computed when the loops are compiled."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(line.py_func)))
    constants = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.func.id == "number"]
    ignored = {id(inner) for constant in constants for inner in ast.walk(constant)}
    products = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mult) and id(n) not in ignored
    ]
    assert len(products) == count


def test_the_transforms_are_exact_inverses():
    """A line of four outputs, from polynomials, by the three transforms in float64."""
    like, d, g = np.zeros(1), np.arange(1.0, 7) ** 2, np.array([3.0, -1, 2])
    values = np.array(winograd.input_line.py_func(like, *d))
    kernel = np.array(winograd.weight_line.py_func(like, *g))
    y = winograd.output_line.py_func(like, *(values * kernel))
    np.testing.assert_allclose(y, np.correlate(d, g, "valid"), rtol=1e-13)


def test_a_nan_stays_in_its_tiles(rng):
    x, weight = arrays(rng, 1, 2, 3, (12, 12))
    x[0, 1, 5, 5] = np.nan  # tiles begin at 0, 4 and 8; one reads two pixels of the next
    spoilt = np.isnan(convolve(x, weight, padding=1))
    assert spoilt[:, :, 4:8, 4:8].all()
    assert spoilt.sum() == 3 * 16


@pytest.mark.parametrize("function", [jitconv.depthwise_conv2d, jitconv.grouped_conv2d])
def test_groups_of_one_channel(rng, function):
    x, weight = arrays(rng, 2, 5, 10, (6, 9), 5)
    options = {"groups": 5} if function is jitconv.grouped_conv2d else {}
    y, report = function(x, weight, padding=1, method="winograd", **options)
    np.testing.assert_allclose(y, naive.conv2d(x, weight, padding=1, groups=5), atol=1e-4)
    assert report.verify().method == "winograd"


def test_auto_never_takes_it(rng):
    assert jitconv.conv2d(*arrays(rng, 1, 8, 8, (8, 8))).report.method != "winograd"


@pytest.mark.parametrize(
    ("kernel", "options", "got"),
    [
        ((3, 5), {}, "kernel (3, 5), stride (1, 1) and dilation (1, 1)"),
        ((3, 3), {"stride": (1, 2)}, "kernel (3, 3), stride (1, 2) and dilation (1, 1)"),
        ((3, 3), {"dilation": 2}, "kernel (3, 3), stride (1, 1) and dilation (2, 2)"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_reason(kernel, options, got):
    message = re.escape(
        f"method: 'winograd' needs a 3×3 kernel, stride 1 and dilation 1, got {got}; "
        "write 'tiled' or 'direct', or 'auto'"
    )
    with pytest.raises(ValueError, match=message):
        jitconv.conv2d(np.ones((1, 8, 8)), np.ones((1, 1, *kernel)), method="winograd", **options)


def test_other_convolutions_have_no_such_loops():
    x, weight = np.ones((1, 6, 6)), np.ones((1, 1, 3, 3))
    for function, arguments in (
        (jitconv.conv_transpose2d, (x, weight)),
        (jitconv.deform_conv2d, (x, np.zeros((18, 4, 4)), weight)),
    ):
        with pytest.raises(ValueError, match="'winograd' has no loops for this"):
            function(*arguments, method="winograd")


@compiled
def test_the_same_bits_on_any_number_of_threads():
    """In a process that may have seven."""
    program = """
        import numba, numpy as np, jitconv
        rng = np.random.default_rng(0)
        for N, C, M, size, g in ((1, 64, 48, 33, 1), (2, 36, 20, 7, 2), (1, 8, 8, 60, 1)):
            x = rng.normal(size=(N, C, size, size)).astype(np.float32)
            weight = rng.normal(size=(M, C // g, 3, 3)).astype(np.float32)
            found = set()
            for threads in (1, 2, 3, 4, 7):
                numba.set_num_threads(threads)
                y, report = jitconv.conv2d(x, weight, padding=1, groups=g, method="winograd")
                report.verify()
                found.add(y.tobytes())
            assert len(found) == 1
    """
    environment = {"NUMBA_NUM_THREADS": "7", "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, check=True)


def test_a_wrong_count_is_noticed(rng):
    _, report = jitconv.conv2d(*arrays(rng, 1, 2, 3, (6, 6)), method="winograd")
    for wrong in range(4):
        passes = [
            p._replace(multiplies=p.multiplies + (i == wrong)) for i, p in enumerate(report.passes)
        ]
        changed = dataclasses.replace(report, passes=tuple(passes))
        name = report.passes[wrong].name
        with pytest.raises(jitconv.CountMismatch, match=f"measured, but winograd, {name}"):
            changed.verify()
        assert "✗ winograd" in str(changed)
    for passes in (report.passes[:3], report.passes[1:], report.passes * 2, ()):
        with pytest.raises(jitconv.CountMismatch):
            dataclasses.replace(report, passes=passes).verify()


BREAKAGES = {  # all but the last leave something out
    "a channel": (r"for _ in range\(min\(LANES, some - c\)\)", "for _ in range(min(LANES, some - c) - 1)"),
    "a tile": (r"for tile in range\(first, tiles\):", "for tile in range(first, tiles - 1):"),
    "a product": (r"range\(36 if end > 0 else 0\)", "range(35 if end > 0 else 0)"),
    "inputs": (r"inputs\(patches, k, min\(LANES, end - k\)", "inputs(patches, k, min(LANES - 1, end - k)"),
    "weights": (r"for c in range\(some\):\n( +)for i in range\(0, width", r"for c in range(some - 1):\n\1for i in range(0, width"),
    "weights of few channels": (r"min\(LANES, some \* width - f\)", "min(LANES, some * width - f - 1)"),
    "outputs": (r"outputs\(p, k, min\(LANES, end - k\)", "outputs(p, k, min(LANES - 1, end - k)"),
    "counted twice": (r"multiplies \+= OUT", "multiplies += 2 * OUT"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BREAKAGES)
def test_broken_loops_are_noticed(broken, monkeypatch, rng):
    source, places = re.subn(*BREAKAGES[broken], inspect.getsource(winograd))
    assert places == 1 + (broken == "counted twice")
    source = source.replace("jit import get_num_threads, njit", "jit import get_num_threads")
    space = {"__name__": "jitconv.methods.broken", "__package__": "jitconv.methods", "njit": njit}
    exec(source, space)
    for name in ("aligned", "put"):
        space[name] = space[name].py_func
    monkeypatch.setattr(winograd, "winograd_loops", space["winograd_loops"])
    x, weight = arrays(rng, 1, 2, 17, (18, 18))
    with np.errstate(all="ignore"):  # what is left out stays whatever the memory held
        report = jitconv.conv2d(x, weight, padding=1, method="winograd").report
    with pytest.raises(jitconv.CountMismatch, match="measured, but winograd"):
        report.verify()


def test_the_formulas_know_groups_and_images():
    costs = formulas.winograd(2, 8, 4, window((5, 9), 3, padding=1), groups=2)
    assert costs["tiles"].value == 2 * 2 * 3
    assert costs["winograd, weight transform"].symbols == "63·C·M/g"
    assert costs["winograd"].value == 63 * 16 + 108 * 8 * 12 + 36 * 16 * 12 + 60 * 4 * 12
