"""How the variants are related; each relation is a claim of the document."""

import pickle

import numpy as np
import pytest

import jitconv

RTOL = 1e-12


def assert_close(a, b):
    np.testing.assert_allclose(a, b, rtol=RTOL, atol=1e-12)


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 4, 9, 8))


@pytest.fixture
def weight(rng):
    return rng.normal(size=(6, 4, 3, 3))


def test_dilated_is_standard_with_zeros_in_the_kernel(x, weight):
    dilated, report = jitconv.dilated_conv2d(x, weight, dilation=(2, 3), padding=2)
    stuffed, dense = jitconv.conv2d(x, jitconv.zero_stuffed_kernel(weight, (2, 3)), padding=2)
    assert_close(dilated, stuffed)
    assert dense.multiplies * 9 == report.multiplies * 35  # a 5×7 kernel


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2, "padding": ((0, 3), (2, 1))}],
)
def test_transposed_is_the_adjoint_of_standard(x, rng, options):
    """<conv(x), y> = <x, conv_transpose(y)>."""
    weight = rng.normal(size=(6, 4 // options.get("groups", 1), 3, 3))
    y, _ = jitconv.conv2d(x, weight, **options)
    other = rng.normal(size=y.shape)
    stride = options.get("stride", 1)
    exact = jitconv.conv_transpose2d(other, weight, **options).output.shape[2:]
    missing = tuple(a - b for a, b in zip(x.shape[2:], exact, strict=True))
    assert all(0 <= m < stride for m in missing)
    back, _ = jitconv.conv_transpose2d(other, weight, output_padding=missing, **options)
    assert_close((y * other).sum(), (x * back).sum())


def test_convolution_is_a_matrix_and_transposed_convolution_its_transpose(rng):
    weight, x = rng.normal(size=(3, 2, 3, 2)), rng.normal(size=(2, 6, 5))
    options = {"stride": (1, 2), "padding": ((1, 0), (1, 1)), "dilation": (2, 1)}
    matrix = jitconv.convolution_matrix(weight, x.shape, **options)
    y, _ = jitconv.conv2d(x, weight, **options)
    assert_close(matrix @ x.ravel(), y.ravel())
    back, _ = jitconv.conv_transpose2d(y, weight, **options, output_padding=(0, 1))
    assert_close(matrix.T @ y.ravel(), back.ravel())


def test_grouped_convolution_matrix_is_block_diagonal(rng):
    matrix = jitconv.convolution_matrix(rng.normal(size=(4, 1, 2, 2)), (2, 3, 3), groups=2)
    assert not matrix[:8, 9:].any()
    assert not matrix[8:, :9].any()
    assert matrix[:8, :9].any(axis=1).all()


def test_transposed_does_not_undo_a_convolution_but_deconvolve_does(rng):
    x, weight = rng.normal(size=(1, 6, 6)), rng.normal(size=(2, 1, 3, 3))
    y, _ = jitconv.conv2d(x, weight, padding=1)
    back, _ = jitconv.conv_transpose2d(y, weight, padding=1)
    assert np.abs(back - x).max() > 1
    np.testing.assert_allclose(jitconv.deconvolve(y, weight, x.shape, padding=1), x, atol=1e-9)


def test_separable_is_standard_with_the_outer_product(x, rng):
    column, row = rng.normal(size=3), rng.normal(size=5)
    options = {"stride": (2, 1), "padding": "same", "dilation": (1, 2)}
    y, _ = jitconv.separable_conv2d(x, column, row, **options)
    full, _ = jitconv.depthwise_conv2d(x, np.tile(np.outer(column, row), (4, 1, 1, 1)), **options)
    assert_close(y, full)


def test_nine_multiplies_a_pixel_become_six(x):
    column, row = jitconv.factor_kernel(jitconv.filters.sobel("x", np.float64))
    y, report = jitconv.separable_conv2d(x, column, row, padding="same")
    full, standard = jitconv.depthwise_conv2d(
        x, np.tile(jitconv.filters.sobel("x", np.float64), (4, 1, 1, 1)), padding="same"
    )
    assert_close(y, full)
    assert report.multiplies / x.size == 6
    assert standard.multiplies / x.size == 9


def test_depthwise_is_grouped_with_as_many_groups_as_channels(x, rng):
    weight, bias = rng.normal(size=(8, 1, 3, 3)), rng.normal(size=8)
    options = {"stride": 2, "padding": 1, "dilation": (1, 2)}
    depthwise, a = jitconv.depthwise_conv2d(x, weight, bias, **options)
    grouped, b = jitconv.grouped_conv2d(x, weight, bias, groups=4, **options)
    np.testing.assert_array_equal(depthwise, grouped)
    assert (a.parameters, a.multiplies, a.multiplies_on_padding) == (
        b.parameters,
        b.multiplies,
        b.multiplies_on_padding,
    )


def test_depthwise_mixes_no_channels(x, rng):
    weight = rng.normal(size=(8, 1, 3, 3))
    changed = x.copy()
    changed[:, 1] += 1
    difference = (
        jitconv.depthwise_conv2d(changed, weight).output
        - jitconv.depthwise_conv2d(x, weight).output
    )
    assert set(np.nonzero(difference)[1]) == {2, 3}  # multiplier 2: the outputs of channel 1


def test_depthwise_separable_is_its_two_calls(x, rng):
    depthwise, pointwise, bias = (
        rng.normal(size=(8, 1, 3, 3)),
        rng.normal(size=(5, 8)),
        rng.normal(size=5),
    )
    y, report = jitconv.depthwise_separable_conv2d(
        x, depthwise, pointwise, bias, stride=2, padding=1
    )
    between, first = jitconv.depthwise_conv2d(x, depthwise, stride=2, padding=1)
    expected, second = jitconv.pointwise_conv2d(between, pointwise, bias)
    np.testing.assert_array_equal(y, expected)
    assert report.parts == {"depthwise": first.multiplies, "pointwise": second.multiplies}


def test_pointwise_is_a_matrix_product_over_channels(x, rng):
    weight = rng.normal(size=(5, 4))
    y, _ = jitconv.pointwise_conv2d(x, weight)
    assert_close(y, (weight @ x.reshape(2, 4, -1)).reshape(y.shape))


ROWS = [
    ("conv2d", (3, 4, 5), {"stride": (1, 2), "padding": (0, 3), "dilation": (1, 2)}),
    ("conv2d", (6, 2, 4), {"groups": 2, "padding": "same"}),
    ("depthwise_conv2d", (8, 1, 7), {"padding": ((0, 0), (2, 5))}),
    ("conv_transpose2d", (4, 3, 4), {"stride": (1, 2), "padding": (0, 1)}),
    ("pointwise_conv2d", (3, 4, 1), {"stride": (1, 3)}),
]


@pytest.mark.parametrize(("function", "sizes", "options"), ROWS)
@pytest.mark.parametrize("W", [1, 2, 40])
def test_a_row_of_pixels_is_a_column(function, sizes, options, W, rng):
    M, C, K = sizes
    row, taps = rng.normal(size=(2, 4, 1, W)), rng.normal(size=(M, C, 1, K))
    if W < K and function != "conv_transpose2d":
        options = {**options, "padding": ((0, 0), (6, 6))}
    call = getattr(jitconv, function)
    y, report = call(row, taps, method="tiled", **options)
    other = call(row, taps, method="direct", **options)
    assert_close(y, other.output)
    assert report.verify().multiplies_in_bounds == other.report.multiplies_in_bounds
    turned = {k: v[::-1] if isinstance(v, tuple) else v for k, v in options.items()}
    column, same = call(row.swapaxes(2, 3), taps.swapaxes(2, 3), method="tiled", **turned)
    np.testing.assert_array_equal(y, column.swapaxes(2, 3))
    assert y.flags.c_contiguous
    assert (report.multiplies, report.parts) == (same.multiplies, same.parts)


def test_grouped_is_each_group_on_its_own(x, rng):
    weight = rng.normal(size=(6, 2, 3, 3))
    y, report = jitconv.grouped_conv2d(x, weight, groups=2)
    halves = [jitconv.conv2d(x[:, 2 * g : 2 * g + 2], weight[3 * g : 3 * g + 3]) for g in (0, 1)]
    np.testing.assert_array_equal(y, np.concatenate([h.output for h in halves], axis=1))
    assert report.multiplies == sum(h.report.multiplies for h in halves)


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": "same"}, {"dilation": 2, "padding": (1, 2)}]
)
def test_zero_offsets_are_standard(x, weight, options):
    expected, report = jitconv.conv2d(x, weight, **options)
    offset = np.zeros((2, 18, *expected.shape[2:]))
    y, deformed = jitconv.deform_conv2d(x, offset, weight, **options)
    assert_close(y, expected)
    assert deformed.parts["kernel"] == report.multiplies
    assert deformed.multiplies_on_padding == report.multiplies_on_padding


def test_integer_offsets_are_shifted_sampling(x, weight):
    offset = np.zeros((2, 9, 2, 7, 6))
    offset[:, :, 0], offset[:, :, 1] = 2, -1
    y, _ = jitconv.deform_conv2d(x, offset.reshape(2, 18, 7, 6), weight)
    shifted = np.zeros_like(x)
    shifted[:, :, :-2, 1:] = x[:, :, 2:, :-1]  # shifted[h, w] = x[h + 2, w - 1], zero outside
    expected, _ = jitconv.conv2d(shifted, weight)
    assert_close(
        y[:, :, :, 1:], expected[:, :, :, 1:]
    )  # the first column would read w = -1, which the shifted image does not hold


def test_a_mask_of_ones_changes_nothing_and_a_half_halves(x, weight, rng):
    offset = rng.normal(size=(2, 18, 7, 6))
    plain, _ = jitconv.deform_conv2d(x, offset, weight)
    assert_close(jitconv.deform_conv2d(x, offset, weight, mask=np.ones((2, 9, 7, 6))).output, plain)
    assert_close(
        jitconv.deform_conv2d(x, offset, weight, mask=np.full((2, 9, 7, 6), 0.5)).output, plain / 2
    )


def test_a_rotating_offset_rotates_the_kernel(rng):
    """Offsets that turn the 3×3 grid clockwise give what the kernel turned clockwise gives."""
    x, weight = rng.normal(size=(1, 7, 7)), rng.normal(size=(1, 1, 3, 3))
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=-1).reshape(9, 2)
    moves = np.stack([grid[:, 1], -grid[:, 0]], axis=1) - grid  # (y, x) → (x, −y): up becomes right
    offset = np.broadcast_to(moves.reshape(18, 1, 1), (18, 5, 5)).astype(np.float64)
    y, _ = jitconv.deform_conv2d(x, offset, weight)
    turned = np.rot90(weight, -1, axes=(2, 3)).copy()
    assert_close(y, jitconv.conv2d(x, turned).output)


def test_deformable_layer_is_its_convolutions(x, weight, rng):
    offsets, masks = rng.normal(size=(18, 4, 3, 3)) / 9, rng.normal(size=(9, 4, 3, 3))
    bias, offset_bias, mask_bias = rng.normal(size=6), rng.normal(size=18), rng.normal(size=9)
    y, report = jitconv.deformable_layer(
        x,
        offsets,
        weight,
        bias,
        offset_bias=offset_bias,
        mask_weight=masks,
        mask_bias=mask_bias,
        stride=2,
        padding=1,
    )
    offset, first = jitconv.conv2d(x, offsets, offset_bias, stride=2, padding=1)
    raw, second = jitconv.conv2d(x, masks, mask_bias, stride=2, padding=1)
    expected, third = jitconv.deform_conv2d(
        x, offset, weight, bias, stride=2, padding=1, mask=1 / (1 + np.exp(-raw))
    )
    assert_close(y, expected)
    assert report.parts == {
        "offset branch": first.multiplies,
        "mask branch": second.multiplies,
        **third.parts,
    }
    assert report.parameters == first.parameters + second.parameters + third.parameters
    report.verify()


@pytest.mark.parametrize(
    "function",
    [
        "conv2d",
        "conv_transpose2d",
        "separable",
        "depthwise",
        "pointwise",
        "depthwise_separable",
        "deform",
    ],
)
def test_convolution_is_linear_in_the_image(function, x, weight, rng):
    offset, column, row = rng.normal(size=(2, 18, 7, 6)), rng.normal(size=3), rng.normal(size=3)
    convolve = {
        "conv2d": lambda v: jitconv.conv2d(v, weight, padding=1),
        "conv_transpose2d": lambda v: jitconv.conv_transpose2d(v, weight.swapaxes(0, 1), stride=2),
        "separable": lambda v: jitconv.separable_conv2d(v, column, row),
        "depthwise": lambda v: jitconv.depthwise_conv2d(v, weight[:4, :1]),
        "pointwise": lambda v: jitconv.pointwise_conv2d(v, weight[..., 0, 0]),
        "depthwise_separable": lambda v: jitconv.depthwise_separable_conv2d(
            v, weight[:4, :1], weight[..., 0, 0]
        ),
        "deform": lambda v: jitconv.deform_conv2d(v, offset, weight),
    }[function]
    other = rng.normal(size=x.shape)
    np.testing.assert_allclose(
        convolve(2 * x - 3 * other).output,
        2 * convolve(x).output - 3 * convolve(other).output,
        rtol=1e-9,
        atol=1e-9,
    )


def test_stride_downsamples_as_max_pooling_does(x, weight):
    y, _ = jitconv.conv2d(x, weight, stride=2, padding=1)
    assert y.shape[2:] == jitconv.max_pool2d(x, 3, stride=2, padding=1).shape[2:]


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_transposed_convolution_with_the_bilinear_kernel_is_bilinear_upsampling(x, scale):
    weight = jitconv.bilinear_kernel(scale, 4, np.float64)
    edged = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    K = weight.shape[2]
    y, _ = jitconv.conv_transpose2d(edged, weight, stride=scale, padding=(K - scale) // 2, groups=4)
    expected = jitconv.bilinear_upsample(x, scale)
    H, W = expected.shape[2:]
    assert_close(y[:, :, scale : scale + H, scale : scale + W], expected)


def test_separable_terms_add_up_to_the_kernel(x, rng):
    kernel = rng.normal(size=(4, 3))
    terms = jitconv.separable_terms(kernel)
    assert len(terms) == 3
    assert_close(sum(np.outer(*term) for term in terms), kernel)
    total = sum(jitconv.separable_conv2d(x, *term).output for term in terms)
    assert_close(total, jitconv.depthwise_conv2d(x, np.tile(kernel, (4, 1, 1, 1))).output)


def test_a_kernel_that_does_not_separate_says_so():
    with pytest.raises(jitconv.NotSeparableError, match="rank 2, only rank 1 separates") as caught:
        jitconv.factor_kernel(jitconv.filters.laplacian())
    best = np.outer(*jitconv.separable_terms(jitconv.filters.laplacian())[0])
    assert caught.value.rank == 2
    assert caught.value.error == pytest.approx(np.abs(best - jitconv.filters.laplacian()).max() / 4)


@pytest.mark.parametrize(
    "kernel", [jitconv.filters.sobel("y"), jitconv.filters.gaussian(5), jitconv.filters.box(4)]
)
def test_named_filters_separate(kernel):
    np.testing.assert_allclose(np.outer(*jitconv.factor_kernel(kernel)), kernel, atol=1e-6)


def test_kernels_of_any_magnitude_separate():
    for size in (1e308, 1e-300):
        column, row = jitconv.factor_kernel(np.full((3, 3), size))
        np.testing.assert_allclose(np.outer(column, row), np.full((3, 3), size))
    assert jitconv.separable_terms(np.zeros((3, 3))) == []


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(jitconv.NotSeparableError(2, 0.5)))
    assert (error.rank, error.error) == (2, 0.5)
    assert "rank 2" in str(error)
