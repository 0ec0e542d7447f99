"""Examples worked by hand. Every number here can be checked on paper."""

from fractions import Fraction

import numpy as np
import pytest

import jitconv
from jitconv import formulas, shapes


def test_document_example_8x8x3_with_a_3x3x3_kernel():
    """x[c, h, w] = c + 1 everywhere: a sum over 27 taps is 9·(1 + 2 + 3) = 54; one channel alone gives 9, 18, 27."""
    x = np.ones((3, 8, 8), np.float32) * np.array([1, 2, 3], np.float32)[:, None, None]
    y, report = jitconv.conv2d(x, np.ones((1, 3, 3, 3), np.float32))
    np.testing.assert_array_equal(y, np.full((1, 6, 6), 54))
    assert report.parameters == 3 * 1 * 9
    assert report.multiplies == 27 * 36

    y, report = jitconv.depthwise_conv2d(x, np.ones((3, 1, 3, 3), np.float32))
    np.testing.assert_array_equal(y, np.full((3, 6, 6), 1) * np.array([9, 18, 27])[:, None, None])
    assert report.parameters == 27
    assert report.multiplies == 3 * 9 * 36


def test_standard_correlates_without_flipping():
    """x = 1 2 3 / 4 5 6 / 7 8 9, kernel 1 2 / 3 4: top left is 1·1 + 2·2 + 4·3 + 5·4 = 37."""
    x = np.arange(1.0, 10).reshape(1, 3, 3)
    y, _ = jitconv.conv2d(x, [[[[1, 2], [3, 4]]]], [100])
    np.testing.assert_array_equal(y, [[[137, 147], [167, 177]]])


def test_padding_of_7x7_spends_18_percent():
    """On each axis 19 of the 21 taps land in the image: 441 dense, 361 in bounds, 80 on padding."""
    _, report = jitconv.conv2d(np.ones((1, 7, 7)), np.ones((1, 1, 3, 3)), padding="same")
    assert (report.multiplies, report.multiplies_in_bounds, report.multiplies_on_padding) == (
        441,
        361,
        80,
    )
    assert f"{report.multiplies_on_padding / report.multiplies:.0%}" == "18%"


def test_dilation_sees_5x5_with_nine_parameters():
    """A single 1 in a 5×5 image of zeros is seen by a rate-2 kernel only from its nine taps."""
    seen = np.zeros((5, 5))
    for h, w in np.ndindex(5, 5):
        x = np.zeros((1, 5, 5))
        x[0, h, w] = 1
        seen[h, w] = jitconv.dilated_conv2d(x, np.ones((1, 1, 3, 3)), dilation=2).output.item()
    np.testing.assert_array_equal(seen, np.outer([1, 0, 1, 0, 1], [1, 0, 1, 0, 1]))


def test_transposed_has_three_honest_numbers():
    """8×8, K 4, stride 2, padding 1: 64 pixels × 16 taps = 1024; 256 outputs × 16 = 4096; 30 × 30 taps not cropped = 900."""
    y, report = jitconv.conv_transpose2d(
        np.ones((1, 8, 8)), np.ones((1, 1, 4, 4)), stride=2, padding=1
    )
    assert y.shape == (1, 16, 16)
    assert (report.value("document"), report.value("dense"), report.value("in bounds")) == (
        1024,
        4096,
        900,
    )
    assert (report.multiplies, report.multiplies_on_padding) == (1024, 124)
    assert report.value("phases") == 1024
    assert y.sum() == 900  # ones times ones


def test_transposed_lands_and_overlaps():
    """Pixels 1 and 10 through the kernel 1 2 3 with stride 2: 1, 2, 3 + 10, 20, 30."""
    y, _ = jitconv.conv_transpose2d(np.array([[[1.0, 10.0]]]), [[[[1, 2, 3]]]], stride=2)
    np.testing.assert_array_equal(y, [[[1, 2, 13, 20, 30]]])


def test_output_padding_is_computed_not_appended():
    """With a crop of 1, the extra column is where the last tap lands: it is 30, not zero."""
    y, _ = jitconv.conv_transpose2d(
        np.array([[[1.0, 10.0]]]),
        [[[[1, 2, 3]]]],
        stride=(1, 2),
        padding=((0, 0), (1, 1)),
        output_padding=(0, 1),
    )
    np.testing.assert_array_equal(y, [[[2, 13, 20, 30]]])


def test_transposed_taps_that_are_cropped_everywhere():
    """Two pixels, taps at 0, 2, 4, 6 and a crop of 3 on both sides: only the middle taps land, once each."""
    x, weight = np.array([[[1.0, 10.0]]]), [[[[1, 2, 3, 4]]]]
    y, report = jitconv.conv_transpose2d(
        x, weight, dilation=(1, 2), padding=(0, 3), method="direct"
    )
    np.testing.assert_array_equal(y, [[[20, 3]]])
    assert report.verify().multiplies == 2


def test_separable_passes():
    """Row 1 2 4 with the row kernel −1 0 1, 'same': 2, 3, −2; the column kernel 1 2 1 doubles a single row."""
    y, report = jitconv.separable_conv2d(
        np.array([[[1.0, 2.0, 4.0]]]), [1, 2, 1], [-1, 0, 1], padding="same"
    )
    np.testing.assert_array_equal(y, [[[4, 6, -4]]])
    assert report.parts == {"column pass": 9, "row pass": 9}
    assert (
        report.multiplies_on_padding == 6 + 2
    )  # two of three column taps; one row tap at each end


def test_grouped_keeps_groups_apart():
    """Channels 1, 10, 100, 1000 in two groups: 1 + 10 and 100 + 1000."""
    x = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(4, 1, 1)
    y, report = jitconv.grouped_conv2d(x, np.ones((2, 2, 1, 1)), groups=2)
    np.testing.assert_array_equal(y.ravel(), [11, 1100])
    assert report.value("parameters") == 4
    assert report.value("parameters of a group") == 2


def test_depthwise_multiplier_order():
    """Output channel m reads input channel m // multiplier."""
    y, _ = jitconv.depthwise_conv2d(
        np.array([1.0, 10.0]).reshape(2, 1, 1), np.arange(1.0, 5).reshape(4, 1, 1, 1)
    )
    np.testing.assert_array_equal(y.ravel(), [1, 2, 30, 40])


def test_depthwise_separable_ratio():
    """K = 3, M = 128: 1/128 + 1/9 of the standard convolution."""
    window = shapes.window(56, 3, padding="same")
    separable = {
        name: f.value for name, f in formulas.depthwise_separable(1, 64, 64, 128, window).items()
    }
    standard = {name: f.value for name, f in formulas.standard(1, 64, 128, window).items()}
    assert separable["ratio to standard"] == Fraction(1, 128) + Fraction(1, 9)
    assert separable["document"] == separable["ratio to standard"] * standard["document"]
    assert separable["parameters"] == separable["ratio to standard"] * standard["parameters"]


def test_deformable_half_a_pixel_in_both_directions():
    """Half a pixel down and right of each pixel of 1 2 / 3 4; corners outside are zero, weights unchanged.

    (1 + 2 + 3 + 4)/4, (2 + 4)/4, (3 + 4)/4, 4/4.
    """
    x = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    y, report = jitconv.deform_conv2d(x, np.full((2, 2, 2), 0.5), np.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(y, [[[2.5, 1.5], [1.75, 1]]])
    assert report.parts == {"corner weights": 16, "corner values": 16, "kernel": 4}
    assert report.multiplies_on_padding == 0


@pytest.mark.parametrize(
    ("offset", "expected", "on_padding"),
    [
        (-1.0, 0, 1),
        (-0.75, 2, 0),
        (-0.25, 6, 0),
        (2.25, 6, 0),
        (2.999, 0.008, 0),
        (3.0, 0, 1),
        (1e37, 0, 1),
        (-1e37, 0, 1),
        (np.inf, 0, 1),
        (-np.inf, 0, 1),
        (np.nan, 0, 1),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_deformable_fades_to_zero_over_one_pixel(offset, expected, on_padding, axis):
    """The image is 8 everywhere, three pixels long on either axis."""
    offsets = np.zeros((2, 1, 1))
    offsets[axis] = offset
    x = np.full((1, 3, 3), 8.0)
    y, report = jitconv.deform_conv2d(x, offsets, np.ones((1, 1, 1, 1)), stride=3)
    assert y.item() == pytest.approx(expected)
    assert report.verify().multiplies_on_padding == on_padding


def test_offsets_are_y_before_x_and_row_major():
    """Only the tap (1, 0) of a 2×2 kernel has weight; it is moved one down, none right: it reads x[2, 0]."""
    x = np.arange(9.0).reshape(1, 3, 3)
    weight = np.zeros((1, 1, 2, 2))
    weight[0, 0, 1, 0] = 1
    offset = np.zeros((2 * 4, 2, 2))
    offset[2 * 2] = 1  # tap 2 in row-major order, y
    y, _ = jitconv.deform_conv2d(x, offset, weight)
    np.testing.assert_array_equal(y, [[[6, 7], [0, 0]]])


def test_offset_groups_cut_the_channels_on_their_own():
    """Four channels in two offset groups; the second group is moved out of the image."""
    x = np.ones((4, 3, 3))
    offset = np.zeros((2 * 2, 3, 3))
    offset[2:] = 10
    y, report = jitconv.deform_conv2d(x, offset, np.ones((1, 4, 1, 1)))
    np.testing.assert_array_equal(y, np.full((1, 3, 3), 2))
    assert report.multiplies_on_padding == 2 * 9
    assert report.parts["corner weights"] == 2 * 4 * 9


def test_same_puts_the_odd_pixel_at_the_end_and_same_lower_at_the_start():
    x, weight = np.arange(1.0, 5).reshape(1, 1, 4), np.ones((1, 1, 1, 2))
    np.testing.assert_array_equal(
        jitconv.conv2d(x, weight, padding="same").output, [[[3, 5, 7, 4]]]
    )
    np.testing.assert_array_equal(
        jitconv.conv2d(x, weight, padding="same_lower").output, [[[1, 3, 5, 7]]]
    )


def test_max_pool_and_nearest():
    x = np.array([[[1.0, 2.0], [3.0, np.nan]]])
    assert np.isnan(jitconv.max_pool2d(x, 2)).item()
    np.testing.assert_array_equal(
        jitconv.max_pool2d(-np.ones((1, 2, 2)), 2, padding=1), -np.ones((1, 2, 2))
    )
    np.testing.assert_array_equal(jitconv.nearest_upsample(x[:, :1], (2, 1)), [[[1, 2], [1, 2]]])


def test_nan_and_inf_go_where_numpy_sends_them():
    """A NaN weight meets the zeros of the padding too: NaN everywhere, as in any dense engine. 0 · Inf is NaN."""
    x = np.ones((1, 3, 3))
    x[0, 1, 1] = np.inf
    weight = np.ones((1, 1, 3, 3))
    y, _ = jitconv.conv2d(x, weight, padding=1)
    assert (y == np.inf).all()
    weight[0, 0, 0, 0] = 0
    y, _ = jitconv.conv2d(x, weight, padding=1)
    assert np.isnan(y[0, 2, 2])
    assert np.isposinf(y[0].ravel()[:-1]).all()
    weight[0, 0, 0, 0] = np.nan
    assert np.isnan(jitconv.conv2d(x, weight, padding=1).output).all()
