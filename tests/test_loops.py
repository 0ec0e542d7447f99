"""The loops that are shown are the kernels' own, marked where they differ from others."""

import html
import inspect
import re

import numpy as np
import pytest

from jitconv import jit, sampling, variants
from jitconv.gradients import weights
from jitconv.plots import show_loops
from jitconv.plots.loops import SHADES
from jitconv.tracing import TRACED
from jitconv.variants import VARIANTS

ONE = ("standard", "dilated", "transposed", "separable", "depthwise", "pointwise", "grouped")
KERNELS = {name: [getattr(getattr(variants, name), f"{name}_loops")] for name in ONE}
KERNELS["depthwise separable"] = KERNELS["depthwise"] + KERNELS["pointwise"]
KERNELS["deformable"] = [
    sampling.place_samples,
    sampling.sample_row,
    variants.deformable.deformable_loops,
]
KERNELS["input gradient"] = KERNELS["transposed"]
KERNELS["weight gradient"] = [weights.weight_loops]


def text(markup):
    return html.unescape(re.sub("<[^>]*>", "", markup))


def code(page):
    return [text(block) for block in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]


def marked(page):
    """The lines that are marked, without their comments."""
    (lines,) = re.findall(r"<pre[^>]*>(.*)</pre>", page, re.DOTALL)
    found = re.findall(r"<mark[^>]*>(.*)</mark>", lines)
    return [text(line).split("  #")[0].strip() for line in found]


@pytest.mark.parametrize("variant", TRACED)
def test_the_code_is_that_of_the_kernels_that_run(variant):
    sources = [inspect.getsource(kernel.py_func) for kernel in KERNELS[variant]]
    without_decorators = [source[source.index("def ") :].rstrip() for source in sources]
    for against in ("standard", None, variant):
        assert code(show_loops(variant, against)) == without_decorators


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_marked_in_the_same_loops_or_without_others(variant):
    for against in (variant, None):
        page = show_loops(variant, against)
        assert "<mark" not in page
        assert "not in the" not in page
    if variant != "standard":
        assert " not in the standard loops." in text(show_loops(variant))
    assert show_loops("standard") == show_loops("standard", None)


def test_dilated_marks_the_lines_with_a_dilation():
    lines = inspect.getsource(KERNELS["dilated"][0].py_func).splitlines()
    lines = [line.strip() for line in lines if re.search(r"dilation|\bD[HW]\b", line)]
    assert len(lines) == 4
    assert marked(show_loops("dilated")) == lines


def test_grouped_marks_what_it_adds_to_the_dilated_loops():
    lines = marked(show_loops("grouped", "dilated"))
    assert lines[0].startswith("def grouped_loops(")
    assert lines[1:] == [
        "_, CG, KH, KW = weight.shape",
        "first = m // (M // groups) * CG",
        "for c in range(CG):",
        "row, edge = x[n, first + c, ih, kw * DW :], border[ih, kw * DW :]",
    ]


def test_a_part_is_not_marked_in_what_is_made_of_it():
    page = show_loops("depthwise separable", "depthwise")
    first, second = page.split("</pre>")[:2]
    assert "<mark" not in first.partition("<pre")[2]
    assert "<mark" in second
    assert "<mark" not in show_loops("pointwise", "depthwise separable")


@pytest.mark.parametrize(
    ("variant", "gone"),
    [
        ("depthwise", "the loop over c."),
        ("pointwise", "the loops over kh and kw."),
        ("depthwise separable", None),
        ("dilated", None),
    ],
)
def test_the_legend_names_the_loops_that_are_gone(variant, gone):
    page = show_loops(variant)
    assert page.count("<p ") == 1
    legend = text(page.partition("</p>")[0])
    assert legend.partition("Gone: ")[2] == (gone or "")
    # a loop that only stands further left is no other loop
    assert not {"for kh in range(KH):", "for ow in range(OW):"} & set(
        marked(show_loops("depthwise"))
    )


def test_the_page_needs_nothing_else():
    for variant in TRACED:
        page = show_loops(variant)
        assert not re.search("<script|<style|class=|http|@import|url", page)
        assert page.count("<pre tabindex=") == page.count("overflow-x:auto") == page.count("</pre>")
        assert page._repr_html_() == page
        assert repr(page) == f"<HTML of {len(page):,} characters>"


def test_calls_run_again_after_it():
    show_loops("deformable")
    assert getattr(jit._this_thread, "recorder", None) is None
    y = VARIANTS["standard"].function(np.ones((1, 2, 2)), np.ones((1, 1, 2, 2)), method="direct")
    assert y.output.item() == 4


@pytest.mark.parametrize("name", ["Standard", "deformable layer", "", None, 1, ["standard"]])
def test_a_name_that_is_none(name):
    with pytest.raises(ValueError, match=r"variant: must be one of standard, dilated, .*got"):
        show_loops(name)
    if name is not None:
        with pytest.raises(ValueError, match=r"against: must be one of standard, dilated, .*got"):
            show_loops("dilated", name)


@pytest.mark.parametrize("dark", [0, 1])
def test_every_colour_can_be_read(dark):
    """4.5 : 1, which WCAG asks of text, and 3 : 1 of a sign."""

    def light(name):
        parts = [int(SHADES[name][dark][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one, other):
        low, high = sorted((light(one), light(other)))
        return (high + 0.05) / (low + 0.05)

    for ground in ("page", "mark"):
        for name in ("text", "k", "n", "s", "c"):
            assert contrast(name, ground) >= 4.5, (name, ground)
        assert contrast("bar", ground) >= 3
