"""Hypothesis strategies: small calls of every public convolution, over shapes, strides, paddings, dilations and groups."""

from typing import Any, NamedTuple

import hypothesis.strategies as st
import naive
import numpy as np

import jitconv


class Call(NamedTuple):
    function: str
    arrays: tuple
    options: dict[str, Any]
    method: str = "auto"

    def run(self) -> jitconv.ConvResult:
        method = {} if self.function == "separable_conv2d" else {"method": self.method}
        return getattr(jitconv, self.function)(*self.arrays, **self.options, **method)

    def expected(self) -> np.ndarray:
        return getattr(naive, self.function)(*self.arrays, **self.options)


either = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))
dilations = st.integers(1, 2) | st.tuples(st.integers(1, 3), st.integers(1, 3))
ends = st.tuples(st.integers(0, 3), st.integers(0, 3))
paddings = (
    st.integers(0, 3)
    | ends
    | st.tuples(ends, ends)
    | st.sampled_from(["valid", "same", "same_lower"])
)
FUNCTIONS = (
    "conv2d",
    "dilated_conv2d",
    "grouped_conv2d",
    "depthwise_conv2d",
    "pointwise_conv2d",
    "separable_conv2d",
    "depthwise_separable_conv2d",
    "conv_transpose2d",
    "deform_conv2d",
    "deformable_layer",
)


@st.composite
def calls(draw, function=None, dtypes=(np.float32, np.float64)):
    """Draw a call that is valid, and the loops that run it."""
    call = draw(_calls(function, dtypes))
    return call._replace(method=draw(st.sampled_from(["direct", "tiled"])))


@st.composite
def _calls(draw, function=None, dtypes=(np.float32, np.float64)):
    """Draw a call: kernels are no larger than the padded image, channels fit the groups."""
    function = function or draw(st.sampled_from(FUNCTIONS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # the oracle's own float64 offsets must put every sample on the same side of the border
    dtype = np.float64 if function == "deformable_layer" else draw(st.sampled_from(dtypes))
    N, size = draw(st.integers(0, 2)), (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    KH, KW = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    groups, CG = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    MG = draw(
        st.integers(1, 3) | st.integers(1, 3).map(lambda few: few + 16)
    )  # fill vectors, or not
    options = {"stride": draw(either), "padding": draw(paddings), "dilation": draw(dilations)}
    if function in ("conv2d", "dilated_conv2d") and draw(st.booleans()):
        groups = 1
    if function in ("pointwise_conv2d", "separable_conv2d", "depthwise_separable_conv2d"):
        groups = 1
    if function in ("depthwise_conv2d", "depthwise_separable_conv2d"):
        groups, CG = draw(st.integers(1, 3)), 1
    C, M = groups * CG, groups * MG
    batched = draw(st.booleans()) or N != 1

    def array(*shape):
        return rng.normal(size=shape).astype(dtype)

    x = array(N, C, *size) if batched else array(C, *size)
    bias = array(M) if draw(st.booleans()) else None
    if function == "pointwise_conv2d":
        weight = array(M, C) if draw(st.booleans()) else array(M, C, 1, 1)
        return Call(function, (x, weight, bias), {"stride": options["stride"]})
    if function == "conv_transpose2d":
        if not isinstance(options["padding"], str):
            steps = zip(naive.pair(options["stride"]), naive.pair(options["dilation"]), strict=True)
            options["output_padding"] = tuple(draw(st.integers(0, max(step) - 1)) for step in steps)
        options["groups"] = groups
        strides = (
            naive.pair(options["stride"]),
            naive.pair(options["dilation"]),
            naive.pair(options.get("output_padding", 0)),
        )
        cropped = naive.ends(options["padding"], size, (KH, KW), *strides[:2])
        full = [
            (h - 1) * s + d * (k - 1) + 1 + e
            for h, k, s, d, e in zip(size, (KH, KW), *strides, strict=True)
        ]
        if any(sum(c) >= f for c, f in zip(cropped, full, strict=True)) and not isinstance(
            options["padding"], str
        ):
            options["padding"] = 0
        return Call(function, (x, array(C, MG, KH, KW), bias), options)

    stride, dilation = naive.pair(options["stride"]), naive.pair(options["dilation"])
    padded = naive.ends(options["padding"], size, (KH, KW), stride, dilation)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, (KH, KW), strict=True)]
    if any(h + sum(p) < r for h, p, r in zip(size, padded, reach, strict=True)):
        options["padding"] = "same"
        padded = naive.ends("same", size, (KH, KW), stride, dilation)
    if function in ("conv2d", "dilated_conv2d", "grouped_conv2d"):
        return Call(function, (x, array(M, CG, KH, KW), bias), {**options, "groups": groups})
    if function == "depthwise_conv2d":
        return Call(function, (x, array(M, 1, KH, KW), bias), options)
    if function == "separable_conv2d":
        return Call(function, (x, array(KH), array(KW)), options)
    if function == "depthwise_separable_conv2d":
        last = draw(st.integers(1, 3))
        bias = None if bias is None else array(last)
        return Call(function, (x, array(M, 1, KH, KW), array(last, M), bias), options)
    G = draw(st.sampled_from([g for g in range(1, C + 1) if C % g == 0]))
    offsets, masks = 2 * G * KH * KW, G * KH * KW
    if function == "deformable_layer":
        options["offset_bias"] = array(offsets) if draw(st.booleans()) else None
        if draw(st.booleans()):
            options["mask_weight"] = array(masks, C, KH, KW)
            options["mask_bias"] = array(masks) if draw(st.booleans()) else None
        return Call(function, (x, array(offsets, C, KH, KW), array(M, CG, KH, KW), bias), options)
    output = [
        (h + sum(p) - r) // s + 1 for h, p, r, s in zip(size, padded, reach, stride, strict=True)
    ]
    front = (N,) if batched else ()
    spread = draw(st.sampled_from([0.0, 0.4, 2.0]))
    offset = (spread * array(*front, offsets, *output)).astype(dtype)
    if draw(st.booleans()):
        options["mask"] = array(*front, masks, *output)
    return Call(function, (x, offset, array(M, CG, KH, KW), bias), options)
