"""Sizes against brute force, and formulas that say, put in and compute the same thing."""

import math
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jitconv import Formula, formulas, shapes

sizes, taps, steps, ends = (
    st.integers(1, 30),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 6),
)


@given(sizes, taps, steps, ends, ends, steps)
def test_output_size_is_the_number_of_places_where_the_kernel_fits(
    size, kernel, stride, before, after, dilation
):
    reach = shapes.effective_kernel_size(kernel, dilation)
    places = [p for p in range(-before, size + after, stride) if p + reach <= size + after]
    if not places:
        with pytest.raises(ValueError, match="the output would be empty"):
            shapes.output_size(size, kernel, stride, (before, after), dilation)
        return
    assert shapes.output_size(size, kernel, stride, (before, after), dilation) == len(places)
    inside = sum(0 <= p + k * dilation < size for p in places for k in range(kernel))
    assert shapes.taps_in_bounds(size, len(places), kernel, stride, before, dilation) == inside


@given(sizes, taps, steps, steps)
def test_same_padding_gives_ceil_of_size_over_stride(size, kernel, stride, dilation):
    before, after = shapes.same_padding(size, kernel, stride, dilation)
    assert 0 <= after - before <= 1
    assert shapes.output_size(size, kernel, stride, (before, after), dilation) == math.ceil(
        size / stride
    )


@given(sizes, taps, steps, ends, steps)
def test_transposed_size_undoes_output_size(size, kernel, stride, padding, dilation):
    if size + 2 * padding < shapes.effective_kernel_size(kernel, dilation):
        return
    small = shapes.output_size(size, kernel, stride, padding, dilation)
    rest = (size + 2 * padding - shapes.effective_kernel_size(kernel, dilation)) % stride
    assert shapes.transposed_output_size(small, kernel, stride, padding, dilation, rest) == size


@given(st.lists(st.tuples(taps, steps, steps), min_size=1, max_size=4))
def test_receptive_field_is_what_one_output_reaches(layers):
    reached = {0}
    for kernel, stride, dilation in reversed(layers):
        reached = {p * stride + k * dilation for p in reached for k in range(kernel)}
    assert shapes.receptive_field(layers) == max(reached) - min(reached) + 1


W1 = shapes.window((8, 9), (3, 2), (2, 1), padding=1)  # output 4×10; 11 and 18 taps in the image
LITERAL = [  # formulas, and by hand: parameters, document's, dense, in bounds
    (formulas.standard(2, 6, 4, W1), 144, 2 * 144 * 72, 2 * 144 * 40, 2 * 24 * 11 * 18),
    (
        formulas.dilated(1, 6, 4, shapes.window(8, 3, padding=2, dilation=2)),
        216, 216 * 64, 216 * 64, 24 * 20 * 20,
    ),
    (formulas.grouped(3, 6, 4, W1, groups=2), 72, 3 * 72 * 72, 3 * 72 * 40, 3 * 12 * 198),
    (formulas.depthwise(2, 6, 12, W1), 72, 2 * 72 * 72, 2 * 72 * 40, 2 * 12 * 198),
    (formulas.pointwise(2, 6, 4, shapes.window((8, 9), 1, 2)), 24, 48 * 72, 48 * 20, 48 * 20),
    (
        formulas.separable(2, 6, W1),
        5, 12 * 5 * 72, 12 * (3 * 4 * 9 + 2 * 4 * 10), 12 * (11 * 9 + 4 * 18),
    ),
    (
        formulas.depthwise_separable(1, 6, 12, 5, W1),
        72 + 60, (72 + 60) * 72, (72 + 60) * 40, 12 * 198 + 60 * 40,
    ),
    (
        formulas.transposed(2, 6, 4, shapes.transposed_window(8, 4, 2, 1), groups=2),
        192, 2 * 192 * 64, 2 * 192 * 256, 2 * 12 * 900,
    ),
    (
        formulas.deformable(2, 6, 4, W1, samples=100, groups=2, offset_groups=3, mask=True),
        72, 2 * 72 * 72, 2 * 6 * 40 * (12 + 24 + 6 + 12), 2 * 6 * 40 * (12 + 24 + 6) + 100 * 2 * 2,
    ),
    (
        formulas.deformable(1, 6, 4, W1, samples=100, layer=True),
        144 + 12 * 36, (144 + 432) * 72, 6 * 40 * (72 + 4 + 24 + 24), 72 * 198 + 240 * 28 + 100 * 24,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("found", "parameters", "document", "dense", "in_bounds"), LITERAL)
def test_formulas_against_numbers_by_hand(found, parameters, document, dense, in_bounds):
    assert W1.output == (4, 10)
    assert W1.taps == (11, 18)
    names = ("parameters", "document", "dense", "in bounds")
    assert tuple(found[name].value for name in names) == (parameters, document, dense, in_bounds)
    assert all(f.section and f.symbols and f.substituted for f in found.values())
    assert all(isinstance(f.value, int) for name, f in found.items() if "ratio" not in name)
    with pytest.raises(KeyError, match="'speed' is none of parameters"):
        found["speed"]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), sizes, st.integers(1, 5))
def test_document_is_dense_for_stride_1_and_same(N, C, M, size, K):
    window = shapes.window(size, K, padding="same")
    for found in (
        formulas.standard(N, C, M, window),
        formulas.depthwise(N, C, 2 * C, window),
        formulas.separable(N, C, window),
        formulas.depthwise_separable(N, C, 2 * C, M, window),
        formulas.grouped(N, 2 * C, 2 * M, window, groups=2),
        formulas.pointwise(N, C, M, shapes.window(size, 1)),
    ):
        assert found["document"].value == found["dense"].value


def test_formulas_do_not_overflow():
    value = Formula.of(
        "dense", "", "K²·C·M·H·W", **{"K²": 9}, C=10**9, M=10**9, H=10**9, W=10**9
    ).value
    assert value == 9 * 10**36
    large = shapes.window(10**9, 3, padding="same")
    costs = formulas.standard(1, 10**6, 10**6, large)
    assert costs["in bounds"].value == 10**12 * (3 * 10**9 - 2) ** 2


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_a_formula_is_what_python_makes_of_it(a, b, c):
    text = "a·(b + 2)/c − ⌊(a + b)/c⌋·3 + 7"
    found = Formula.of("", "", text, a=a, b=b, c=c)
    assert found.substituted == f"{a}·({b} + 2)/{c} − ⌊({a} + {b})/{c}⌋·3 + 7"
    assert found.value == Fraction(a * (b + 2), c) - (a + b) // c * 3 + 7


@pytest.mark.parametrize(
    ("text", "values", "error", "message"),
    [
        ("2K", {"K": 3}, ValueError, r"'2K' is no formula: \+ − · or / is missing before 3"),
        ("K M", {"K": 3, "M": 4}, ValueError, "is missing before 4"),
        ("(K", {"K": 3}, ValueError, r"\( is not closed before its end"),
        ("⌊K)", {"K": 3}, ValueError, r"⌊ is not closed before \)"),
        ("K·", {"K": 3}, ValueError, "there is no number before its end"),
        ("K)", {"K": 3}, ValueError, r"is missing before \)"),
        ("K**2", {"K": 3}, ValueError, r"is missing before \*"),
        ("K/M", {"K": 3, "M": 0}, ValueError, "is no formula: Fraction"),
        ("", {}, ValueError, "there is no number before its end"),
        ("K", {"K": -3}, ValueError, "K: must be at least 0, got -3"),
        ("K", {"K": 2**40}, ValueError, "K: must be less than 2³¹"),
        ("K", {"K": 1.0}, TypeError, "K: must be an integer"),
        ("K", {}, KeyError, "K"),
    ],
)
def test_what_is_no_formula(text, values, error, message):
    with pytest.raises(error, match=message):
        Formula.of("name", "", text, **values)


def test_counts_may_be_of_any_size():
    for count in ("V_s", "U_s", "T"):
        assert Formula.of("", "", count, **{count: 2**40}).value == 2**40


@pytest.mark.parametrize("K", [1, 3, 5, 7])
def test_ratios_are_those_of_the_documents_counts(K):
    window = shapes.window(16, K, padding="same")

    def values(found):
        return {name: f.value for name, f in found.items()}

    standard = values(formulas.standard(1, 12, 24, window))
    for other in (
        formulas.grouped(1, 12, 24, window, groups=4),
        formulas.depthwise_separable(1, 12, 12, 24, window),
    ):
        other = values(other)
        assert other["document"] == other["ratio to standard"] * standard["document"]
        assert other["parameters"] == other["ratio to standard"] * standard["parameters"]
    single = values(formulas.standard(1, 1, 1, window))
    separable = values(formulas.separable(1, 1, window))
    assert (
        separable["ratio to depthwise"]
        == Fraction(2, K)
        == Fraction(separable["document"], single["document"])
    )


@pytest.mark.parametrize(
    ("case", "dense", "in_bounds"),
    [
        ((56, 3, 1, 1, 1), 168, 166),
        ((14, 3, 1, 1, 1), 42, 40),
        ((7, 3, 1, 1, 1), 21, 19),
        ((7, 5, 1, 2, 1), 35, 29),
        ((14, 3, 1, 6, 6), 42, 30),
        ((4, 2, 1, (0, 1), 1), 8, 7),
    ],
)
def test_published_shares_of_taps_in_bounds(case, dense, in_bounds):
    """Worked by hand; the last is the 196 of 256 that XLA's cost analysis prints for a 2×2 'SAME' convolution of 4×4."""
    size, kernel, stride, padding, dilation = case
    outputs = shapes.output_size(*case)
    before = padding if isinstance(padding, int) else padding[0]
    assert outputs * kernel == dense
    assert shapes.taps_in_bounds(size, outputs, kernel, stride, before, dilation) == in_bounds


def test_window_takes_numpy_integers():
    assert shapes.window(np.int64(8), (np.int32(3), 3), padding=np.uint8(1)).output == (8, 8)
