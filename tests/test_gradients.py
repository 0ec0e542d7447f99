"""Gradients: against what each function makes of a direction, torch's autograd, and the forward counts."""

import inspect
import json
import re
from pathlib import Path

import calls
import naive
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jitconv
from jitconv import gradients
from jitconv.gradients import deformable, weights
from jitconv.methods.tiled import products, samples, turned_products

STORED = np.load(Path(__file__).parent / "golden" / "gradients.npz")
CASES = json.loads(str(STORED["cases"]))
FUNCTIONS = [  # those that are linear in every array but the positions
    name for name in calls.FUNCTIONS if name != "deformable_layer" and name in gradients.__all__
]


def backward(call, dy, **more):
    """The gradients of a drawn call, whose bias they do not take."""
    function = getattr(gradients, call.function.__name__)
    names = [n for n in inspect.signature(call.function).parameters if n in call.variant.arrays]
    arrays = [
        a for n, a in zip(names, call.arrays, strict=False) if call.variant.arrays[n].role != "bias"
    ]
    return function(dy, *arrays, **call.options, method=call.method, **more)


def along(call, name, direction):
    """What the oracle makes of a direction in place of an array: functions are linear in each."""
    parameters = inspect.signature(call.function).parameters
    arrays = {n: a for n, a in zip(parameters, call.arrays, strict=False) if n != "bias"}
    arrays[name] = direction
    if name == "bias":  # the rest is zero
        arrays["x"] = np.zeros_like(arrays["x"])
    options = {n: arrays.pop(n, value) for n, value in call.options.items()}
    arrays = [arrays.get(n) for n in list(parameters)[: len(call.arrays)]]
    return getattr(naive, call.function.__name__)(*arrays, **options)


@pytest.mark.parametrize("function", FUNCTIONS)
@given(data=st.data())
def test_a_gradient_is_what_a_direction_changes(function, data):
    call = data.draw(calls.calls(function))
    expected = call.expected()
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dtype = call.arrays[0].dtype
    dy = rng.normal(size=expected.shape).astype(dtype)
    grads, report = backward(call, dy)
    report.verify()
    tolerance = 2e-4 if dtype == np.float32 else 1e-10
    for name, array in call.given().items():
        found = getattr(grads, name)
        assert found.shape == array.shape
        assert found.dtype == dtype
        direction = rng.normal(size=array.shape)
        if name == "offset":
            if dtype == np.float32 or not array.any():  # at whole pixels the surface has an edge
                continue
            far, near = (along(call, name, array + h * direction) for h in (1e-7, -1e-7))
            changes, tolerance = dy * (far - near) / 2e-7, 1e-6
        else:
            changes = dy * along(call, name, direction)
        scale = max(1, np.abs(changes).sum(), np.abs(found * direction).sum())
        np.testing.assert_allclose(
            (found * direction).sum(), changes.sum(), atol=tolerance * scale, rtol=0
        )


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "deform_conv2d"])
@given(data=st.data())
def test_each_part_costs_the_forward_pass(function, data):
    call = data.draw(calls.calls(function))
    forward = call.run().report
    dy = np.zeros(forward.output_shape, call.arrays[0].dtype)
    report = backward(call, dy).report.verify()
    again = {"separable_conv2d": "column pass", "depthwise_separable_conv2d": "depthwise"}
    extra = report.value(f"in bounds, {again[function]}") if function in again else 0
    assert report.multiplies_in_bounds == 2 * forward.multiplies_in_bounds + extra
    multiplies, on_padding = naive.counts(function, *call.arrays, **call.options)
    for kind in ("input", "weight"):
        parts = [p for p in report.passes if p.name.endswith(kind)]
        assert sum(p.multiplies - p.on_padding for p in parts) == multiplies - on_padding


@pytest.mark.parametrize("case", CASES, ids=[f"{c['function']}-{c['options']}" for c in CASES])
@pytest.mark.parametrize("method", ["direct", "tiled"])
def test_same_as_torch(case, method):
    arrays = {name: STORED[f"{case['key']}_{name}"] for name in ("dy", *case["arrays"])}
    grads, report = getattr(gradients, case["function"])(**arrays, **case["options"], method=method)
    report.verify()
    for name in case["arrays"]:
        expected = STORED[f"{case['key']}_d{name}"]
        np.testing.assert_allclose(getattr(grads, name), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grads.bias, arrays["dy"].sum(axis=(0, 2, 3)), rtol=1e-5, atol=1e-5)


def test_a_step_of_training_costs_three_forward_passes():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 8, 14, 14)), rng.normal(size=(12, 8, 3, 3))
    y, forward = jitconv.conv2d(x, weight, padding=1)
    report = gradients.conv2d(y, x, weight, padding=1).report
    assert forward.multiplies + report.multiplies == 3 * forward.multiplies
    assert report.parts == {"input": forward.multiplies, "weight": forward.multiplies}


def test_what_is_not_needed_costs_nothing():
    x, weight = np.ones((4, 6, 6)), np.ones((8, 4, 3, 3))
    dy = np.ones((8, 4, 4))
    for needs in ([], ["bias"], ["weight"], ("x", "bias"), {"x", "weight"}):
        grads, report = gradients.conv2d(dy, x, weight, needs=needs)
        assert {name for name in grads._fields if getattr(grads, name) is not None} == set(needs)
        parts = {"x": "input", "weight": "weight"}
        assert set(report.verify().parts) == {parts[name] for name in needs if name in parts}
    each = np.ones((4, 1, 3, 3))
    for needs in ([], ["x"], ["depthwise_weight"], ["pointwise_weight"]):
        grads, report = gradients.depthwise_separable_conv2d(
            dy, x, each, np.ones((8, 4)), needs=needs
        )
        assert [name for name in grads._fields if getattr(grads, name) is not None] == needs
        report.verify()
    for needs in ([], ["x"], ["column"], ["row"]):
        grads, report = gradients.separable_conv2d(
            np.ones((4, 4, 4)), x, np.ones(3), np.ones(3), needs=needs
        )
        assert [name for name in grads._fields if getattr(grads, name) is not None] == needs
        report.verify()


@pytest.mark.parametrize(("C", "g"), [(12, 1), (12, 2), (12, 12), (35, 35), (48, 1)])
def test_same_bits_on_any_number_of_threads(C, g):
    rng = np.random.default_rng(g)
    x = rng.normal(size=(3, C, 12, 11)).astype(np.float32)
    weight = rng.normal(size=(2 * C, C // g, 3, 3)).astype(np.float32)
    dy = rng.normal(size=(3, 2 * C, 6, 6)).astype(np.float32)
    most, found = numba.get_num_threads(), []
    try:
        for threads in {1, min(2, most), most}:
            numba.set_num_threads(threads)
            found.append(gradients.conv2d(dy, x, weight, stride=2, padding=1, groups=g).grads)
    finally:
        numba.set_num_threads(most)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_taps_that_all_meet_padding():
    """A kernel's two rows straddle the image."""
    rng = np.random.default_rng(0)
    x, weight, dy = (rng.normal(size=size) for size in ((16, 2, 16), (16, 1, 2, 3), (16, 2, 16)))
    options = {"dilation": (20, 1), "padding": (10, 1), "groups": 16}
    y, report = jitconv.conv2d(x, weight, **options)
    assert (report.verify().multiplies, np.abs(y).max()) == (0, 0)
    grads, report = gradients.conv2d(dy, x, weight, **options)
    assert (report.verify().multiplies, np.abs(grads.weight).max()) == (0, 0)


def test_empty_batch_and_single_image():
    weight = np.ones((4, 3, 3, 3))
    grads, report = gradients.conv2d(np.zeros((0, 4, 6, 6)), np.zeros((0, 3, 8, 8)), weight)
    assert grads.x.shape == (0, 3, 8, 8)
    assert not grads.weight.any()
    assert not grads.bias.any()
    assert report.verify().multiplies == 0
    grads, _ = gradients.conv2d(np.ones((4, 6, 6)), np.ones((3, 8, 8)), weight)
    assert grads.x.shape == (3, 8, 8)


def test_bad_arguments():
    x, weight, dy = np.zeros((1, 3, 8, 8)), np.zeros((4, 3, 3, 3)), np.zeros((1, 4, 6, 6))
    shape = re.escape("dy: needs the shape that the forward pass gives, (1, 4, 6, 6), got shape (")
    for wrong in (dy[0], dy[:, :3], dy[..., :5], np.zeros((2, 4, 6, 6))):
        with pytest.raises(ValueError, match=shape):
            gradients.conv2d(wrong, x, weight)
    with pytest.raises(TypeError, match="dy: must be float64 as x is, got float32"):
        gradients.conv2d(dy.astype(np.float32), x, weight)
    with pytest.raises(TypeError, match="dy: must be float32 or float64, got int"):
        gradients.conv2d(dy.astype(int), x, weight)
    for needs in ("x", ["y"], ("weight", "x", "offset"), 1, [[1]]):
        with pytest.raises(ValueError, match="needs: must hold some of 'x', 'weight', 'bias'"):
            gradients.conv2d(dy, x, weight, needs=needs)
    for method in ("winograd", "fast", None, np.ones(2)):
        with pytest.raises(ValueError, match="method: must be one of 'auto', 'direct', 'tiled'"):
            gradients.conv2d(dy, x, weight, method=method, needs=["weight"])
    with pytest.raises(ValueError, match="groups: 2 does not divide 3"):
        gradients.conv2d(dy, x, weight, groups=2)


def test_inputs_are_not_modified():
    rng = np.random.default_rng(0)
    x, weight, dy = (
        rng.normal(size=(1, 3, 8, 8)),
        rng.normal(size=(4, 3, 3, 3)),
        np.ones((1, 4, 6, 6)),
    )
    arrays = [dy, x, weight]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.setflags(write=False)
    gradients.conv2d(*arrays)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow  # loops that are broken are compiled each time
@pytest.mark.parametrize("broken", ["direct", "tiled", "turned", "depthwise"])
def test_a_tap_left_out_is_noticed(monkeypatch, broken):
    rng, method = np.random.default_rng(0), "direct" if broken == "direct" else "tiled"
    C, M = (10, 9) if broken == "turned" else (2, 3)  # lines are turned for many channels
    C, M, g = (16, 16, 16) if broken == "depthwise" else (C, M, 1)
    x, weight, dy = (rng.normal(size=s) for s in ((C, 9, 6), (M, C // g, 3, 3), (M, 7, 4)))
    report = gradients.conv2d(dy, x, weight, groups=g, method=method).report.verify()
    module, loops, right, wrong = {
        "direct": (weights, "weight_loops", "for kw in range(KW):", "for kw in range(1, KW):"),
        "tiled": (products, "product_loops", "apart, first\n", "apart, first + 1\n"),
        "turned": (products, "product_loops", "first = R //", "first = 1 + R //"),
        "depthwise": (
            turned_products,
            "turned_product_loops",
            "in range(end, shifts",
            "in range(shifts.size, shifts",
        ),
    }[broken]
    source = inspect.getsource(module)
    assert source.count(right) == 1
    namespace = {"__name__": "jitconv.broken", "__package__": module.__name__.rpartition(".")[0]}
    exec(source.replace(right, wrong), namespace)
    monkeypatch.setattr(module, loops, namespace[loops])
    report = gradients.conv2d(dy, x, weight, groups=g, method=method).report
    with pytest.raises(jitconv.CountMismatch, match=r"weight \S+ measured, but dense, weight"):
        report.verify()


def deformed(seed, N, C, M, size, K, g, G, masked, **options):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(N, C, *size)), rng.normal(size=(M, C // g, K, K))
    window = jitconv.shapes.window(size, K, **options)
    offset = 2 * rng.normal(size=(N, 2 * G * K * K, *window.output))
    mask = rng.normal(size=(N, G * K * K, *window.output)) if masked else None
    dy = rng.normal(size=(N, M, *window.output))
    return dy, x, offset, weight, mask


def test_deformable_without_offsets_is_the_convolution():
    dy, x, offset, weight, _ = deformed(0, 2, 4, 6, (7, 9), 3, 2, 1, False, padding=1)
    grads, report = gradients.deform_conv2d(dy, x, 0 * offset, weight, padding=1)
    plain = gradients.conv2d(dy, x, weight, padding=1, groups=2).grads
    for name in ("x", "weight", "bias"):
        np.testing.assert_allclose(getattr(grads, name), getattr(plain, name), atol=1e-12)
    assert report.verify().parts["weight"] == 6 * 2 * 9 * 7 * 9 * 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_offsets_that_point_nowhere_have_no_gradient(value):
    dy, x, offset, weight, mask = deformed(1, 1, 2, 3, (5, 6), 3, 1, 1, True)
    offset[:] = value
    grads, _ = gradients.deform_conv2d(dy, x, offset, weight, mask=mask)
    for name in ("x", "offset", "weight", "mask"):
        assert not getattr(grads, name).any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "needs", [[], ["x"], ["offset"], ["weight"], ["bias"], ["mask"], ["x", "weight"]]
)
def test_deformable_does_what_is_needed(needs, masked):
    dy, x, offset, weight, mask = deformed(2, 2, 4, 6, (6, 6), 3, 2, 2, masked, stride=2)
    options = {"stride": 2, "mask": mask}
    if "mask" in needs and not masked:
        with pytest.raises(ValueError, match="needs: 'mask' was asked for, but the call has no"):
            gradients.deform_conv2d(dy, x, offset, weight, **options, needs=needs)
        return
    grads, report = gradients.deform_conv2d(dy, x, offset, weight, **options, needs=needs)
    every, _ = gradients.deform_conv2d(dy, x, offset, weight, **options, method="direct")
    report.verify()
    for name in grads._fields:
        if name in needs:
            np.testing.assert_allclose(getattr(grads, name), getattr(every, name), atol=1e-12)
        else:
            assert getattr(grads, name) is None


@pytest.mark.parametrize("band", [1, 3000])
def test_bands_of_rows_change_nothing(monkeypatch, band):
    dy, x, offset, weight, mask = deformed(5, 3, 4, 6, (7, 6), 3, 2, 2, True, padding=1)
    whole = gradients.deform_conv2d(dy, x, offset, weight, mask=mask, padding=1)
    monkeypatch.setattr(deformable, "BAND", band)
    cut = gradients.deform_conv2d(dy, x, offset, weight, mask=mask, padding=1)
    assert cut.report.verify().parts == whole.report.parts
    for one, other in zip(cut.grads, whole.grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("few", [0, 1000])  # units: each samples for itself, or all at once
@pytest.mark.parametrize(("size", "least"), [(1, 4), (3000, 6), (20000, 40)])
def test_pieces_of_samples_change_nothing(monkeypatch, size, least, few):
    _, x, offset, weight, mask = deformed(5, 3, 4, 6, (7, 6), 3, 2, 2, True, padding=1)
    whole, _ = jitconv.deform_conv2d(x, offset, weight, mask=mask, padding=1, method="direct")
    for name, value in (("SAMPLES", size), ("LEAST", least), ("FEW", few)):
        monkeypatch.setattr(samples, name, value)
    cut, report = jitconv.deform_conv2d(x, offset, weight, mask=mask, padding=1, method="tiled")
    report.verify()
    np.testing.assert_allclose(cut, whole, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("needs", [[], ["bias"]])
def test_a_layer_makes_no_offsets_for_a_bias(needs):
    dy, x, _, weight, _ = deformed(6, 2, 2, 3, (5, 6), 3, 1, 1, False)
    branches = {"mask_weight": np.ones((9, 2, 3, 3)), "mask_bias": [1.0] * 9}
    arrays = x, np.ones((18, 2, 3, 3)), weight
    grads, report = gradients.deformable_layer(dy, *arrays, **branches, needs=needs)
    _, whole = gradients.deformable_layer(dy, *arrays, **branches)
    assert report.verify().parts == {}
    assert report.parameters == whole.parameters
    assert (grads.bias is None) is (needs == [])


def test_deformable_of_one_image_and_of_none():
    dy, x, offset, weight, mask = deformed(3, 1, 2, 3, (5, 6), 3, 1, 1, True)
    one, _ = gradients.deform_conv2d(dy[0], x[0], offset[0], weight, mask=mask[0])
    batch, _ = gradients.deform_conv2d(dy, x, offset, weight, mask=mask)
    for name in ("x", "offset", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(batch, name)[0])
    none, report = gradients.deform_conv2d(dy[:0], x[:0], offset[:0], weight, mask=mask[:0])
    assert report.verify().multiplies == 0
    assert none.offset.shape == (0, *offset.shape[1:])
    assert not none.weight.any()


@pytest.mark.slow  # loops that are broken are compiled each time
@pytest.mark.parametrize("loops", ["corner_loops", "spread_loops"])
def test_a_sample_left_out_is_noticed(monkeypatch, loops):
    dy, x, offset, weight, _ = deformed(4, 1, 2, 3, (5, 6), 3, 1, 1, False)
    source = inspect.getsource(deformable)
    right = "for ow in range(OW):"
    assert source.count(right) >= 2
    namespace = {"__name__": "jitconv.broken", "__package__": "jitconv.gradients"}
    exec(source.replace(right, "for ow in range(1, OW):"), namespace)
    monkeypatch.setattr(deformable, loops, namespace[loops])
    part = "positions" if loops == "corner_loops" else "input"
    report = gradients.deform_conv2d(dy, x, offset, weight).report
    with pytest.raises(jitconv.CountMismatch, match=rf"{part} \S+ measured, but dense, {part}"):
        report.verify()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_layers_gradients_are_its_slopes(groups, masked):
    rng = np.random.default_rng(groups)
    arrays = {
        "x": rng.normal(size=(2, 4, 7, 6)),
        "offset_weight": 0.3 * rng.normal(size=(18, 4, 3, 3)),
        "weight": rng.normal(size=(6, 4 // groups, 3, 3)),
        "offset_bias": rng.normal(size=18),
    }
    if masked:
        arrays |= {"mask_weight": rng.normal(size=(9, 4, 3, 3)), "mask_bias": rng.normal(size=9)}
    options = {"padding": 1, "stride": (1, 2)}
    dy = rng.normal(size=(2, 6, 7, 3))
    grads, report = gradients.deformable_layer(dy, **arrays, **options)
    report.verify()
    assert report.parts["offset branch"] == report.parts["offset branch weight"]
    np.testing.assert_allclose(grads.bias, dy.sum(axis=(0, 2, 3)))

    def forward(name, array):
        return jitconv.deformable_layer(**{**arrays, name: array}, **options).output

    for name, array in arrays.items():
        direction = rng.normal(size=array.shape)
        h = 1e-7
        slopes = (forward(name, array + h * direction) - forward(name, array - h * direction)) / h
        expected = (dy * slopes / 2).sum()
        found = (getattr(grads, name) * direction).sum()
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-4), name
    one, _ = gradients.deformable_layer(
        dy[0], arrays.pop("x")[0], **arrays, **options, needs=["x", "offset_weight"]
    )
    assert one.x.shape == (4, 7, 6)
    assert one.weight is None
    for needs in (["x"], ["weight"], ["offset_bias"], ["bias"], []):
        x = rng.normal(size=(4, 7, 6))
        grads, report = gradients.deformable_layer(dy[0], x, **arrays, **options, needs=needs)
        report.verify()
        assert [name for name in grads._fields if getattr(grads, name) is not None] == needs
