"""Every picture is drawn without a warning, on small, rectangular and one-channel cases, and shows what it says."""

import dataclasses
import io
import itertools

import matplotlib as mpl
import numba
import numpy as np
import pytest
from matplotlib import pyplot

from jitconv import (
    Pass,
    cli,
    compare,
    conv2d,
    filters,
    grouped_conv2d,
    networks,
    shapes,
    trace,
    zero_stuffed_kernel,
)
from jitconv.images.drawing import WORD, drawing
from jitconv.learn import lessons
from jitconv.learn.gallery import gallery
from jitconv.plots.costs import multiply_map, plot_cost_curve, plot_costs, plot_multiply_map
from jitconv.plots.geometry import (
    plot_effective_kernel,
    plot_matrix,
    plot_receptive_field,
    plot_sampling_grids,
    plot_winograd_tiles,
)
from jitconv.plots.networks import plot_networks
from jitconv.plots.panels import plot_panels
from jitconv.plots.roofline import plot_roofline
from jitconv.plots.steps import show_steps
from jitconv.plots.style import KERNEL, STYLE, cells, label_lines, panel, short
from jitconv.variants import VARIANTS

rng = np.random.default_rng(0)
CASES = {
    "standard": ((rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 2, 2, 3))), {"padding": 1, "stride": 2}),
    "dilated": ((rng.normal(size=(1, 5, 5)), rng.normal(size=(1, 1, 2, 2))), {"dilation": 2}),
    "transposed": ((rng.normal(size=(2, 2, 1)), rng.normal(size=(2, 1, 3, 3))), {"stride": 2}),
    "separable": ((rng.normal(size=(1, 3, 4)), np.ones(3), np.ones(3)), {"padding": 1}),
    "depthwise": ((rng.normal(size=(2, 3, 3)), rng.normal(size=(4, 1, 2, 2))), {}),
    "depthwise separable": ((rng.normal(size=(2, 2, 3)), np.ones((2, 1, 3, 3)), np.ones((1, 2))), {"padding": 1}),
    "pointwise": ((rng.normal(size=(3, 2, 2)), rng.normal(size=(2, 3))), {}),
    "grouped": ((rng.normal(size=(4, 3, 3)), rng.normal(size=(2, 2, 2, 2))), {"groups": 2}),
    "deformable": ((rng.normal(size=(1, 4, 4)), rng.normal(size=(8, 3, 3)), np.ones((1, 1, 2, 2))), {}),
}  # fmt: skip
CASES = {name: CASES.get(name, (v.small_call(), v.options)) for name, v in VARIANTS.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_are_drawn_with_their_sums(variant):
    arrays, options = CASES[variant]
    figure = show_steps(variant, *arrays, backend="grid", **options)
    figure.draw_without_rendering()
    y = np.asarray(VARIANTS[variant].function(*arrays, **options))
    assert len(figure.axes) == y.size + {
        "separable": 12,  # the column pass's outputs
        "depthwise separable": 12,
    }.get(variant, 0)
    last = figure.axes[-1].texts[-1].get_text()
    assert last.endswith(f"= {short(y.flat[-1])} ")


@pytest.mark.parametrize(("part", "K"), [("input", 4), ("weight", 3)])
def test_steps_of_a_gradient(part, K):
    """Nine products a tap of 3×3 outputs, each at the pixel or the weight that it goes to."""
    dy, x, weight = (
        np.ones((1, 1, 4, 4)),
        np.arange(16.0).reshape(1, 4, 4),
        np.full((1, 1, 3, 3), 2.0),
    )
    figure = show_steps(f"{part} gradient", dy[0], x, weight, padding=1, backend="grid")
    figure.draw_without_rendering()
    assert len(figure.axes) == K * K
    texts = [text.get_text() for text in figure.axes[-1].texts]
    name, walks, result = ("dy", "weight", "dx") if part == "input" else ("x", "dy", "dweight")
    assert {name, walks, result} <= set(texts)
    assert texts[-1].startswith(("dx[0, 3, 3] = 1·2 + ", "dweight[0, 0, 2, 2] = 5·1 + "))
    assert texts[-1].endswith({"input": "= 8 ", "weight": "= 90 "}[part])
    assert multiply_map(f"{part} gradient", dy[0], x, weight, padding=1).sum() == 100


def test_a_weight_gradient_of_two_images_is_one_sum():
    arrays = np.ones((2, 1, 2, 2)), np.ones((2, 1, 2, 2)), np.ones((1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"dweight\[0, 0, 0, 0\] sums over all images"):
        show_steps("weight gradient", *arrays, backend="grid")
    figure = show_steps("weight gradient", *arrays, by="multiply", backend="grid")
    assert len(figure.axes) == 8


def test_a_picture_for_each_multiply_and_none_left_out():
    arrays, options = CASES["standard"]
    multiplies = len(trace("standard", *arrays, **options))
    with pytest.raises(ValueError, match=f"makes {multiplies} pictures, one for each multiply"):
        show_steps(
            "standard", *arrays, by="multiply", backend="grid", frames=multiplies - 1, **options
        )
    figure = show_steps("pointwise", *CASES["pointwise"][0], by="multiply", backend="grid")
    assert len(figure.axes) == 3 * 2 * 2 * 2
    gif = show_steps("pointwise", *CASES["pointwise"][0], backend="gif")
    assert gif.startswith(b"GIF89a")


def test_the_whole_kernel_is_shown_at_every_multiply():
    x, weight = np.zeros((1, 2, 2)), np.arange(11.0, 20).reshape(1, 1, 3, 3)
    figure = show_steps("transposed", x, weight, stride=2, by="multiply", backend="grid")
    for ax in figure.axes:
        shown = [text.get_text() for text in ax.texts]
        assert [shown.count(f"{number}") for number in range(11, 20)] == [1] * 9


def test_each_offset_group_has_its_own_crosses():
    x, offset = np.arange(18.0).reshape(2, 3, 3), np.zeros((16, 2, 2))
    offset[8:] = 1
    figure = show_steps("deformable", x, offset, np.ones((1, 2, 2, 2)), backend="grid")
    first, second = (line.get_xydata() for line in figure.axes[0].lines)
    down = x.shape[1] + 2 + 0.6  # a channel with its ring and a gap
    np.testing.assert_allclose(second - first, [[1, 1 + down]] * 4)


def test_cells_and_sums_write_numbers_that_are_true():
    written = {-0.125: "−0.125", -0.0585: "−0.059", 0.00123: "0.0012", 1234: "1234", 123456: "123456",
               -123456: "−1.2e5", 1234567: "1.23e6", -0.0: "0", 1e-5: "1e−5", np.inf: "inf"}  # fmt: skip
    figure = show_steps("pointwise", np.reshape([*written], (1, 5, 2)), [[1.0]], backend="grid")
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.axes[-1].texts]
    assert texts[:10] == texts[11:21] == [*written.values()]
    assert figure.axes[3].texts[-1].get_text().split() == [
        "y[0,",
        "1,",
        "1]",
        "=",
        "1234·1",
        "=",
        "1234",
    ]


@pytest.mark.parametrize(("size", "kernel", "scale"), [(3, 2, 1), (3, 2, 1e5), (9, 7, 1)])
def test_numbers_fit_in_their_cells_or_are_left_out(size, kernel, scale):
    x, weight = (
        rng.normal(scale=scale, size=(1, size, size)),
        rng.normal(size=(1, 1, kernel, kernel)),
    )
    figure = show_steps("standard", x, weight, backend="grid")
    figure.draw_without_rendering()
    ax = figure.axes[-1]
    (left, _), (right, _) = ax.transData.transform([(0, 0), (1, 0)])
    *numbers, _ = (
        text for text in ax.texts if text.get_text() not in ("input", "kernel", "output")
    )
    assert bool(numbers) == (size == 3)
    assert all(text.get_window_extent().width < right - left for text in numbers)


def test_pictures_of_a_batch_name_the_image():
    figure = show_steps("standard", np.ones((2, 1, 2, 2)), np.ones((1, 1, 2, 2)), backend="grid")
    sums = [ax.texts[-1].get_text().partition(" =")[0] for ax in figure.axes]
    assert sums == ["y[0, 0, 0, 0]", "y[1, 0, 0, 0]"]


def test_words_that_are_none():
    with pytest.raises(ValueError, match="variant: must be one of standard"):
        show_steps("fourier", *CASES["standard"][0])
    with pytest.raises(ValueError, match="by: must be"):
        show_steps("standard", *CASES["standard"][0], by="row")
    with pytest.raises(ValueError, match="backend: must be"):
        show_steps("standard", *CASES["standard"][0], backend="mp4")
    for backend, method in (("grid", "winograd"), ("gif", "tiled"), ("html", "foo")):
        with pytest.raises(ValueError, match=f"method: .* textbook's, 'direct', got '{method}'"):
            show_steps("standard", *CASES["standard"][0], backend=backend, method=method)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_map_holds_every_multiply_in_bounds(variant):
    arrays, options = CASES[variant]
    result = VARIANTS[variant].function(*arrays, **options)
    counts = multiply_map(variant, *arrays, **options)
    assert counts.shape == result.output.shape[-2:]
    assert counts.sum() == result.report.multiplies_in_bounds
    plot_multiply_map(variant, *arrays, **options).draw_without_rendering()


def test_a_map_prints_counts_in_full():
    figure = plot_multiply_map("standard", np.ones((64, 2, 2)), np.ones((16, 64, 1, 1)))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1024"] * 4


@pytest.mark.parametrize(("size", "kernel"), [((30, 1), (7, 1)), ((1, 30), (1, 7))])
def test_a_narrow_map_has_room_for_its_title(size, kernel):
    figure = plot_multiply_map(
        "standard", np.ones((1, *size)), np.ones((1, 1, *kernel)), padding="same"
    )
    assert_none_is_cut_off(figure)


def test_the_map_of_a_transposed_convolution_is_a_checkerboard():
    counts = multiply_map("transposed", np.ones((1, 3, 3)), np.ones((1, 1, 3, 3)), stride=2)
    assert counts[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_costs_are_drawn_for_every_report():
    reports = [
        VARIANTS[variant].function(*a, **options).report for variant, (a, options) in CASES.items()
    ]
    figure = plot_costs(reports)
    figure.draw_without_rendering()
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert [text.split("   ")[0] for text in shown] == [f"{r.multiplies:,} ✓" for r in reports]
    bars = figure.axes[0].containers
    for values, count in zip(bars, ("multiplies", "dense"), strict=True):
        drawn = [bar.get_width() for bar in values]
        assert drawn == [getattr(r, count, None) or r.value(count) for r in reports]
    for points, formula in zip(figure.axes[0].collections, ("document", "in bounds"), strict=True):
        assert points.get_offsets()[:, 0].tolist() == [r.value(formula) for r in reports]
    with pytest.raises(TypeError, match=r"reports: must be CostReports, .* got ConvResult"):
        plot_costs([conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 3, 3)))])
    with pytest.raises(ValueError, match=f"got {len(CASES)} and 1 names"):
        plot_costs(reports, ["one"])


def test_a_factor_is_written_beside_the_bar():
    x = np.ones((4, 6, 6))
    counts = [conv2d(x, np.ones((M, 4, 1, 1))).report for M in (4, 2, 10, 4)]
    shown = [text.get_text() for text in plot_costs(counts, "abcd").axes[0].texts]
    assert shown == ["576 ✓", "288 ✓   a ÷ 2", "1,440 ✓   a × 2.5", "576 ✓"]
    empty = conv2d(x[np.newaxis][:0], np.ones((4, 4, 1, 1))).report
    assert [t.get_text() for t in plot_costs([empty, *counts[:1]]).axes[0].texts] == [
        "0 ✓",
        "576 ✓",
    ]


def test_long_names_are_shortened_and_mathematics_is_text():
    report = conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 3, 3)), padding=1).report
    half = conv2d(np.ones((1, 5, 5)), np.ones((2, 1, 3, 3)), padding=1).report
    names = ["module.layers.0.blocks.3.depthwise", "a" * 75, "$x_i$"]
    figure = plot_costs([report, half, report], names)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [
        "module.l…s.3.depthwise",
        "a" * 8 + "…" + "a" * 13,
        "$x_i$",
    ]
    assert not labels[2].get_parse_math()
    assert figure.axes[0].texts[1].get_text().endswith("the first × 2")
    assert_none_is_cut_off(figure)


def test_a_cost_curve_of_one_value_or_of_many():
    reports = [conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 1, 1))).report] * 40
    one = plot_cost_curve([1], reports[:1], "channels").axes[0]
    assert one.get_title() == "standard: measured = formula at the one value"
    many = plot_cost_curve(range(40), reports, "channels").axes[0]
    assert many.get_xticks().tolist() == [*range(0, 40, 4)]


def test_a_cost_curve_holds_what_was_counted():
    sizes = (1, 2, 5)
    x = rng.normal(size=(3, 6, 9))
    reports = [conv2d(x, np.ones((2, 3, K, K)), padding=1).report for K in sizes]
    figure = plot_cost_curve(sizes, reports, "kernel size")
    figure.draw_without_rendering()
    points = figure.axes[0].lines[-1]
    assert points.get_xdata().tolist() == [1, 2, 5]
    assert points.get_ydata().tolist() == [report.multiplies for report in reports]
    wrong = dataclasses.replace(reports[0], passes=(Pass("kernel", 1),))
    title = plot_cost_curve(sizes, [wrong, *reports[1:]], "kernel size").axes[0].get_title()
    assert title == "standard: measured = formula at 2 of 3 values"
    with pytest.raises(ValueError, match="got 3 and 2 values"):
        plot_cost_curve((1, 2), reports, "kernel size")
    with pytest.raises(ValueError, match="got 2 and 3 values"):
        plot_cost_curve(sizes, reports, "kernel size", against={"two": reports[:2]})


def line_labels(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_cost_curve_names_its_lines_and_what_coincides():
    x, sizes = np.ones((4, 6, 9)), (1, 2, 4)
    few = [grouped_conv2d(x, np.ones((4, 4 // g, 1, 1)), groups=g).report for g in sizes]
    found = line_labels(plot_cost_curve(sizes, few, "groups"))
    assert found == ["measured\n= dense\n= the document's\n= in bounds"]
    against = {"other way round": few[::-1], "itself": few}
    figure = plot_cost_curve(sizes, few, "groups", against=against)
    found = [label.partition("\n= ")[0] for label in line_labels(figure)]
    assert sorted(found) == ["grouped", "itself:\nthe same", "other way round:\n4 × as many"]
    drawn = [line.get_ydata().tolist() for line in figure.axes[0].lines[:2]]
    assert drawn == [[r.multiplies for r in reports] for reports in against.values()]
    padded = [conv2d(x, np.ones((1, 4, K, K)), padding="same").report for K in (1, 3, 5)]
    found = line_labels(plot_cost_curve(sizes, padded, "kernel size"))
    assert found == ["in bounds\n(grey: on padding)", "measured\n= dense\n= the document's"]


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("ends", [[1], [1, 1, 1], [1, 1.001, 1000], [5, 1, 5.1, 4.9, 1]])
def test_labels_of_lines_stand_beside_their_ends_and_apart(ends, scale):
    figure, ax = panel(None, (4, 3))
    for number, end in enumerate(ends):
        ax.plot([0, 1], [2, end], label=f"line {number}\nof {len(ends)}")
    ax.plot([0, 1], [3, 3])
    ax.set_yscale(scale)
    label_lines(ax)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == len(ends)
    for box, text in zip(boxes, ax.texts, strict=True):
        assert text.xy[1] == ends[int(text.get_text().split()[1])]
        assert ax.bbox.y0 - 3 < box.y0 < box.y1 < ax.bbox.y1 + 3
        assert box.x0 > ax.transData.transform(text.xy)[0]
    boxes.sort(key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    "weight", [np.ones((1, 1)), np.arange(10.0).reshape(2, 5), np.zeros((3, 2))]
)
@pytest.mark.parametrize("dilations", [(1,), (3, 1), (1, 2, 3, 4)])
def test_the_effective_kernel_is_the_zero_stuffed_one(weight, dilations):
    figure = plot_effective_kernel(weight, dilations)
    figure.draw_without_rendering()
    for rate, ax in zip(dilations, figure.axes, strict=False):
        shown = np.ma.filled(ax.images[0].get_array(), 0)
        np.testing.assert_array_equal(np.nan_to_num(shown), zero_stuffed_kernel(weight, rate))


def test_effective_kernels_have_room_for_titles_and_scale():
    figure = plot_effective_kernel(np.ones((3, 3)), range(1, 9))
    figure.draw_without_rendering()
    titles = [ax.title.get_window_extent() for ax in figure.axes[:8]]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(titles))
    assert figure.axes[7].get_title() == "rate 8\n9 weights\nsee 17×17"
    assert plot_effective_kernel([[1.0]]).axes[0].get_title() == "rate 1\n1 weight sees 1×1"
    flat = plot_effective_kernel(rng.normal(size=(1, 7)))
    assert_none_is_cut_off(flat)
    assert flat.axes[-1].get_window_extent().height > 80


def test_cells_hold_their_numbers_and_a_scale_that_fits():
    _, ax = panel(None, (3, 3))
    assert cells(ax, np.array([[1.0, 0], [0.125, 3]]), KERNEL, 0.5)
    assert [text.get_text() for text in ax.texts] == ["1", "0", "0.125", "3"]
    assert ax.images[0].get_clim() == (0, 3)
    assert ax.images[0].cmap(0) == (1, 1, 1, 1)
    _, ax = panel(None, (3, 3))
    assert cells(ax, np.array([[1.0, -4]]), KERNEL, 0.5)
    assert [text.get_text() for text in ax.texts] == ["1", "−4"]
    assert ax.images[0].get_clim() == (-4, 4)
    assert ax.images[0].cmap(0.5) == pytest.approx((1, 1, 1, 1), abs=0.01)
    _, ax = panel(None, (3, 3))
    assert not cells(ax, np.array([[0.125]]), KERNEL, 0.3)
    assert not ax.texts


@pytest.mark.parametrize(("size", "bars"), [((1, 5, 5), 0), ((1, 9, 9), 1)])
def test_a_matrix_too_large_for_numbers_has_a_scale(size, bars):
    figure = plot_matrix(np.arange(1.0, 10).reshape(1, 1, 3, 3), size)
    figure.draw_without_rendering()
    assert len(figure.axes) == 3 + bars
    assert [len(ax.texts) > 0 for ax in figure.axes[:2]] == [not bars] * 2
    titles = [ax.get_title().split(":")[0] for ax in figure.axes[:2]]
    assert titles == ["convolution", "transposed"]


def test_a_row_of_the_matrix_is_the_kernel_in_its_place():
    weight = np.arange(1.0, 13).reshape(2, 1, 2, 3)
    (row,) = (ax for ax in plot_matrix(weight, (1, 3, 4)).axes if "row" in ax.get_title())
    assert row.get_title() == "row 3, folded to the 3×4 of the image"
    np.testing.assert_array_equal(row.images[0].get_array(), [[0] * 4, [0, 1, 2, 3], [0, 4, 5, 6]])


def test_the_middle_row_of_the_matrix_is_that_of_the_middle_output():
    weight = np.ones((2, 3, 3, 3))
    (row,) = (ax for ax in plot_matrix(weight, (3, 6, 6)).axes if "row" in ax.get_title())
    assert row.get_title() == "row 10, channel 0 of 3, as the 6×6 of the image"  # of 4×4
    assert row.images[0].get_array()[2:5, 2:5].all()
    assert_none_is_cut_off(plot_matrix(np.ones((1, 1, 3, 3)), (1, 6, 6)))


def test_an_effective_kernel_needs_one_kernel_and_a_rate():
    with pytest.raises(ValueError, match="dilations: must hold at least one rate"):
        plot_effective_kernel(np.ones((3, 3)), ())
    with pytest.raises(ValueError, match="weight: must"):
        plot_effective_kernel(np.ones((1, 1, 3, 3)))


def test_sampling_grids_show_what_one_output_reads():
    titles = [ax.get_title() for ax in plot_sampling_grids().axes]
    assert titles[:8] == [
        "standard\n36 multiplies, 36 inputs",
        "dilated\n36 multiplies, 36 inputs",
        "transposed\n4 multiplies, 4 inputs",
        "separable\n12 multiplies, 9 inputs",
        "depthwise\n9 multiplies, 9 inputs",
        "depthwise separable\n40 multiplies, 36 inputs",
        "pointwise\n4 multiplies, 4 inputs",
        "grouped\n18 multiplies, 18 inputs",
    ]


@pytest.mark.parametrize(
    "layers", [[(1,)], [(3,), (3,)], [(3, 2), (2,)], [(2, 1, 3), (3, 2, 1), (3,)], [(5, 3), (3, 2)]]
)
def test_the_measured_receptive_field_is_the_formula(layers):
    field = shapes.receptive_field(layers)
    title = plot_receptive_field(layers).axes[0].get_title()
    assert title == f"measured {field}×{field}, formula {field}×{field}"


def test_a_field_that_is_too_wide_is_refused():
    with pytest.raises(ValueError, match="field of 43 pixels is wider than 41"):
        plot_receptive_field([(43,)])


def test_a_matrix_of_zeros_is_drawn():
    figure = plot_matrix(np.zeros((2, 1, 1, 2)), (1, 1, 3))
    figure.draw_without_rendering()
    titles = [ax.get_title() for ax in figure.axes[:2]]
    assert titles == ["convolution: 4 × 3, 100% zeros", "transposed: 3 × 4, 100% zeros"]


def boxes(figure):
    """Name the rectangles of the only panel: label -> [(row, column, rows, columns)]."""
    found = {}
    for box in figure.axes[0].patches:
        (w, h), high, wide = box.get_xy(), box.get_height(), box.get_width()
        found.setdefault(box.get_label(), []).append((h, w, high, wide))
    return found


def test_the_tiles_of_a_small_image():
    figure = plot_winograd_tiles((10, 7), tile=(1, 0))
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == "10×7 outputs: 3×2 tiles, 26 of 96 outputs cut off"
    assert boxes(figure) == {
        "zeros beyond": [(-1, -1, 14, 10)],
        "padding": [(-1, -1, 12, 9)],
        "image": [(0, 0, 10, 7)],
        "outputs": [(0, 0, 4, 4), (0, 4, 4, 3), (4, 0, 4, 4), (4, 4, 4, 3), (8, 0, 2, 4), (8, 4, 2, 3)],
        "cut off": [(0, 4, 4, 4), (4, 4, 4, 4), (8, 0, 4, 4), (8, 4, 4, 4)],
        "read by (1, 0)": [(3, -1, 6, 6)],
        "by the next": [(3, 3, 6, 6)],
    }  # fmt: skip


@pytest.mark.parametrize("padding", [0, 1, (0, 2), ((3, 0), (0, 1)), "same"])
@pytest.mark.parametrize("size", [(3, 6), (8, 9)])
def test_a_tile_reads_what_changes_its_outputs(size, padding):
    """Found by a run for each pixel: the outputs that it changes, at the middle of their kernels."""
    weight = np.ones((1, 1, 3, 3))
    pixels = np.eye(size[0] * size[1]).reshape(-1, 1, *size)
    y = conv2d(pixels, weight, padding=padding, method="direct").output
    top, left = (ends[0] for ends in shapes.window(size, 3, padding=padding).padding)
    TH, TW = (-(-n // 4) for n in y.shape[2:])
    for th, tw in np.ndindex(TH, TW):
        found = boxes(plot_winograd_tiles(size, padding=padding, tile=(th, tw)))
        h, w, high, wide = found["outputs"][th * TW + tw]
        h, w = h + top - 1, w + left - 1
        changed = y[:, 0, h : h + high, w : w + wide].any(axis=(1, 2)).reshape(size)
        ((h, w, high, wide),) = found[f"read by {(th, tw)}"]
        inside = np.zeros(size, bool)
        inside[max(0, h) : max(0, h + high), max(0, w) : max(0, w + wide)] = True
        assert not (changed & ~inside).any()
        if "cut off" not in found:
            np.testing.assert_array_equal(changed, inside)
        assert ("by the next" in found) == (tw + 1 < TW)
        if tw + 1 < TW:
            assert found["by the next"] == [(h, w + 4, high, wide)]
    assert sum(h * w for _, _, h, w in found["outputs"]) == y[0, 0].size
    assert ("padding" in found) == (padding != 0)
    assert found.get("zeros beyond", [(0, 0, 0, 0)])[0][2:] in [(0, 0), (4 * TH + 2, 4 * TW + 2)]


def test_tiles_that_are_none():
    with pytest.raises(
        ValueError, match=r"there is none at \(0, 3\); 10×10 outputs have 3×3 tiles"
    ):
        plot_winograd_tiles(10, tile=(0, 3))
    with pytest.raises(ValueError, match=r"there is none at \(3, 3\).* the last at \(2, 2\)"):
        plot_winograd_tiles(10, tile=3)
    with pytest.raises(ValueError, match="tile: must be at least 0, got -1"):
        plot_winograd_tiles(10, tile=-1)
    with pytest.raises(ValueError, match="size: gives 65×4 outputs, too many to tell apart"):
        plot_winograd_tiles((65, 4))
    with pytest.raises(ValueError, match="so that the output would be empty"):
        plot_winograd_tiles((2, 9), padding=0)
    with pytest.raises(TypeError, match="size: must be an integer"):
        plot_winograd_tiles(9.5)


LESSONS = [
    lessons.stride_or_pooling,
    lessons.dilated_or_pooling,
    lessons.transposed_or_bilinear,
    lessons.sobel_both_ways,
    lessons.fewer_channels,
    lessons.groups_or_mixing,
    lessons.offsets_for_a_rotation,
]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.parametrize("shape", [(65, 90, 3), (130, 64)])
@pytest.mark.parametrize("grey", [False, True])
def test_a_lesson_on_another_photo(lesson, shape, grey, tmp_path):
    pixels = np.full(shape, 0.5) if grey else np.random.default_rng(0).random(shape)
    pyplot.imsave(tmp_path / "photo.png", pixels, cmap="gray", vmin=0, vmax=1)
    told = lesson(tmp_path / "photo.png")
    assert np.isfinite(list(told.numbers.values())).all()
    assert str(told).endswith(told.answer)
    told.plot().draw_without_rendering()


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_photo_too_small_for_a_lesson(lesson, tmp_path):
    pyplot.imsave(tmp_path / "photo.png", np.zeros((63, 80)))
    with pytest.raises(ValueError, match="at least 64×64 pixels, got 63×80"):
        lesson(tmp_path / "photo.png")


@pytest.mark.parametrize("name", networks.CATALOGUE)
def test_a_network_is_drawn_layer_by_layer(name):
    network = networks.CATALOGUE[name]()
    figure = network.plot()
    figure.draw_without_rendering()
    for ax, total in zip(figure.axes, (network.multiplies, network.weights), strict=True):
        assert sum(bar.get_height() for bar in ax.patches) == total


def test_networks_are_drawn_side_by_side():
    built = [networks.squeezenet(), networks.dcgan_generator()]
    figure = plot_networks(built)
    figure.draw_without_rendering()
    upper, lower = figure.axes
    assert upper.lines[0].get_ydata().tolist() == [3_576_704, 1_248_424]
    assert sum(bar.get_width() for bar in lower.patches) == pytest.approx(200)
    plot_networks(built[:1]).draw_without_rendering()
    twice = plot_networks([*built, built[0]])
    assert [text.get_text() for text in twice.axes[0].texts] == ["1", "2, 3"]
    with pytest.raises(ValueError, match="networks: must hold at least one"):
        plot_networks([])


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes too long in plain Python")
@pytest.mark.slow
def test_the_gallery_is_written(tmp_path, capsys):
    folder = tmp_path / "new" / "figures"
    assert cli.main(["figures", str(folder)]) == 0
    written = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert written.keys() == {f"{picture.name}.png" for picture in gallery()}
    assert max(written.values()) < 150_000
    assert len(capsys.readouterr().out.splitlines()) == len(written)


def test_two_steps_stand_side_by_side():
    figure = show_steps("standard", np.ones((1, 2, 3)), np.ones((1, 1, 2, 2)), backend="grid")
    figure.draw_without_rendering()
    first, second = (ax.get_position() for ax in figure.axes)
    assert first.x1 <= second.x0


def assert_none_is_cut_off(figure):
    figure.draw_without_rendering()
    drawn, (wide, high) = figure.get_tightbbox(), figure.get_size_inches()
    assert max(-drawn.x0, -drawn.y0, drawn.x1 - wide, drawn.y1 - high) < 0.03


@pytest.mark.parametrize(
    "draw",
    [
        lambda: show_steps("standard", np.ones((1, 2, 3)), np.ones((1, 1, 2, 2)), backend="grid"),
        lambda: plot_matrix(np.ones((1, 1, 2, 2)), (1, 3, 3)),
        lambda: plot_costs([conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 3, 3))).report]),
        lambda: plot_networks([networks.squeezenet()]),
    ],
)
def test_pictures_are_the_same_in_a_dark_style(draw):
    saved = []
    for style in ("default", "dark_background"):
        with pyplot.style.context(style):
            draw().savefig(file := io.BytesIO())
        saved.append(file.getvalue())
    assert saved[0] == saved[1]


def test_panels_of_any_shape_make_a_figure_of_some_inches():
    figure = plot_panels({"tall": np.ones((1000, 1)), "wide": np.ones((1, 1000))})
    assert max(figure.get_size_inches()) < 12
    with pytest.raises(ValueError, match="pictures: must hold at least one"):
        plot_panels({})


def test_a_roofline_shows_the_slowest():
    row = {"intensity": 1, "gflops": 0.4, "variant": "standard", "ratio": 2, "peer": "torch"}
    assert plot_roofline([row], 100, 20).axes[0].get_ylim()[0] < 0.2
    assert plot_roofline([{**row, "gflops": 40}], 100, 20).axes[0].get_ylim()[0] == 1


def test_an_even_image_is_grey():
    ax = compare(np.full((3, 40, 40), 0.5)).plot().axes[0]
    assert ax.images[0].norm(0.5) == 0.5


def test_texts_have_the_sizes_of_the_style_and_none_is_cut_off():
    """Also those that are made when the figure is drawn, and those of a later notebook's figure."""
    before = dict(mpl.rcParams)
    report = conv2d(np.ones((1, 5, 5)), np.ones((1, 1, 3, 3))).report
    figures = [
        plot_costs([report, report]),
        plot_cost_curve((1, 2), [report, report], "label"),
        plot_multiply_map("standard", np.ones((1, 4, 4)), np.ones((1, 1, 3, 3))),
        plot_effective_kernel(np.ones((3, 3))),
        plot_matrix(np.ones((1, 1, 2, 2)), (1, 3, 3)),
        plot_receptive_field([(3,)]),
        plot_winograd_tiles(9),
        networks.mobilenet_v1().plot(),
        plot_networks([networks.squeezenet()]),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        texts = figure.findobj(lambda artist: isinstance(artist, mpl.text.Text))
        sizes = {text.get_fontsize() for text in texts if text.get_text() and text.get_visible()}
        assert sizes <= {STYLE["font.size"], STYLE["axes.titlesize"]}
        ticks = {word.get_fontsize() for ax in figure.axes for word in ax.get_xticklabels()}
        assert ticks <= {STYLE["xtick.labelsize"]}
        assert_none_is_cut_off(figure)
    assert dict(mpl.rcParams) == before


def test_the_drawing_is_sharp():
    picture = drawing()
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture, drawing())
    word = np.array([[letter == "#" for letter in line] for line in WORD])
    for size, top, left in ((3, 6, 6), (2, 34, 6), (1, 34, 58)):
        shown = picture[:, top : top + 7 * size : size, left : left + 23 * size : size]
        np.testing.assert_array_equal(shown, [1 - word] * 3)
    grey = picture.mean(axis=0)
    edges = conv2d(grey[np.newaxis], filters.sobel("x")[np.newaxis, np.newaxis]).output
    assert np.abs(edges).max() == 4  # from black to white within a pixel
    assert np.mean((grey == 0) | (grey == 1)) > 0.75
    assert not (picture == picture[0]).all()
