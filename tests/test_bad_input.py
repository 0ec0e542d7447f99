"""Bad input raises ValueError or TypeError from Python, naming the argument, the sizes, the rule and a fix."""

import warnings

import numpy as np
import pytest

import jitconv
from jitconv import filters, formulas, shapes

STRINGS = getattr(np.dtypes, "StringDType", lambda: "<U1")()  # since NumPy 2
X = np.zeros((2, 4, 6, 5), np.float32)
W = np.zeros((8, 4, 3, 3), np.float32)


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("on another device")


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


CASES = {  # name: (call, error, what the message must hold)
    "2 axes": (
        lambda: jitconv.conv2d(zeros(6, 5), W),
        ValueError,
        "x: must have 4 axes.*x\\[np.newaxis\\]",
    ),
    "5 axes": (lambda: jitconv.conv2d(zeros(1, 1, 1, 6, 5), W), ValueError, "x: must have 4 axes"),
    "no channels": (
        lambda: jitconv.conv2d(zeros(1, 0, 6, 5), W),
        ValueError,
        "x: channels, height and width",
    ),
    "no pixels": (
        lambda: jitconv.conv2d(zeros(1, 4, 0, 5), W, padding=3),
        ValueError,
        "x: channels, height and width",
    ),
    "weight axes": (
        lambda: jitconv.conv2d(X, zeros(3, 3)),
        ValueError,
        "weight: must have the axes \\(M, C/groups, KH, KW\\)",
    ),
    "empty weight": (
        lambda: jitconv.conv2d(X, zeros(8, 4, 0, 3)),
        ValueError,
        "weight: .* at least 1 long",
    ),
    "channels": (
        lambda: jitconv.conv2d(X, zeros(8, 3, 3, 3)),
        ValueError,
        "C/groups = 4/1 = 4 .*\\(2, 4, 6, 5\\).*\\(8, 3, 3, 3\\)",
    ),
    "NHWC": (
        lambda: jitconv.conv2d(zeros(2, 6, 5, 4), W),
        ValueError,
        "looks like NHWC: pass np.moveaxis\\(x, -1, -3\\)",
    ),
    "NHWC, unbatched": (lambda: jitconv.conv2d(zeros(6, 5, 4), W), ValueError, "looks like NHWC"),
    "transposed weight": (
        lambda: jitconv.conv2d(X, zeros(4, 8, 3, 3)),
        ValueError,
        "looks transposed: pass weight.swapaxes",
    ),
    "HWIO weight": (
        lambda: jitconv.conv2d(X, zeros(3, 3, 4, 8)),
        ValueError,
        "pass weight.transpose\\(3, 2, 0, 1\\)",
    ),
    "missing groups": (lambda: jitconv.conv2d(X, zeros(8, 2, 3, 3)), ValueError, "fits groups=2"),
    "groups and C": (
        lambda: jitconv.conv2d(X, W, groups=3),
        ValueError,
        "groups: 3 does not divide 4.*these do: 1, 2, 4",
    ),
    "groups and M": (
        lambda: jitconv.conv2d(X, zeros(3, 2, 3, 3), groups=2),
        ValueError,
        "groups: 2 does not divide 3, the output",
    ),
    "groups 0": (
        lambda: jitconv.conv2d(X, W, groups=0),
        ValueError,
        "groups: must be at least 1, got 0",
    ),
    "no such stride": (
        lambda: jitconv.conv2d(X, W, stride=2**63),
        ValueError,
        "stride: must be less than 2³¹",
    ),
    "taps of nothing": (
        lambda: shapes.taps_in_bounds(5, 5, 3, 0),
        ValueError,
        "stride: must be at least 1",
    ),
    "word for sigma": (
        lambda: filters.gaussian(3, sigma="a"),
        ValueError,
        "sigma: must be a positive number",
    ),
    "groups bool": (
        lambda: jitconv.conv2d(X, W, groups=True),
        TypeError,
        "groups: must be an integer, got True",
    ),
    "groups and many channels": (
        lambda: jitconv.formulas.grouped(1, 10**9, 10**9, shapes.window(8, 3), groups=3),
        ValueError,
        "g: 3 does not divide 1000000000, C; these do: 1, 2, 4, 5, .* 500000000, 1000000000",
    ),
    "stride 0": (
        lambda: jitconv.conv2d(X, W, stride=0),
        ValueError,
        "stride: must be at least 1, got 0",
    ),
    "stride float": (
        lambda: jitconv.conv2d(X, W, stride=1.0),
        TypeError,
        "stride: must be an integer, got 1.0",
    ),
    "stride triple": (
        lambda: jitconv.conv2d(X, W, stride=(1, 1, 1)),
        ValueError,
        "stride: must be an int or a \\(height, width\\)",
    ),
    "dilation 0": (
        lambda: jitconv.dilated_conv2d(X, W, dilation=0),
        ValueError,
        "dilation: must be at least 1",
    ),
    "negative padding": (
        lambda: jitconv.conv2d(X, W, padding=-1),
        ValueError,
        "padding: must be at least 0, got -1",
    ),
    "flat padding": (
        lambda: jitconv.conv2d(X, W, padding=(1, 1, 1, 1)),
        ValueError,
        "nested pairs \\(\\(top, bottom\\), \\(left, right\\)\\)",
    ),
    "a third axis": (lambda: shapes.halo(shapes.window(8, 3), 2), ValueError, "axis: must be 0"),
    "no axis": (
        lambda: shapes.blocks(shapes.window(8, 3), "h", (4, 4)),
        TypeError,
        "axis: must be",
    ),
    "chunks of another axis": (
        lambda: shapes.blocks(shapes.window(8, 3), 0, (4, 5)),
        ValueError,
        "chunks: must add up to the 8 pixels",
    ),
    "half nested": (lambda: jitconv.conv2d(X, W, padding=(1, (1, 2))), ValueError, "nested pairs"),
    "negative side": (
        lambda: jitconv.conv2d(X, W, padding=((0, -1), (0, 0))),
        ValueError,
        "padding\\[0\\]\\[1\\]: must be at least 0",
    ),
    "padding word": (
        lambda: jitconv.conv2d(X, W, padding="SAME"),
        ValueError,
        "padding: unknown word 'SAME'.*'same'",
    ),
    "padding None": (
        lambda: jitconv.conv2d(X, W, padding=None),
        TypeError,
        "padding: must be an integer, got None",
    ),
    "kernel too large": (
        lambda: jitconv.conv2d(X, zeros(1, 4, 9, 3)),
        ValueError,
        "reaches over 9 = 1·\\(9 − 1\\) \\+ 1 .* 6 = 6 \\+ 0 \\+ 0",
    ),
    "dilated too large": (
        lambda: jitconv.conv2d(X, W, dilation=4, padding=1),
        ValueError,
        "9 = 4·\\(3 − 1\\) \\+ 1 .*8 = 6 \\+ 1 \\+ 1.*pad by 3",
    ),
    "integers": (
        lambda: jitconv.conv2d(X.astype(np.uint8), W),
        TypeError,
        "x: must be float32 or float64, got uint8.*255",
    ),
    "int weight": (
        lambda: jitconv.conv2d(X, W.astype(int)),
        TypeError,
        "weight: must be float32 or float64, got int64",
    ),
    "complex": (lambda: jitconv.conv2d(X.astype(complex), W), TypeError, "x: .*complex128.*x.real"),
    "objects": (lambda: jitconv.conv2d(X.astype(object), W), TypeError, "x: .*object"),
    "float16": (lambda: jitconv.conv2d(X.astype(np.float16), W), TypeError, "x: .*float16"),
    "bool": (lambda: jitconv.conv2d(X > 0, W), TypeError, "x: .*bool"),
    "masked": (
        lambda: jitconv.conv2d(np.ma.masked_array(X), W),
        TypeError,
        "x: a masked array.*filled",
    ),
    "None": (lambda: jitconv.conv2d(None, W), TypeError, "x: .*object"),
    "mixed floats": (
        lambda: jitconv.conv2d(X, W.astype(np.float64)),
        TypeError,
        "weight: must be float32 as x is, got float64",
    ),
    "mixed floats, x wider": (
        lambda: jitconv.conv2d(X.astype(np.float64), W),
        TypeError,
        "weight: must be float64 as x is, got float32",
    ),
    "ragged": (
        lambda: jitconv.conv2d([[[1.0, 2.0], [3.0]]], W),
        ValueError,
        "x: nested lists must be numbers in rows of equal",
    ),
    "list of words": (
        lambda: jitconv.conv2d([[["a"]]], W),
        TypeError,
        "x: must be float32 or float64, got <U1",
    ),
    "NumPy's strings": (
        lambda: jitconv.conv2d(np.array([[["a"]]], STRINGS), W),
        TypeError,
        "x: must be float32 or float64, got (StringDType|<U1)",
    ),
    "an array that cannot be read": (
        lambda: jitconv.conv2d(Unreadable(), W),
        TypeError,
        "x: NumPy cannot read Unreadable \\(on another device\\)",
    ),
    "list of complex": (lambda: jitconv.conv2d([[[1j]]], W), TypeError, "x: must be .*complex128"),
    "list of bools": (lambda: jitconv.conv2d([[[True]]], W), TypeError, "x: must be .*bool"),
    "list of None": (lambda: jitconv.conv2d([[[None, 1.0]]], W), TypeError, "x: must be .*object"),
    "list of byte images": (
        lambda: jitconv.conv2d([zeros(4, 4, dtype=np.uint8)], W),
        TypeError,
        "x: .*uint8",
    ),
    "huge number": (lambda: jitconv.conv2d([[[10**400]]], W), TypeError, "x: must be .*object"),
    "bias length": (
        lambda: jitconv.conv2d(X, W, zeros(4)),
        ValueError,
        "bias: .* shape \\(8,\\), got shape \\(4,\\)",
    ),
    "bias type": (
        lambda: jitconv.conv2d(X, W, zeros(8, dtype=np.float64)),
        TypeError,
        "bias: must be float32",
    ),
    "transposed channels": (
        lambda: jitconv.conv_transpose2d(X, zeros(8, 4, 3, 3)),
        ValueError,
        "needs 4 in its first axis.*looks transposed",
    ),
    "transposed NHWC": (
        lambda: jitconv.conv_transpose2d(zeros(1, 6, 5, 4), zeros(4, 8, 3, 3)),
        ValueError,
        "NHWC",
    ),
    "transposed bias": (
        lambda: jitconv.conv_transpose2d(X, zeros(4, 3, 2, 2), zeros(3), groups=2),
        ValueError,
        "shape \\(6,\\)",
    ),
    "output_padding": (
        lambda: jitconv.conv_transpose2d(X, zeros(4, 8, 3, 3), stride=2, output_padding=(1, 2)),
        ValueError,
        "output_padding: 2 in width must be less than stride 2 or dilation 1",
    ),
    "output_padding with same": (
        lambda: jitconv.conv_transpose2d(
            X, zeros(4, 8, 3, 3), stride=2, padding="same", output_padding=1
        ),
        ValueError,
        "output_padding: .* 'same'",
    ),
    "cropped away": (
        lambda: jitconv.conv_transpose2d(X, zeros(4, 8, 3, 3), padding=4),
        ValueError,
        "padding: crops the output to \\(5 − 1\\)·1 |6 − 1",
    ),
    "column axes": (
        lambda: jitconv.separable_conv2d(X, zeros(3, 1), zeros(3)),
        ValueError,
        "column: must have the axes \\(KH,\\)",
    ),
    "row type": (
        lambda: jitconv.separable_conv2d(X, zeros(3), zeros(3, dtype=np.float64)),
        TypeError,
        "row: must be float32",
    ),
    "depthwise filters": (
        lambda: jitconv.depthwise_conv2d(X, zeros(6, 1, 3, 3)),
        ValueError,
        "multiple of the 4 channels of x",
    ),
    "depthwise mixes": (
        lambda: jitconv.depthwise_conv2d(X, zeros(4, 4, 3, 3)),
        ValueError,
        "filters of one channel",
    ),
    "depthwise NHWC": (
        lambda: jitconv.depthwise_conv2d(zeros(6, 5, 3), zeros(9, 1, 3, 3)),
        ValueError,
        "looks like NHWC",
    ),
    "pointwise kernel": (
        lambda: jitconv.pointwise_conv2d(X, W),
        ValueError,
        "weight: must be \\(M, C, 1, 1\\).*conv2d takes larger",
    ),
    "pointwise channels": (
        lambda: jitconv.pointwise_conv2d(X, zeros(8, 5)),
        ValueError,
        "C/groups = 4/1 = 4",
    ),
    "depthwise_weight": (
        lambda: jitconv.depthwise_separable_conv2d(X, zeros(5, 1, 3, 3), zeros(8, 4)),
        ValueError,
        "depthwise_weight: needs",
    ),
    "pointwise_weight": (
        lambda: jitconv.depthwise_separable_conv2d(X, zeros(4, 1, 3, 3), zeros(8, 5)),
        ValueError,
        "pointwise_weight: must be \\(M, 4, 1, 1\\)",
    ),
    "offset channels": (
        lambda: jitconv.deform_conv2d(X, zeros(2, 9, 4, 3), W),
        ValueError,
        "offset: must be \\(N, 2·G·KH·KW, OH, OW\\) = \\(2, 18, 4, 3\\)",
    ),
    "offset size": (
        lambda: jitconv.deform_conv2d(X, zeros(2, 18, 6, 5), W),
        ValueError,
        "offset: .*\\(2, 18, 4, 3\\).*got shape \\(2, 18, 6, 5\\)",
    ),
    "offset batch": (
        lambda: jitconv.deform_conv2d(X, zeros(18, 4, 3), W),
        ValueError,
        "offset: .*got shape \\(18, 4, 3\\)",
    ),
    "offset groups": (
        lambda: jitconv.deform_conv2d(X, zeros(2, 54, 4, 3), W),
        ValueError,
        "offset groups .*3 does not divide 4",
    ),
    "offset type": (
        lambda: jitconv.deform_conv2d(X, zeros(2, 18, 4, 3, dtype=np.float64), W),
        TypeError,
        "offset: must be float32",
    ),
    "mask": (
        lambda: jitconv.deform_conv2d(X, zeros(2, 36, 4, 3), W, mask=zeros(2, 9, 4, 3)),
        ValueError,
        "mask: .*\\(2, 18, 4, 3\\)",
    ),
    "offset_weight": (
        lambda: jitconv.deformable_layer(X, zeros(9, 4, 3, 3), W),
        ValueError,
        "offset_weight: must be \\(G·18, 4, 3, 3\\)",
    ),
    "mask_weight": (
        lambda: jitconv.deformable_layer(X, zeros(18, 4, 3, 3), W, mask_weight=zeros(9, 4, 1, 1)),
        ValueError,
        "mask_weight",
    ),
    "mask_bias": (
        lambda: jitconv.deformable_layer(X, zeros(18, 4, 3, 3), W, mask_bias=zeros(9)),
        ValueError,
        "mask_bias: .*without mask_weight",
    ),
    "offset_bias": (
        lambda: jitconv.deformable_layer(X, zeros(18, 4, 3, 3), W, offset_bias=zeros(9)),
        ValueError,
        "offset_bias: .*\\(18,\\)",
    ),
    "padded x too large": (
        lambda: jitconv.conv2d(X, W, padding=10**7, stride=10**7, method="direct"),
        ValueError,
        "padded x: .*GiB.*less padding",
    ),
    "an unknown method": (
        lambda: jitconv.conv2d(X, W, method="fast"),
        ValueError,
        "method: .*'tiled'.*'fast'",
    ),
    "a method that is no word": (
        lambda: jitconv.conv2d(X, W, method=np.ones(2)),
        ValueError,
        "method: must be one of 'auto'",
    ),
    "output too large": (
        lambda: jitconv.conv_transpose2d(X, zeros(4, 8, 3, 3), stride=10**6),
        ValueError,
        "output: .*GiB",
    ),
    "absurd padding": (
        lambda: jitconv.separable_conv2d(X, zeros(3), zeros(3), padding=10**9),
        ValueError,
        "GiB",
    ),
    "matrix too large": (
        lambda: jitconv.convolution_matrix(W, (4, 64, 64)),
        ValueError,
        "more than 4,194,304",
    ),
    "matrix shape": (
        lambda: jitconv.convolution_matrix(W, (64, 64)),
        ValueError,
        "input_shape: must be \\(C, H, W\\)",
    ),
    "matrix channels": (
        lambda: jitconv.convolution_matrix(W, (3, 6, 6)),
        ValueError,
        "does not fit input_shape \\(3, 6, 6\\)",
    ),
    "deconvolve": (
        lambda: jitconv.deconvolve(zeros(8, 3, 3), W, (4, 6, 6)),
        ValueError,
        "y: this convolution makes shape \\(8, 4, 4\\), got shape \\(8, 3, 3\\)",
    ),
    "deconvolve NaN": (
        lambda: jitconv.deconvolve(zeros(8, 4, 4) * np.nan, W, (4, 6, 6)),
        ValueError,
        "y, weight: must be finite",
    ),
    "no offset_weight": (
        lambda: jitconv.deformable_layer(X, None, W),
        TypeError,
        "offset_weight: must be float32",
    ),
    "deform channels": (
        lambda: jitconv.deform_conv2d(X, zeros(2, 18, 4, 3), zeros(8, 3, 3, 3)),
        ValueError,
        "weight: .* must divide the 4 channels",
    ),
    "filter type": (
        lambda: filters.box(3, np.uint8),
        TypeError,
        "dtype: must be float32 or float64, got uint8",
    ),
    "formula of a float": (
        lambda: formulas.standard(1, 3.5, 4, shapes.window(8, 3)),
        TypeError,
        "C: must be an integer, got 3.5",
    ),
    "formula of groups": (
        lambda: formulas.grouped(1, 4, 4, shapes.window(8, 3), groups=3),
        ValueError,
        "g: 3 does not divide 4",
    ),
    "layers of ints": (lambda: shapes.receptive_field([3, 3]), ValueError, "layers: each must be"),
    "kernel with NaN": (
        lambda: jitconv.factor_kernel([[np.nan, 1]]),
        ValueError,
        "kernel: must be finite",
    ),
    "kernel axes": (
        lambda: jitconv.factor_kernel(zeros(3)),
        ValueError,
        "kernel: must have the axes",
    ),
    "stuffing": (
        lambda: jitconv.zero_stuffed_kernel(zeros(3), 2),
        ValueError,
        "weight: must have the axes",
    ),
    "pool padding": (
        lambda: jitconv.max_pool2d(X, 2, padding=2),
        ValueError,
        "padding: .* smaller than the window",
    ),
    "scale": (lambda: jitconv.bilinear_upsample(X, 0), ValueError, "scale: must be at least 1"),
    "even gaussian": (lambda: filters.gaussian(4), ValueError, "size: must be odd"),
    "sigma": (
        lambda: filters.gaussian(3, sigma=0.0),
        ValueError,
        "sigma: must be a positive number",
    ),
    "direction": (lambda: filters.sobel("z"), ValueError, "direction: must be 'x' or 'y'"),
    "receptive field": (
        lambda: shapes.receptive_field([(3, 1, 1, 1)]),
        ValueError,
        "layers: each must be",
    ),
    "compare groups": (
        lambda: jitconv.compare(X, groups=3),
        ValueError,
        "groups: 3 does not divide 4",
    ),
    "compare nothing": (
        lambda: jitconv.compare(zeros(0, 4, 6, 5)),
        ValueError,
        "x: must hold at least one image",
    ),
    "compare kernel": (
        lambda: jitconv.compare(X, kernel_size=0),
        ValueError,
        "kernel_size: must be at least 1",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_explained(name):
    call, error, message = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message) as caught:
            call()
    assert type(caught.value) is error


def test_what_equals_an_integer_is_not_taken_for_one():
    x, weight = np.ones((1, 4, 4)), np.ones((1, 1, 2, 2))
    for one in (1, (1, 1), ((1, 1), (1, 1))):
        jitconv.conv2d(x, weight, padding=one)  # and is remembered
    for same in (True, (True, 1), ((True, 1), (1, 1)), (1.0, 1)):
        with pytest.raises((TypeError, ValueError), match=r"padding.*: must be"):
            jitconv.conv2d(x, weight, padding=same)
