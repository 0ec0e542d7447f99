"""A trace holds every multiply of the loops: as many as they count, with the right numbers, summing to the output."""

import threading
from collections import Counter

import calls
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import jitconv
from jitconv import gradients, jit
from jitconv.tracing import trace
from jitconv.variants import VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_trace_is_what_the_loops_do(variant, data):
    function = VARIANTS[variant].function.__name__
    call = data.draw(calls.calls(function))._replace(method="direct")
    y, report = call.run()
    assume(report.multiplies < 4000)
    steps = trace(variant, *call.arrays, **call.options)
    parts = {name: count for name, count in report.parts.items() if count}
    assert Counter(step.part for step in steps) == parts

    arrays, last = call.given(), max((step.stage for step in steps), default=0)
    x = np.asarray(arrays["x"], np.float64).reshape(-1, *arrays["x"].shape[-3:])
    whole = {"corner weights", "corner values", "mask"}  # there nothing is said to be on padding
    outside = [step for step in steps if not step.inside and step.part not in whole]
    assert len(outside) == report.multiplies_on_padding
    for step in steps:
        if step.stage == 0 and step.around is not None and len(step.around) == 4:
            assert step.value == (x[step.input] if step.input else 0)
            assert step.inside is (step.input is not None)
        if step.weight is not None:
            assert step.factor == arrays[VARIANTS[variant].passes[step.part]][step.weight]
    sums = {s.output: s.sum for s in steps if s.stage == last and len(s.output) == 4}
    y = y.reshape(-1, *y.shape[-3:])
    np.testing.assert_allclose(
        [y[output] for output in sums],
        list(sums.values()),
        atol=1e-4 * max(1, np.abs(y).max(initial=0)),
    )


@pytest.mark.parametrize("part", ["input", "weight"])
@settings(max_examples=25)
@given(data=st.data())
def test_a_trace_of_a_gradient_is_what_its_loops_do(part, data):
    call = data.draw(calls.calls("conv2d"))._replace(method="direct")
    (x, weight, *_), options = call.arrays, {k: call.options[k] for k in calls.OPTIONS}
    options["groups"] = call.options["groups"]
    y = np.asarray(call.run()[0])
    dy = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    grads, report = gradients.conv2d(
        dy, x, weight, **options, needs={{"input": "x"}.get(part, part)}
    )
    assume(report.multiplies < 4000)
    steps = trace(f"{part} gradient", dy, x, weight, **options)
    assert (
        len(steps) == gradients.conv2d(dy, x, weight, **options, method="direct").report.parts[part]
    )
    assert sum(step.inside for step in steps) == report.multiplies_in_bounds
    found, factors = (grads.x, weight) if part == "input" else (grads.weight, dy)
    values = dy if part == "input" else x
    found, factors, values = (a.reshape(-1, *a.shape[-3:]) for a in (found, factors, values))
    for step in steps:
        assert step.factor == factors[step.weight]
        assert step.value == (values[step.input] if step.input else 0)
    sums = {step.output: step.sum for step in steps}
    np.testing.assert_allclose([found[o] for o in sums], list(sums.values()), atol=1e-3)


def test_the_order_is_that_of_the_loops():
    """Tap by tap along an output row, as the loops of standard.py are written."""
    steps = trace("standard", np.ones((1, 3, 3)), np.ones((1, 1, 2, 2)))
    assert [step.weight[2:] + step.output[2:] for step in steps] == [
        (kh, kw, oh, ow) for oh in (0, 1) for kh in (0, 1) for kw in (0, 1) for ow in (0, 1)
    ]


def test_a_padded_pixel_has_no_place():
    first, *_ = trace("standard", [[[5.0]]], [[[[1.0, 2.0], [3.0, 4.0]]]], padding=1)
    assert (first.input, first.value, first.factor) == (None, 0.0, 1.0)


def test_a_trace_refuses_what_is_large_or_unknown():
    with pytest.raises(ValueError, match=r"takes 1,179,648 multiplies, more than 200,000"):
        trace("standard", np.zeros((8, 128, 128)), np.zeros((1, 8, 3, 3)), padding=1)
    with pytest.raises(ValueError, match="variant: must be one of standard, dilated"):
        trace(["standard"], np.zeros((1, 3, 3)), np.zeros((1, 1, 1, 1)))
    with pytest.raises(ValueError, match="variant: must be one of standard, dilated"):
        trace("fourier", np.zeros((1, 3, 3)), np.zeros((1, 1, 1, 1)))
    with pytest.raises(ValueError, match="weight:"):
        trace("standard", np.zeros((2, 3, 3)), np.zeros((1, 1, 1, 1)))


def test_what_one_thread_traces_is_no_affair_of_another(rng):
    x, weight = rng.integers(-9, 9, (2, 6, 7)) / 1.0, rng.integers(-9, 9, (3, 2, 3, 3)) / 1.0
    expected, _ = jitconv.conv2d(x, weight, method="direct")
    recorded, outputs = [], []
    other = threading.Thread(
        target=lambda: outputs.append(jitconv.conv2d(x, weight, method="direct").output)
    )
    with jit.recording(lambda loops, arrays: recorded.append(loops)):
        other.start()
        other.join(timeout=60)
    assert recorded == []
    np.testing.assert_array_equal(outputs[0], expected)


def test_traces_of_two_threads_are_their_own(rng):
    x = rng.normal(size=(1, 6, 6))
    kernels = [rng.normal(size=(1, 1, K, K)) for K in (2, 3)]
    expected = [trace("standard", x, kernel) for kernel in kernels]
    found = [[], []]

    def work(number):
        for _ in range(5):
            found[number].append(trace("standard", x, kernels[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[steps] * 5 for steps in expected]
