"""Break each kernel in one place: verify() must notice, for a count that cannot disagree measures nothing."""

import inspect
import re
from itertools import starmap

import numpy as np
import pytest
from calls import njit

import jitconv
from jitconv import sampling
from jitconv.methods.tiled import channels, lines, passes, turned
from jitconv.variants import (
    deformable,
    depthwise,
    dilated,
    grouped,
    pointwise,
    separable,
    standard,
    transposed,
)


def ones(*shape):
    return np.ones(shape)


X = ones(1, 4, 5, 5)
SKIP_FIRST_ROW = (
    r"( +)for job in prange\((.*)\):.*",
    r"\g<0>\n\1    if job % OH == 0:\n\1        continue",
)
PADDED = {
    "one tap less": (r"range\(KW\)", "range(KW - 1)"),
    "the first row of taps left out": (r"for kh in range\(KH\)", "for kh in range(1, KH)"),
    "the first output row left out": SKIP_FIRST_ROW,
    "padding not noticed": (r"on_padding \+= edge\[iw\]", "on_padding += 0"),
    "counted twice": (r"multiplies \+= 1", "multiplies += 2"),
}
KERNELS = {  # variant: (module, name of the loops, call, {what is broken: (pattern, replacement)})
    "standard": (
        standard, "standard_loops", lambda: jitconv.conv2d(X, ones(4, 4, 3, 3), padding=1, method="direct"),
        {**PADDED, "one channel less": (r"range\(C\)", "range(C - 1)")},
    ),
    "dilated": (
        dilated, "dilated_loops", lambda: jitconv.dilated_conv2d(X, ones(4, 4, 3, 3), padding=2, method="direct"),
        {**PADDED, "one channel less": (r"range\(C\)", "range(C - 1)")},
    ),
    "grouped": (
        grouped, "grouped_loops", lambda: jitconv.grouped_conv2d(X, ones(4, 2, 3, 3), groups=2, padding=1, method="direct"),
        {**PADDED, "one channel less": (r"range\(CG\)", "range(CG - 1)")},
    ),
    "depthwise": (depthwise, "depthwise_loops", lambda: jitconv.depthwise_conv2d(X, ones(8, 1, 3, 3), padding=1, method="direct"), PADDED),
    "pointwise": (
        pointwise, "pointwise_loops", lambda: jitconv.pointwise_conv2d(X, ones(3, 4), method="direct"),
        {
            "one channel less": (r"range\(C\)", "range(C - 1)"),
            "the first output row left out": SKIP_FIRST_ROW,
            "the last pixel left out": (r"range\(OW\)", "range(OW - 1)"),
        },
    ),
    "separable": (
        separable, "separable_loops", lambda: jitconv.separable_conv2d(X, ones(3), ones(3), padding=1, method="direct"),
        {
            "one column tap less": (r"range\(column.size\)", "range(column.size - 1)"),
            "one row tap less": (r"range\(row.size\)", "range(row.size - 1)"),
            "the first output row left out": SKIP_FIRST_ROW,
            "padding above not noticed": (r"on_padding \+= outside", "on_padding += 0"),
            "padding beside not noticed": (r"on_padding \+= met\[kw\]", "on_padding += 0"),
        },
    ),
    "depthwise separable, first": (
        depthwise, "depthwise_loops",
        lambda: jitconv.depthwise_separable_conv2d(X, ones(4, 1, 3, 3), ones(3, 4), padding=1, method="direct"), PADDED,
    ),
    "depthwise separable, second": (
        pointwise, "pointwise_loops",
        lambda: jitconv.depthwise_separable_conv2d(X, ones(4, 1, 3, 3), ones(3, 4), padding=1, method="direct"),
        {"one channel less": (r"range\(C\)", "range(C - 1)")},
    ),
    "transposed": (
        transposed, "transposed_loops", lambda: jitconv.conv_transpose2d(X, ones(4, 2, 4, 4), stride=2, padding=1, method="direct"),
        {
            "one tap less": (r"range\(KW\)", "range(KW - 1)"),
            "one channel less": (r"first \+ C // groups\)", "first + C // groups - 1)"),
            "the first output row left out": SKIP_FIRST_ROW,
            "one column cropped too many": (r"max\(0, -\(shift // SW\)\)", "max(1, -(shift // SW))"),
        },
    ),
    "deformable": (
        deformable, "deformable_loops",
        lambda: jitconv.deform_conv2d(X, 3 * ones(1, 18, 5, 5), ones(2, 4, 3, 3), padding=1, mask=ones(1, 9, 5, 5), method="direct"),
        {
            "one tap less": (r"range\(G \* KH \* KW\)", "range(G * KH * KW - 1)"),
            "one channel less": (r"\(g \+ 1\) \* C // G\)", "(g + 1) * C // G - 1)"),
            "one output channel less": (r"c // CG \* MG \+ MG\)", "c // CG * MG + MG - 1)"),
            "the first output row left out": SKIP_FIRST_ROW,
            "the mask left out": (r"if mask.size > 0", "if False"),
            "one corner not counted": (r"multiplies \+= 4", "multiplies += 3"),
            "one sample less": (r"range\(sample.size\)", "range(sample.size - 1)"),
            "one corner weight less": (r"range\(dy.size\)", "range(dy.size - 1)"),
            "outside not noticed": (r"on_padding \+= outside\[ow\]", "on_padding += 0"),
        },
    ),
    "deformable layer, offsets": (
        standard, "standard_loops",
        lambda: jitconv.deformable_layer(X, ones(18, 4, 3, 3), ones(2, 4, 3, 3), padding=1, method="direct"),
        {**PADDED, "one channel less": (r"range\(C\)", "range(C - 1)")},
    ),
}  # fmt: skip
TAP = (r"range\(shifts.size\)", "range(shifts.size - 1)")
TILED = {  # call: {what is broken in the loops over lines: (pattern, replacement)}
    "standard": (
        lambda: jitconv.conv2d(X, ones(13, 4, 3, 3), padding=1),
        {
            "one tap less": TAP,
            "one channel less": (r"R = some \*", "R = (some - 1) *"),
            "a region left out": (r"range\(units \* job // jobs,", "range(units * job // jobs + 1,"),
            "an output channel left out": (r"m1 - m0, region", "m1 - m0 - 1, region"),
            "pixels that are left left out": (r"left, end = pixels % LANES", "left, end = 0"),
            "counted twice": (r"multiplies \+= 1", "multiplies += 2"),
        },
    ),
    "transposed": (
        lambda: jitconv.conv_transpose2d(X, ones(4, 16, 4, 4), stride=2, padding=1),
        {"one tap less": TAP},
    ),
    "depthwise": (
        lambda: jitconv.depthwise_conv2d(X, ones(8, 1, 3, 3), padding=1),
        {
            "one tap less": TAP,
            "the last pixels left out": (r"for q in range\(p, pixels\)", "for q in range(p, pixels - 1)"),
            "one output channel less": (r"range\(MG\)", "range(MG - 1)"),
        },
    ),
    "sixteen channels": (
        lambda: jitconv.depthwise_conv2d(ones(17, 5, 5), ones(34, 1, 3, 3), padding=1),
        {
            "one tap less": (r"range\(shifts\.size\):\n( +)shift,", r"range(shifts.size - 1):\n\1shift,"),
            "the last outputs left out": (r"count // SOME \* SOME", "count"),
            "a region left out": (r"range\(units \* job // jobs,", "range(units * job // jobs + 1,"),
        },
    ),
    "separable": (
        lambda: jitconv.separable_conv2d(X, ones(3), ones(3), padding=1),
        {
            "one tap less": (r"range\(shifts.size\):\n( +)total", r"range(shifts.size - 1):\n\1total"),
            "the first row left out": (r"for out in range\(", "for out in range(1 + "),
            "the row pass not counted": (r"right \+= run", "right += 0 * run"),
        },
    ),
    "deformable": (
        lambda: jitconv.deform_conv2d(X, 3 * ones(1, 18, 5, 5), ones(16, 4, 3, 3), padding=1),
        {"one tap less": TAP},
    ),
}  # fmt: skip
CASES = [(variant, broken) for variant, kernel in KERNELS.items() for broken in kernel[3]]


@pytest.mark.parametrize(("variant", "broken"), CASES, ids=list(starmap("{}: {}".format, CASES)))
def test_a_broken_kernel_is_noticed(variant, broken, monkeypatch):
    module, name, call, breakages = KERNELS[variant]
    call().report.verify()
    source = inspect.getsource(module)
    if hasattr(module, "place_samples"):
        source = inspect.getsource(sampling) + "\n" + source
    kernels = re.findall(r"^@njit[^\n]*\n(def .*?)(?=^\S)", source, re.DOTALL | re.MULTILINE)
    sabotaged, places = re.subn(*breakages[broken], "\n".join(kernels))
    assert places > 0
    namespace = {**vars(module), "prange": range}
    exec(sabotaged, namespace)
    monkeypatch.setattr(module, name, namespace[name])
    report = call().report
    with pytest.raises(jitconv.CountMismatch, match=r"measured, but (dense|in bounds|phases)"):
        report.verify()
    assert not report.agrees
    assert "✗" in str(report)


@pytest.mark.parametrize(
    ("variant", "broken"),
    [(variant, broken) for variant, (_, broken) in TILED.items() for broken in broken],
)
def test_broken_tiles_are_noticed(variant, broken, monkeypatch):
    call, breakages = TILED[variant]
    call().report.verify()
    places = 0
    for module, loops in (
        (lines, "line_loops"),
        (turned, "turned_loops"),
        (channels, "channel_loops"),
        (passes, "pass_loops"),
    ):
        source = inspect.getsource(module)
        source = re.sub("jit import .*njit", "jit import get_num_threads", source)
        sabotaged, found = re.subn(*breakages[broken], source)
        places += found
        namespace = {"__name__": "jitconv.broken", "__package__": "jitconv.methods.tiled"}
        namespace["njit"] = njit
        exec(sabotaged, namespace)
        for name in ("aligned", "inside", "put"):
            if name in namespace:
                namespace[name] = getattr(namespace[name], "py_func", namespace[name])
        if module is lines:
            parts = {name: namespace[name] for name in ("fill", "store")}
        namespace |= parts
        monkeypatch.setattr(module, loops, namespace[loops])
    assert places > 0
    report = call().report
    with pytest.raises(jitconv.CountMismatch, match=r"measured, but (dense|in bounds|phases)"):
        report.verify()
