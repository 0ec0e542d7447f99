"""Answers are compared with a run of the loops, and a wrong one gets the hint that fits it."""

import numpy as np
import pytest

from jitconv import check, conv2d, dilated_conv2d, trace
from jitconv.learn import slips
from jitconv.variants import VARIANTS

X = np.arange(128.0).reshape(2, 8, 8)
WEIGHT = np.arange(72.0).reshape(4, 2, 3, 3)


@pytest.mark.parametrize(
    ("what", "answer", "options", "text"),
    [
        ("multiplies", None, {}, "… No answer yet: put yours in place of None."),
        ("multiplies", 2592, {}, "✓ 2,592 multiplies: M·C·K²·OH·OW = 4·2·9·6·6 = 2,592."),
        ("multiplies", 2592.0, {}, "✓ 2,592.0 multiplies: M·C·K²·OH·OW = 4·2·9·6·6 = 2,592."),
        ("multiplies", np.int64(2592), {}, "✓ 2,592 multiplies: "),
        ("multiplies", 5184, {}, "✗ Not 5,184. Those are the FLOPs, two for each multiply and its add."),
        ("multiplies", 1296, {}, "did you count the input channels, C = 2?"),
        ("multiplies", 648, {}, "It is 1/4 of the right number: did you count the output channels"),
        ("multiplies", 288, {}, "did you count the taps of the kernel, K² = 9?"),
        ("multiplies", 864, {}, "did you count the rows of the kernel, K = 3?"),
        ("multiplies", 72, {}, "Those are the parameters, each weight and bias once."),
        ("multiplies", 4608, {}, "That is K²·C·M·H·W, the document's count, over H·W."),
        ("multiplies", 2593, {}, "✗ Not 2,593. The formula is M·C·K²·OH·OW, with OH = ⌊(H − k + 2·P)/S⌋ + 1."),
        ("multiplies", 0, {}, "✗ Not 0. The formula is M·C·K²·OH·OW, with OH = "),
        ("multiplies", [2592], {}, "✓ 2,592 multiplies: "),
        ("multiplies", [2593], {}, "✗ Not 2,593. The formula is "),
        ("multiplies", 3528, {}, "✗ Not 3,528. That is it for 7×7 outputs. In how many places does the kernel fit?"),
        ("multiplies", 1800, {}, "✗ Not 1,800. That is it for 5×5 outputs."),
        ("multiplies", "many", {}, "✗ Not 'many'. The answer is a number."),
        ("multiplies", True, {}, "✗ Not True. The answer is a number."),
        ("multiplies", [1, [2, 3]], {}, "✗ Not (1, [2, 3]). The answer is a number."),
        ("multiplies", 4608, {"stride": 2, "padding": 1}, "That is what it would be with stride=1."),
        ("multiplies", 2592, {"padding": 1}, "That is what it would be with padding=0."),
        ("multiplies", 3872, {"padding": 1}, "Those are the multiplies in bounds, on pixels alone."),
        ("multiplies", 736, {"padding": 1}, "Those are the multiplies on padding, on zeros around"),
        ("multiplies_in_bounds", 4608, {"padding": 1}, "Those are the multiplies, on pixels and on padding. Asked for are the multiplies in bounds, on pixels alone."),
        ("multiplies_on_padding", 736, {"padding": 1}, "M·C·K²·OH·OW − M·C·V_h·V_w = 4,608 − 3,872."),
        ("multiplies_on_padding", 4608, {"padding": 1}, "Asked for are the multiplies on padding, on zeros"),
        ("multiplies_on_padding", 24, {"padding": 1}, "✗ Not 24. y[0, 0, 0], in the corner, meets 8 pixels: 10 of its 18 multiplies are on padding."),
        ("multiplies_in_bounds", 24, {"padding": 1}, "✗ Not 24. y[0, 0, 0], in the corner, meets 8 pixels: 10 of its 18"),
        ("multiplies_in_bounds", 24, {}, "The formula is M·C·V_h·V_w. V_h and V_w are the pairs"),
        ("macs", 2592, {}, "✓ 2,592 MACs: multiplies with an add = 2,592 of 2,592."),
        ("macs", 7, {}, "✗ Not 7. The formula is multiplies with an add."),
        ("flops", 5184, {}, "✓ 5,184 FLOPs: 2 × MACs = 2 × 2,592."),
        ("flops", 2592, {}, "Those are the multiplies, on pixels and on padding. Asked for are the FLOPs, two"),
        ("parameters", 72, {}, "✓ 72 parameters: I·O·K² = 2·4·9 = 72."),
        ("parameters", 76, {"bias": np.ones(4)}, "✓ 76 parameters: I·O·K² + M = 2·4·9 + 4 = 76."),
        ("parameters", 72, {"bias": np.ones(4)}, "That is what it would be with bias=None."),
        ("parameters", 40, {"bias": np.ones(4)}, "✗ Not 40. The formula is I·O·K² + M."),
        ("parameters", 144, {}, "It is 2 times the right number: do the input channels, C = 2, count"),
        ("output_shape", (4, 6, 6), {}, "✓ output shape (4, 6, 6): ⌊(H − k + 2·P)/S⌋ + 1 = ⌊(8 − 3 + 2·0)/1⌋ + 1 = 6."),
        ("output_shape", [4, 6, 6], {}, "✓ output shape (4, 6, 6): "),
        ("output_shape", np.array([1, 4, 6, 6]), {}, "✓ output shape (1, 4, 6, 6): "),
        ("output_shape", (4, 6, 6), {"padding": 1}, "That is what it would be with padding=0."),
        ("output_shape", (2, 6, 6), {}, "An output has a channel for each filter."),
        ("output_shape", (6, 6), {}, "An output has 3 axes; the last three are channels, height and"),
        ("output_shape", 6, {}, "An output has 3 axes; the last three are channels, height and"),
        ("output_shape", (6, 6, 4), {}, "The order is channels, height, width."),
        ("output_shape", ("4", "6", "6"), {}, "✗ Not ('4', '6', '6'). An output has a channel"),
        ("output_shape", (4, 5, 5), {}, "✗ Not (4, 5, 5). The formula is ⌊(H − k + 2·P)/S⌋ + 1."),
        ("output_shape", ([4], 6, 6), {}, "✗ Not ([4], 6, 6). An output has a channel for each filter."),
        ("output", [[10**400]], {}, "✗ The answer is an array of 4×6×6 numbers."),
        ("output", np.zeros((4, 6, 5)), {}, "✗ Your answer has 4×6×5 numbers, the output has 4×6×6: the kernel fits in 6×6 places."),
        ("output", np.zeros((4, 6, 6)), {}, "✗ 144 of 144 numbers are wrong, the first at answer[0][0][0]."),
        ("output", [[1, 2], [3]], {}, "✗ The answer is an array of 4×6×6 numbers."),
        ("output", "nothing", {}, "✗ The answer is an array of 4×6×6 numbers."),
        ("output", len, {}, "✗ The answer is an array of 4×6×6 numbers."),
    ],
)  # fmt: skip
def test_verdicts_of_a_standard_convolution(what, answer, options, text):
    verdict = check(what, answer, "standard", X, WEIGHT, **options)
    assert text in repr(verdict)
    assert bool(verdict) is repr(verdict).startswith("✓")
    assert verdict.right is {"✓": True, "✗": False, "…": None}[repr(verdict)[0]]


def test_small_numbers_beside_large_ones_are_compared_too():
    for x in ([[[10000.0, 1]]], np.float32([[[10000, 1]]]), [[[1e9, 1]]]):
        wrong = [np.ravel(x)[0], 3]
        assert not check("output", wrong, "standard", x, np.ones((1, 1, 1, 1), np.asarray(x).dtype))


def test_loops_in_float32_and_whole_floats_are_right():
    x, weight = np.full((1, 2, 2), 0.1), np.full((1, 1, 1, 1), 0.3)
    assert check("loops", lambda x, w: (np.float32(x) * np.float32(0.3), 4), "standard", x, weight)
    assert check("choice", 2.0, lambda n: {"half": range(n)[-1]}, half=1)


def test_factors_that_may_have_been_left_out_are_all_named():
    x, weight = np.ones((4, 5, 5)), np.ones((4, 4, 4, 4))
    hint = repr(check("multiplies", 4 * 4 * 4, "standard", x, weight))
    assert "the taps of the kernel, K² = 16, or did you count the channels in and out" in hint


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
        ("macs", 1152, "✓ 1,152 MACs: multiplies with an add = 1,152 of 3,480."),
        ("multiplies", 1152, "✗ Not 1,152. That is the products alone."),
        ("multiplies", 960, "✗ Not 960. That is the output transform alone."),
        ("multiplies", 4608, "✗ Not 4,608. That is K²·C·M·H·W, the document's count"),
        ("multiplies", 1740, "✗ Not 1,740. It is 1/2 of the right number"),
        ("multiplies", 1, "✗ Not 1. The formula is 63·C·M + 108·C·T + 36·C·M·T + 60·M·T."),
    ],
)
def test_verdicts_of_winograds_method(what, answer, text):
    options = {"padding": 1, "method": "winograd"}
    assert text in repr(check(what, answer, "standard", X, WEIGHT, **options))


@pytest.mark.parametrize(
    ("variant", "weight", "options", "answers", "text"),
    [
        ("grouped", (8, 4, 3, 3), {"groups": 2}, (8 * 8 * 9, 8 * 8 * 9 * 36), "4 of the 8 input"),
        ("grouped", (8, 2, 3, 3), {"groups": 4}, (8 * 8 * 9, 8 * 8 * 9 * 36), "2 of the 8 input"),
        ("dilated", (8, 2, 3, 3), {"groups": 4}, (8 * 8 * 9, 8 * 8 * 9 * 16), "2 of the 8 input"),
        ("depthwise", (8, 1, 3, 3), {}, (8 * 8 * 9, 8 * 8 * 9 * 36), "1 of the 8 input"),
    ],
)
def test_groups_that_are_forgotten(variant, weight, options, answers, text):
    x = np.ones((8, 8, 8))
    for what, answer in zip(("parameters", "multiplies"), answers, strict=True):
        hint = repr(check(what, answer, variant, x, np.ones(weight), **options))
        assert f"You forgot /g: each output channel sees {text} channels." in hint


def test_other_counts_come_before_other_calls():
    x, weight = np.ones((1, 6, 6)), np.ones((1, 1, 3, 3))
    options = {"dilation": 4, "padding": 4}  # 324 is also what dilation=1 would have in bounds
    every = check("multiplies_in_bounds", 324, "dilated", x, weight, **options)
    assert "Those are the multiplies, on pixels and on padding." in repr(every)


@pytest.mark.parametrize(
    ("right", "other"),
    [
        ({"dilation": 3}, {"stride": 3, "dilation": 1}),
        ({"stride": 3, "dilation": 1}, {"dilation": 3}),
        ({"stride": 3}, {"stride": 2, "dilation": 3}),  # 2 is the rate if none is given
    ],
)
def test_a_stride_in_place_of_a_rate(right, other):
    x, weight = np.ones((1, 21, 21)), np.ones((1, 1, 5, 4))
    mixed = dilated_conv2d(x, weight, **other).report.multiplies
    assert "Stride and dilation have changed places: one moves the window" in repr(
        check("multiplies", mixed, "dilated", x, weight, **right)
    )


def test_gaps_that_are_counted():
    x, weight = np.ones((1, 20, 20)), np.ones((1, 1, 5, 5))
    gaps = check("multiplies", 13 * 13 * 64, "dilated", x, weight, dilation=3)
    assert "The gaps between the taps are counted as well." in repr(gaps)
    hint = repr(check("multiplies", 1, "separable", x, np.ones(3), np.ones(3), dilation=2))
    assert "The formula is C·KH·OH·W + C·KW·OH·OW, with OH = " in hint
    assert hint.endswith(" + 1 and k = D·(K − 1) + 1.")
    hint = repr(check("multiplies", 375, "separable", np.ones((1, 8, 8)), np.ones(5), np.ones(5)))
    assert "The formula is" in hint  # 375 is 240·(5·5)/(4·4), but a pass has other places
    hint = repr(check("multiplies_on_padding", 1, "separable", x, np.ones(3), np.ones(3)))
    assert "C·KH·OH·W + C·KW·OH·OW − (C·V_h·W + C·OH·V_w), with OH" in hint


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("row", np.s_[..., -1:, :]),
        ("column", np.s_[..., -1]),
        ("row and column", (np.s_[..., -1:, :], np.s_[..., -1])),
    ],
)
def test_outputs_that_end_too_early(what, part):
    y = conv2d(X, WEIGHT).output
    for ends in part if what == "row and column" else [part]:
        y[ends] = 0
    assert f"The last {what} is missing." in repr(check("output", y, "standard", X, WEIGHT))


def test_the_output_by_hand():
    y = conv2d(X, WEIGHT).output
    for same in (y, y.tolist(), y[np.newaxis], y[..., np.newaxis]):
        assert check("output", same, "standard", X, WEIGHT)
    assert not check("output", y.swapaxes(0, 1), "standard", X, WEIGHT)
    assert "has 144 numbers, the" in repr(check("output", y.ravel(), "standard", X, WEIGHT))
    y[1, 2, 3] += 1
    assert repr(check("output", y, "standard", X, WEIGHT)) == (
        "✗ 1 of 144 numbers is wrong, at answer[1][2][3]."  # of 18 pixels
    )


NINE = np.arange(1.0, 10).reshape(1, 3, 3)
DIAGONAL = np.array([[[[1.0, 0], [0, -1]]]])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([[-4, -4], [-4, -4]], "✓ All 4 numbers are right."),
        ([[-4, -4], [-4, 4]], "✗ 1 of 4 numbers is wrong, at answer[1][1]: the weights meet the pixels 5, 6, 8, 9 there."),
        ([[[-4, 0], [0, -4]]], "✗ 2 of 4 numbers are wrong, the first at answer[0][0][1]: the weights meet the pixels 2, 3, 5, 6 there."),
        ([[-5, -6], [-8, -9]], "✗ 4 of 4 numbers are wrong, the first at answer[0][0]: the weights meet the pixels 1, 2, 4, 5 there. The first taps are left out."),
        ([[-4, -4, 0], [-4, -4, 0]], "✗ Your answer has 2×3 numbers, the output has 2×2: the kernel fits in 2×2 places."),
        ([-4, -4, -4, -4], "✗ Your answer has 4 numbers, the output has 2×2: the kernel fits in 2×2 places."),
        ([[[-4]]], "✗ Your answer has 1 number, the output has 2×2: the kernel fits in 2×2 places."),
        ([[[4]]], "✗ Your answer has 1 number, the output has 2×2: the kernel fits in 2×2 places."),
    ],
)  # fmt: skip
def test_an_answer_by_hand_is_told_where_to_look(answer, text):
    assert repr(check("output", answer, "standard", NINE, DIAGONAL)) == text


def test_a_forgotten_stride_by_hand():
    every = conv2d(NINE, DIAGONAL).output
    hint = check("output", every, "standard", NINE, DIAGONAL, stride=2)
    assert repr(hint).endswith("fits in 1×1 places. That is what it would be with stride=1.")


def test_what_several_images_or_passes_are_made_of():
    two, one = np.stack([NINE, 10 * NINE]), np.ones((2, 1, 1, 1))
    y = conv2d(two, DIAGONAL).output
    y[1] = 0
    assert "at answer[1][0][0][0]: the weights meet the pixels 10, 20, 40, 50 there." in repr(
        check("output", y, "standard", two, DIAGONAL)
    )
    assert repr(
        check("output", [[0, 0]], "depthwise separable", NINE[:, :1, :2], one[:1], one[:1])
    ) == ("✗ 2 of 2 numbers are wrong, the first at answer[0][0].")


def test_an_output_in_another_shape():
    pixels, kernel = np.array([[[1.0, 10]]]), np.array([[[[1.0, 2, 3]]]])
    for right in ([1, 2, 13, 20, 30], [[1, 2, 13, 20, 30]], np.array([[[[1, 2, 13, 20, 30.0]]]])):
        assert check("output", right, "transposed", pixels, kernel, stride=2)
    two = check("output", [1, 2, 10, 20, 30], "transposed", pixels, kernel, stride=2)
    assert "at answer[2]: the weights meet the pixels 10, 1 there. Only the last" in repr(two)
    short = check("output", [1, 2, 13, 20], "transposed", pixels, kernel, stride=2)
    assert repr(short) == "✗ Your answer has 4 numbers, the output has 5."
    nothing = check("output", [0, 0], "standard", pixels, 6 * np.ones((1, 1, 1, 1)))
    assert repr(nothing).endswith("the first at answer[0].")  # no slip is told by zeros
    assert check("output", 6, "standard", pixels[..., 1:] * 0.1, 6 * np.ones((1, 1, 1, 1)))


def test_numbers_near_zero_are_compared_by_the_size_of_the_others():
    x, weight = np.float32([[[1e4, 1e4, 1]]]), np.float32([[[[1, -1]]]])
    assert check("output", [1e-3, 9999], "standard", x, weight)
    assert not check("output", [10, 9999], "standard", x, weight)
    x[0, 0, 2] = np.inf
    assert not check("output", [10, np.inf], "standard", x, weight)
    assert check("output", [0, np.inf], "standard", x, -weight) is not None


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


def stops(x, weight):
    return x[2], 1


@pytest.mark.parametrize(
    ("loops", "text"),
    [
        (naive, "✓ The output and its 4,608 multiplies are right, all counted."),
        (lambda x, w: naive(x, w, 1), "3,872 multiplies are right, the zeros of the padding left"),
        (lambda x, w: (naive(x, w)[0][np.newaxis].tolist(), 4608), "✓ The output and its 4,608"),
        (lambda x, w: (naive(x, w)[0], 7), "but you counted 7 multiplies; the textbook loops do 4,608."),
        (lambda x, w: (naive(x, w)[0], 512), "do 4,608. It is 1/9 of the right number: did you count"),
        (lambda x, w: naive(x, w)[0], "✗ The output is right. Return how many multiplies you did as"),
        (lambda x, w: (naive(x, w)[0], "many"), "✗ The output is right. Return how many multiplies"),
        (lambda x, w: x, "✗ y has shape (2, 8, 8), it should have (4, 8, 8)."),
        (lambda x, w: list(naive(x, w)), "✓ The output and its 4,608 multiplies are right"),
        (lambda x, w: (naive(x, w)[0], np.array([4608])), "✓ The output and its 4,608 multiplies"),
        (lambda x, w: naive(x, w)[::-1], "✗ Return the output first, and after it the multiplies."),
        (lambda x, w: [[1, 2], [3]], "✗ y is no array of numbers; it should have shape (4, 8, 8)."),
        (lambda x, w: "y", "✗ y is no array of numbers"),
        (lambda x, w: (naive(x, w)[0] + 5j, 4608), "✗ y is no array of numbers"),
        (lambda x, w: (np.ma.array(naive(x, w)[0], mask=True), 4608), "✗ y is no array of numbers"),
        (stops, "✗ Your function stopped in line "),
        (stops, ", return x[2], 1: IndexError: index 2 is out of bounds for axis 0 with size 2."),
        (lambda x: x, "✗ Your function stopped: TypeError: <lambda>() takes 1 positional argument"),
        (lambda x, w: conv2d(x, w[0]), "conv2d(x, w[0]), "),
        (3, "✗ Give the function itself, without calling it."),
        (lambda x, w: None, "… No answer yet: your function returns None."),
        (None, "… No answer yet: put yours in place of None."),
    ],
)  # fmt: skip
def test_loops_of_the_learner(loops, text):
    x, weight = X.copy(), WEIGHT.copy()
    assert text in repr(check("loops", loops, "standard", x, weight, padding=1))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(weight, WEIGHT)


def slipped(
    x, weight, *, padding=0, stride=1, dilation=1, size=None, first=0, less=0, shift=0, add=True,
    channels=None, tap=lambda kh, kw, K: (kh, kw), filter=lambda m: m, group=lambda m, M, g: m // (M // g),
):  # fmt: skip
    """Convolve in loops that can be made to slip."""
    M, CG, K, _ = weight.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    OH, OW = size or [(n - dilation * (K - 1) - 1) // stride + 1 for n in x.shape[1:]]
    y, multiplies = np.zeros((M, OH, OW)), 0
    for m, oh, ow in np.ndindex(y.shape):
        begin = group(m, M, len(x) // CG) * CG
        for c in channels or range(CG):
            for kh in range(first, K - less):
                for kw in range(first, K - less):
                    ih, iw = oh * stride + kh * dilation, ow * stride + kw * dilation
                    product = x[begin + c, ih + shift, iw + shift]
                    product = product * weight[(filter(m), c, *tap(kh, kw, K))]
                    y[m, oh, ow] = product + add * y[m, oh, ow]
                    multiplies += 1
    return y, multiplies


RNG = np.random.default_rng(1)
CALLS = {
    "standard": (RNG.normal(size=(2, 7, 6)), RNG.normal(size=(2, 2, 3, 3))),
    "dilated": (RNG.normal(size=(2, 7, 8)), RNG.normal(size=(3, 2, 3, 3))),
    "grouped": (RNG.normal(size=(6, 5, 4)), RNG.normal(size=(4, 2, 3, 3))),
    "depthwise": (RNG.normal(size=(2, 5, 4)), RNG.normal(size=(6, 1, 3, 3))),
}
MORE = {"dilated": {"dilation": 2}, "grouped": {"groups": 3}}
CALLS["grouped"] = RNG.normal(size=(6, 5, 4)), RNG.normal(size=(6, 2, 3, 3))


@pytest.mark.parametrize(
    ("variant", "options", "slip", "text"),
    [
        ("standard", {}, {"tap": lambda kh, kw, K: (kw, kh)}, "The kernel is transposed: its rows are"),
        ("standard", {}, {"tap": lambda kh, kw, K: (K - 1 - kh, K - 1 - kw)}, "The kernel is turned by 180°."),
        ("standard", {}, {"add": False}, "Only the last product is left: add them all (`+=`)."),
        ("standard", {}, {"channels": [0]}, "Only the first input channel is counted."),
        ("standard", {}, {"channels": [-1]}, "Only the last input channel is counted."),
        ("standard", {}, {"less": 1}, "The last taps are left out."),
        ("standard", {}, {"first": 1}, "The first taps are left out."),
        ("standard", {}, {"shift": -1}, "Each tap reads the pixel above and left of its own."),
        ("standard", {}, {"shift": 1}, ": IndexError: index 6 is out of bounds for axis 2"),
        ("standard", {}, {"size": (4, 4)}, "y has shape (2, 4, 4), it should have (2, 5, 4)."),
        ("standard", {}, {"size": (5, 3)}, "y has shape (2, 5, 3), it should have (2, 5, 4)."),
        ("standard", {}, {"filter": lambda m: 0}, "Every output channel takes the first filter."),
        ("standard", {"padding": 1}, {"padding": 0}, "That is what it would be with padding=0."),
        ("standard", {"stride": 2}, {"stride": 1}, "That is what it would be with stride=1."),
        ("standard", {"stride": 2}, {"stride": 1, "size": (3, 2)}, "y[0, 0, 1] is"),
        ("standard", {"stride": 2}, {"stride": 1, "size": (3, 2)}, "That is what it would be with stride=1."),
        ("dilated", {}, {"dilation": 1}, "y has shape (3, 5, 6), it should have (3, 3, 4). That is what it would"),
        ("dilated", {}, {"dilation": 1, "size": (3, 4)}, "That is what it would be with dilation=1."),
        ("dilated", {}, {"dilation": 1, "stride": 2, "size": (3, 3)}, "Stride and dilation have changed places"),
        ("grouped", {}, {"group": lambda m, M, g: 0}, "Every output channel reads the first group."),
        ("grouped", {}, {"group": lambda m, M, g: m % g}, "Output channel m reads group m % g; its own is"),
        ("depthwise", {}, {"group": lambda m, M, g: m % g}, "Output channel m reads group m % g; its own is"),
        ("grouped", {}, {"add": False}, "Only the last product is left"),
    ],
)  # fmt: skip
def test_slips_are_told_apart(variant, options, slip, text):
    options = {**MORE.get(variant, {}), **options}
    arrays, right = CALLS[variant], {k: v for k, v in options.items() if k != "groups"}
    assert check("loops", lambda *a: slipped(*a, **right), variant, *arrays, **options)
    hint = repr(
        check("loops", lambda *a: slipped(*a, **{**right, **slip}), variant, *arrays, **options)
    )
    assert hint.startswith("✗")
    assert text in hint
    assert "it should" in hint or "stopped" in hint


def test_channels_that_have_changed_places():
    x, weight = CALLS["standard"]
    y = conv2d(x, weight.swapaxes(0, 1)).output
    assert "channels in and out have changed places" in repr(
        check("output", y, "standard", x, weight)
    )
    square = conv2d(x[:, :6], weight).output
    turned = check("output", square.swapaxes(1, 2), "standard", x[:, :6], weight)
    assert "Rows come first, then columns." in repr(turned)


def scattered(x, weight, stride=2, add=1):
    """Convolve transposed, without padding, from the inputs to an output for stride 2."""
    C, H, W = x.shape
    _, M, K, _ = weight.shape
    y, multiplies = np.zeros((M, 2 * H - 2 + K, 2 * W - 2 + K)), 0
    for c, ih, iw, m, kh, kw in np.ndindex(C, H, W, M, K, K):
        place = m, ih * stride + kh, iw * stride + kw
        y[place] = add * y[place] + x[c, ih, iw] * weight[c, m, kh, kw]
        multiplies += 1
    return y, multiplies


def in_two_passes(x, column, row, add=(1, 1)):
    C, H, W = x.shape
    OH, OW = H - len(column) + 1, W - len(row) + 1
    between, y, multiplies = np.zeros((C, OH, W)), np.zeros((C, OH, OW)), 0
    for c, oh, iw, kh in np.ndindex(C, OH, W, len(column)):
        between[c, oh, iw] = add[0] * between[c, oh, iw] + x[c, oh + kh, iw] * column[kh]
        multiplies += 1
    for c, oh, ow, kw in np.ndindex(C, OH, OW, len(row)):
        y[c, oh, ow] = add[1] * y[c, oh, ow] + between[c, oh, ow + kw] * row[kw]
        multiplies += 1
    return y, multiplies


def mixed(x, weight):
    return np.tensordot(weight, x, 1), weight.size * x[0].size


@pytest.mark.parametrize(
    ("variant", "loops", "text"),
    [
        ("transposed", scattered, "✓ The output and its 648 multiplies are right, all counted."),
        ("transposed", lambda x, w: scattered(x, w, add=0), "Only the last product is left"),
        ("transposed", lambda x, w: scattered(x, w, stride=1), "it would be with stride=1."),
        ("transposed", lambda x, w: scattered(x, w.swapaxes(2, 3)), "The kernel is transposed"),
        ("transposed", lambda x, w: scattered(x, w[:, :, ::-1, ::-1]), "turned by 180°."),
        ("transposed", lambda x, w: scattered(x, w[:, [0, 0, 0]]), "takes the first filter."),
        ("pointwise", mixed, "✓ The output and its 80 multiplies are right, all counted."),
        ("pointwise", lambda x, w: mixed(x, w[[0, 0]]), "takes the first filter."),
        ("pointwise", lambda x, w: mixed(x, w.T), "channels in and out have changed places."),
        ("separable", in_two_passes, "✓ The output and its 288 multiplies are right, all counted."),
        ("separable", lambda *a: in_two_passes(*a, (0, 1)), "Only the last tap is left"),
        ("separable", lambda *a: in_two_passes(*a, (1, 0)), "Only the last tap is left"),
        ("separable", lambda x, c, r: in_two_passes(x, c[::-1], r[::-1]), "turned by 180°."),
        ("separable", lambda x, c, r: in_two_passes(x, c, r[::-1]), "turned by 180°."),
    ],
)
def test_slips_of_other_loops(variant, loops, text):
    rng = np.random.default_rng(1)
    shapes = {"transposed": ((2, 4, 3), (2, 3, 3, 3)), "separable": ((2, 6, 7), (3,), (5,))}
    shapes["pointwise"] = (2, 4, 5), (2, 2)
    arrays = [rng.normal(size=shape) for shape in shapes[variant]]
    options = {"stride": 2} if variant == "transposed" else {}
    assert text in repr(check("loops", loops, variant, *arrays, **options))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([15, 22.5], "✓ All 2 numbers are right."),
        ([10, 30], "wrong, the first at answer[0]. The taps do not move."),
        ([7.5, 25], "The taps move the other way."),
        ([25, 7.5], "The nearer pixel has the greater weight."),
        ([7.5, 22.5], "Of each pair of offsets the first is down."),
    ],
)
def test_slips_of_offsets(answer, text):
    x, offset = np.array([[[10.0, 30]]]), np.array([[[0.0, 0]], [[0.25, 0.25]]])
    assert text in repr(check("output", answer, "deformable", x, offset, np.ones((1, 1, 1, 1))))


@pytest.mark.parametrize("record", VARIANTS.values(), ids=lambda record: record.name)
def test_every_slip_of_every_variant_is_recognised(record):
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=array.shape) for array in record.small_call()]
    call = slips.Call(record, tuple(arrays), {"method": "direct", **record.options})
    found = [
        (text, output)
        for text, output in slips.slipped_outputs(call)
        if output.shape == call.output.shape and output.any()
        if not np.allclose(output, call.output)
    ]
    told = set()
    for _, output in found:
        first = next(text for text, other in found if np.allclose(output, other))
        assert first in repr(check("output", output, record.name, *arrays, **call.options))
        told.add(first)
    assert len(told) >= 5


def test_what_is_too_large_to_be_traced(monkeypatch):
    monkeypatch.setattr("jitconv.tracing.LIMIT", 100)
    assert "144 of 144 numbers are wrong" in repr(
        check("output", X[[0] * 4, :6, :6], "standard", X, WEIGHT)
    )


def test_a_choice_shows_what_it_gives():
    def grouped(g):
        return conv2d(np.ones((24, 16, 16)), np.ones((16, 24 // g, 3, 3)), groups=g, padding=1)

    assert repr(check("choice", None, grouped, multiplies=110_592)).startswith("… No answer yet")
    assert repr(check("choice", 4, grouped, multiplies=110_592)) == (
        "✗ It gives 221,184 multiplies: M·(C/g)·K²·OH·OW = 16·(24/4)·9·16·16. "
        "Wanted: 110,592 multiplies."
    )
    assert repr(check("choice", 8, grouped, multiplies=110_592)) == (
        "✓ It gives 110,592 multiplies: M·(C/g)·K²·OH·OW = 16·(24/8)·9·16·16."
    )
    assert "✗ That does not run: ValueError: " in repr(check("choice", 5, grouped, multiplies=1))
    assert "✗ That does not run: TypeError: " in repr(check("choice", "8", grouped, multiplies=1))


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([16, 8], "✓ It gives output shape (8, 5, 5), 3 layers, 24 channels."),
        ([16, 16], "✗ It gives output shape (16, 5, 5), 3 layers, 32 channels. Wanted: output shape (8, 5, 5), at most 30 channels."),
        ([8], "✗ It gives output shape (8, 5, 5), 2 layers, 8 channels. Wanted: 3 layers, at least 20 channels."),
    ],
)  # fmt: skip
def test_a_choice_within_bounds(layers, text):
    def built(layers):
        shape = np.array([layers[-1], 5, 5])
        return {"output_shape": shape, "layers": len(layers) + 1, "channels": np.sum(layers)}

    bounds = {"at_most": {"channels": 30}, "at_least": {"channels": 20}}
    verdict = check("choice", layers, built, output_shape=(8, 5, 5), layers=3, **bounds)
    assert repr(verdict).replace(f", {sum(layers)} channels", "", 1) == text


def test_a_choice_that_brings_its_own_hint():
    def built(layers):
        return {
            "layers": len(layers),
            "pixels_wide": 3 ** layers[0],
            "hint": "more" * (layers[0] < 2),
        }

    wanted = {"layers": 2, "pixels_wide": 9}
    assert repr(check("choice", [2, 2], built, **wanted)) == "✓ It gives 2 layers, 9 pixels wide."
    assert repr(check("choice", [0], built, **wanted)) == (
        "✗ It gives 1 layer, 1 pixel wide. Wanted: 2 layers, 9 pixels wide. more"
    )
    assert repr(check("choice", [2], built, **wanted)) == (
        "✗ It gives 1 layer, 9 pixels wide. Wanted: 2 layers."
    )
    assert repr(check("choice", [0, 0], built, layers=2)) == "✓ It gives 2 layers."


@pytest.mark.parametrize("name", ["multiplies", "parameters", "FLOPs", "loss"])
def test_one_of_a_kind(name):
    singular = {
        "multiplies": "multiply",
        "parameters": "parameter",
        "FLOPs": "FLOP",
        "loss": "loss",
    }
    for count, words in ((1, singular[name]), (2, name)):
        assert f"gives {count} {words}." in repr(
            check("choice", count, lambda value: {name: value}, **{name: count})
        )


def test_a_kernel_that_is_chosen():
    image, kernel = np.arange(30.0).reshape(1, 5, 6) ** 2, np.arange(9.0).reshape(3, 3)
    picture = conv2d(image, kernel[None, None]).output

    def run(kernel):
        return conv2d(image, np.reshape(kernel, (1, 1, 3, 3)).astype(float))

    assert repr(check("choice", kernel, run, output=picture)) == "✓ It gives what is wanted."
    assert check("choice", kernel.ravel().tolist(), run, output=picture.tolist())
    first = (image[0, :3, :3] * kernel).sum()
    for turn, text in ((np.rot90(kernel, 2), "turned by 180°."), (kernel.T, "is transposed")):
        hint = repr(check("choice", turn.tolist(), run, output=picture))
        assert hint.startswith("✗ 12 of 12 numbers are wrong: output[0, 0, 0] is ")
        assert text in hint
    assert f"it should be {first:g}." in repr(check("choice", np.ones((3, 3)), run, output=picture))
    assert "not run: ValueError" in repr(check("choice", [[1, 2], [3]], run, output=picture))


def test_a_trace_that_is_chosen():
    x, weight = np.array([[[1.0, 2, 3, 4]]]), np.array([[[[10.0, 100]]]])

    def traced(name):
        return {"steps": trace(name, x, weight)}

    steps = [str(step) for step in trace("dilated", x, weight)]
    assert check("choice", "dilated", traced, steps=steps)
    assert (
        "✗ steps[2] is y[0, 0, 2] += 3 · 10 → 30, it should be y[0, 0, 0] += 3 · 100 → 310."
        in repr(check("choice", "standard", traced, steps=steps))
    )
    assert "steps[3] is y[0, 0, 1] += 4 · 100 → 420, it should be missing." in repr(
        check("choice", "dilated", traced, steps=steps[:-1])
    )
    assert "must be one of" in repr(check("choice", "square", traced, steps=steps))


@pytest.mark.parametrize(
    ("error", "what", "variant"),
    [
        (ValueError, "adds", "standard"),
        (ValueError, "multiplies", "square"),
        (ValueError, "multiplies", len),
        (TypeError, "choice", "standard"),
        (ValueError, "multiplies", "grouped"),
    ],
)
def test_what_is_no_question(error, what, variant):
    options = {"groups": 3} if variant == "grouped" else {}
    for answer in (None, 1):
        with pytest.raises(error):
            check(what, answer, variant, X, WEIGHT, **options)


def test_a_shape_of_unlike_sides_has_two_formulas():
    x, weight = np.ones((2, 8, 9)), np.ones((4, 2, 3, 3))
    right = repr(check("output_shape", (4, 6, 7), "standard", x, weight))
    assert "= 6, ⌊(W − k" in right
    wrong = repr(check("output_shape", (4, 6, 5), "standard", x, weight))
    assert "The formula is ⌊(H − k + 2·P)/S⌋ + 1" in wrong
