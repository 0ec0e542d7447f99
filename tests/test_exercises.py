"""Answers are compared with a run of the loops, and a wrong one gets the hint that fits it."""

import numpy as np
import pytest

from jitconv import check, conv2d

X = np.arange(128.0).reshape(2, 8, 8)
WEIGHT = np.arange(72.0).reshape(4, 2, 3, 3)


@pytest.mark.parametrize(
    ("what", "answer", "options", "text"),
    [
        ("multiplies", None, {}, "… No answer yet: put yours in place of None."),
        ("multiplies", 2592, {}, "✓ 2,592 multiplies: M·C·K²·OH·OW = 4·2·9·6·6 = 2,592."),
        ("multiplies", 2592.0, {}, "✓ 2,592.0 multiplies: M·C·K²·OH·OW = 4·2·9·6·6 = 2,592."),
        ("multiplies", 5184, {}, "✗ Not 5,184. That is the FLOPs: two for each multiply and its add."),
        ("multiplies", 1296, {}, "did you count the input channels, C = 2?"),
        ("multiplies", 648, {}, "It is 1/4 of the right number: did you count the output channels"),
        ("multiplies", 288, {}, "did you count the taps of the kernel, K² = 9?"),
        ("multiplies", 864, {}, "did you count the rows of the kernel, K = 3?"),
        ("multiplies", 72, {}, "That is the parameters: each of them"),
        ("multiplies", 4608, {}, "That is the document's count, over H·W: this output has another"),
        ("multiplies", 2593, {}, "✗ Not 2,593. The formula is M·C·K²·OH·OW."),
        ("multiplies", 0, {}, "✗ Not 0. The formula is M·C·K²·OH·OW."),
        ("multiplies", 4608, {"stride": 2, "padding": 1}, "That is what it would be with stride=1."),
        ("multiplies", 2592, {"padding": 1}, "That is what it would be with padding=0."),
        ("multiplies", 3872, {"padding": 1}, "That is the multiplies in bounds: these loops"),
        ("multiplies", 736, {"padding": 1}, "That is the multiplies on padding alone."),
        ("multiplies_in_bounds", 4608, {"padding": 1}, "That is the multiplies: each of them"),
        ("multiplies_on_padding", 736, {"padding": 1}, "dense − in bounds = 4,608 − 3,872."),
        ("macs", 2592, {}, "✓ 2,592 MACs: an add follows 2,592 of 2,592 multiplies."),
        ("flops", 5184, {}, "✓ 5,184 FLOPs: 2 × MACs = 2 × 2,592."),
        ("flops", 2592, {}, "That is the multiplies: each of them and its add are two FLOPs."),
        ("parameters", 72, {}, "✓ 72 parameters: I·O·K² = 2·4·9 = 72."),
        ("parameters", 76, {"bias": np.ones(4)}, "✓ 76 parameters: I·O·K² = 2·4·9 = 72, and M = 4 of"),
        ("parameters", 72, {"bias": np.ones(4)}, "That is what it would be with bias=None."),
        ("parameters", 144, {}, "It is 2 times the right number: do the input channels, C = 2, count"),
        ("output_shape", (4, 6, 6), {}, "✓ (4, 6, 6): ⌊(H − k + 2·P)/S⌋ + 1 = ⌊(8 − 3 + 2·0)/1⌋ + 1 = 6."),
        ("output_shape", [4, 6, 6], {}, "✓ (4, 6, 6): "),
        ("output_shape", (4, 6, 6), {"padding": 1}, "That is what it would be with padding=0."),
        ("output_shape", (2, 6, 6), {}, "An output has a channel for each filter."),
        ("output_shape", (6, 6), {}, "An output has 3 axes; the last three are channels, height and"),
        ("output_shape", (4, 5, 5), {}, "✗ Not (4, 5, 5). The formula is ⌊(H − k + 2·P)/S⌋ + 1."),
        ("output", np.zeros((4, 6, 5)), {}, "✗ Yours has shape (4, 6, 5), the output (4, 6, 6)."),
        ("output", np.zeros((4, 6, 6)), {}, "144 of 144 numbers are wrong, y[0, 0, 0] is the first"),
    ],
)  # fmt: skip
def test_verdicts_of_a_standard_convolution(what, answer, options, text):
    verdict = check(what, answer, "standard", X, WEIGHT, **options)
    assert text in repr(verdict)
    assert bool(verdict) is repr(verdict).startswith("✓")
    assert verdict.right is {"✓": True, "✗": False, "…": None}[repr(verdict)[0]]


def test_parts_of_a_variant_of_several_passes():
    arrays = X, [1.0, 2, 1], [1.0, 0, -1]
    assert "That is the column pass alone" in repr(check("multiplies", 288, "separable", *arrays))
    assert check("multiplies", 288 + 216, "separable", *arrays)
    weight = WEIGHT.reshape(2, 4, 3, 3)
    assert "M·C·V_h·V_w" in repr(check("multiplies", 4608, "transposed", X, weight, stride=2))


@pytest.mark.parametrize(
    ("what", "answer", "text"),
    [
        ("multiplies", 504 + 864 + 1152 + 960, "✓ 3,480 multiplies: 63·C·M + 108·C·T + 36·C·M·T"),
        ("macs", 1152, "✓ 1,152 MACs: an add follows 1,152 of 3,480 multiplies."),
        ("multiplies", 1152, "✗ Not 1,152. That is the products alone."),
        ("multiplies", 960, "✗ Not 960. That is the output transform alone."),
        ("multiplies", 4608, "✗ Not 4,608. That is the document's count"),
        ("multiplies", 1740, "✗ Not 1,740. It is 1/2 of the right number"),
        ("multiplies", 1, "✗ Not 1. The formula is 63·C·M + 108·C·T + 36·C·M·T + 60·M·T."),
    ],
)
def test_verdicts_of_winograds_method(what, answer, text):
    options = {"padding": 1, "method": "winograd"}
    assert text in repr(check(what, answer, "standard", X, WEIGHT, **options))


def test_the_output_by_hand():
    y = conv2d(X, WEIGHT).output
    assert check("output", y, "standard", X, WEIGHT)
    assert check("output", y.tolist(), "standard", X, WEIGHT)
    turned = conv2d(X, WEIGHT[:, :, ::-1, ::-1]).output
    assert "turned the kernel by 180°" in repr(check("output", turned, "standard", X, WEIGHT))
    y[1, 2, 3] += 1
    assert "1 of 144 numbers are wrong, y[1, 2, 3]" in repr(
        check("output", y, "standard", X, WEIGHT)
    )


def naive(x, weight, skip=0):
    """Convolve with padding 1; where `skip` is 1, leave its zeros out."""
    M, C, K, _ = weight.shape
    _, H, W = x.shape
    y, multiplies = np.zeros((M, H, W)), 0
    for m, i, j, c, a, b in np.ndindex(M, H, W, C, K, K):
        inside = 0 <= i + a - 1 < H and 0 <= j + b - 1 < W
        if inside:
            y[m, i, j] += x[c, i + a - 1, j + b - 1] * weight[m, c, a, b]
        multiplies += inside or not skip
    x[:], weight[:] = 0, 0  # the learner's copies
    return y, multiplies


@pytest.mark.parametrize(
    ("loops", "text"),
    [
        (naive, "✓ The output and its 4,608 multiplies are right, all counted."),
        (lambda x, w: naive(x, w, 1), "3,872 multiplies are right, the zeros of the padding left"),
        (lambda x, w: naive(x, w[:, :, ::-1, ::-1]), "✗ You turned the kernel by 180°"),
        (lambda x, w: (naive(x, w)[0], 7), "✗ The output is right, but you counted 7 multiplies"),
        (lambda x, w: None, "… No answer yet: your function returns None."),
        (None, "… No answer yet: put yours in place of None."),
    ],
)
def test_loops_of_the_learner(loops, text):
    x, weight = X.copy(), WEIGHT.copy()
    assert text in repr(check("loops", loops, "standard", x, weight, padding=1))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(weight, WEIGHT)


@pytest.mark.parametrize(
    ("error", "what", "answer", "variant"),
    [
        (ValueError, "adds", 1, "standard"),
        (ValueError, "multiplies", 1, "square"),
        (TypeError, "multiplies", "many", "standard"),
        (TypeError, "multiplies", True, "standard"),
        (TypeError, "loops", 3, "standard"),
        (TypeError, "loops", lambda x, weight: x, "standard"),
        (ValueError, "multiplies", 1, "grouped"),
    ],
)
def test_what_is_no_question_or_no_answer(error, what, answer, variant):
    options = {"groups": 3} if variant == "grouped" else {}
    with pytest.raises(error):
        check(what, answer, variant, X, WEIGHT, **options)


def test_a_shape_of_unlike_sides_has_two_formulas():
    x, weight = np.ones((2, 8, 9)), np.ones((4, 2, 3, 3))
    right = repr(check("output_shape", (4, 6, 7), "standard", x, weight))
    assert "= 6, ⌊(W − k" in right
    wrong = repr(check("output_shape", (4, 7, 6), "standard", x, weight))
    assert "The formula is ⌊(H − k + 2·P)/S⌋ + 1" in wrong
