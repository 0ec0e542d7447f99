"""What a stepper plays is the trace: its sums are the output, its counts are the report's."""

import html
import json
import re

import numpy as np
import pytest

import jitconv
from jitconv.plots import show_steps
from jitconv.plots.stepper import play, script
from jitconv.tracing import TRACED, trace
from jitconv.variants import VARIANTS

rng = np.random.default_rng(3)


def whole(*shape):
    return rng.integers(-4, 7, shape).astype(float)


X, WEIGHT = whole(2, 2, 4, 3), whole(2, 2, 2, 2)
CASES = {
    **{name: (name, v.small_call(), dict(v.options)) for name, v in VARIANTS.items()},
    "padded, with a bias": ("standard", [X, WEIGHT, whole(2)], {"padding": 1, "stride": 2}),
    "dilated groups": ("dilated", [whole(4, 4, 4), WEIGHT], {"groups": 2, "dilation": (2, 1)}),
    "cropped": ("transposed", [X, whole(2, 3, 2, 2), whole(3)], {"padding": 1, "stride": 2}),
    "padded passes": ("separable", [whole(2, 3, 4), whole(3), whole(2)], {"padding": 1}),
    "masked": (
        "deformable",
        [whole(4, 3, 3), rng.normal(size=(16, 3, 3)), whole(2, 2, 2, 2), whole(2)],
        {"padding": ((1, 0), (0, 1)), "mask": rng.random((8, 3, 3))},
    ),
    "input gradient": ("input gradient", [whole(1, 2, 5, 4), X[:1], WEIGHT], {"padding": 1}),
    "weight gradient": ("weight gradient", [whole(2, 2, 5, 4), X, WEIGHT], {"padding": 1}),
}
EACH = pytest.mark.parametrize(("variant", "arrays", "options"), CASES.values(), ids=CASES)


@pytest.fixture
def played(variant, arrays, options):
    return play(variant, *arrays, **options)


def cells(played):
    """All cells in their order, with the panel that they stand on."""
    return [
        (panel["title"], *cell)
        for panel in played["panels"]
        for block in panel["blocks"]
        for cell in block["cells"]
    ]


def replayed(played, order):
    """What all cells hold after the steps in some order."""
    found = [cell[3] for cell in cells(played)]
    for number in order:
        target, value, factor, a, b, *more = played["steps"][number]
        for cell, expected in ((value, a), (factor, b)):
            assert cell < 0 or found[cell] == pytest.approx(expected, rel=1e-9)
        start = 0 if target == value else played["starts"].get(target, 0)
        before = None if target == value else found[target]
        found[target] = (start if before is None else before) + a * b
        for cell, made in more[5][0] if len(more) > 5 else ():  # a line of a transform ends
            found[cell] = made
    return found


@EACH
@pytest.mark.parametrize("by", ["windows", "loops"])
def test_the_cells_end_as_the_output(played, variant, arrays, options, by):
    order = played["order"] if by == "windows" else range(len(played["steps"]))
    assert sorted(order) == list(range(len(played["steps"])))
    title = played["panels"][-1]["title"]
    ended = zip(cells(played), replayed(played, order), strict=True)
    found = [value for (panel, *_), value in ended if panel == title]
    y = np.asarray(TRACED[variant].function(*arrays, **options))
    np.testing.assert_allclose(found, y.ravel(), atol=1e-9)


@EACH
def test_the_counters_meet_the_report(played, variant, arrays, options):
    report = TRACED[variant].function(*arrays, **{**options, "method": "direct"}).report
    assert len(played["steps"]) == played["multiplies"] == report.multiplies
    assert (
        sum(step[-1] for step in played["steps"])
        == played["padding"][0]
        == report.multiplies_on_padding
    )
    for number, (name, count, _) in enumerate(played["passes"]):
        assert sum(step[7] == number for step in played["steps"]) == count == report.parts[name]


@EACH
def test_each_step_stands_on_a_line_that_multiplies(played, variant, arrays, options):
    for step in played["steps"]:
        source, line, names = played["lines"][step[5]]
        code = re.sub("<[^>]*>", "", played["sources"][source][1][line - 1])
        assert "*" in code.partition("#")[0]
        assert len(names) == len(step[6])


def test_a_tile_of_winograds_method():
    x, weight = whole(1, 6, 6), whole(1, 1, 3, 3)
    played = play("standard", x, weight, method="winograd")
    y, report = jitconv.conv2d(x, weight, method="winograd")
    assert len(played["steps"]) == played["multiplies"] == report.multiplies
    for number, (name, *_) in enumerate(played["passes"]):
        assert sum(step[7] == number for step in played["steps"]) == report.parts[name]
    ended = zip(cells(played), replayed(played, played["order"]), strict=True)
    found = [value for (panel, *_), value in ended if panel.startswith("output")]
    np.testing.assert_allclose(found, y.ravel(), atol=1e-9)
    for source, line, _ in played["lines"]:
        code = re.sub("<[^>]*>", "", played["sources"][source][1][line - 1])
        assert "*" in code.partition("#")[0]
    for arrays, options in (
        ((whole(1, 7, 7), weight), {}),
        ((whole(1, 4, 9), weight), {}),
        ((x, weight, np.ones(1)), {}),
        ((x, weight), {"padding": 1}),
    ):
        with pytest.raises(ValueError, match=r"one tile, x \(1, 6, 6\) and weight"):
            show_steps("standard", *arrays, **options, method="winograd")


def test_variables_are_those_of_the_loops():
    steps = trace("standard", X, WEIGHT, stride=2)
    for step in steps:
        at = dict(step.variables)
        assert step.output == (at["n"], at["m"], at["oh"], at["ow"])
        assert step.weight == (at["m"], at["c"], at["kh"], at["kw"])
        assert step.input == (at["n"], at["c"], at["ih"], at["ow"] * 2 + at["kw"])
    assert {(step.loops, step.line) for step in steps} == {
        ("jitconv.variants.standard:standard_loops", 20)
    }


def test_a_window_is_an_output_or_where_a_pixel_lands():
    steps = trace("standard", X[:1, :1], WEIGHT[:1, :1])
    windows = play("standard", X[:1, :1], WEIGHT[:1, :1])
    seen = [steps[number].output for number in windows["order"]]
    assert seen == sorted(seen)
    steps, landings = (
        trace("transposed", X[:1, :1], WEIGHT[:1, :1]),
        play("transposed", X[:1, :1], WEIGHT[:1, :1]),
    )
    seen = [steps[number].input for number in landings["order"]]
    assert seen == sorted(seen)
    assert landings["scattered"]
    assert not windows["scattered"]


def test_kernels_stand_where_they_meet():
    """Groups lie along the diagonal: rows are input channels, columns outputs."""
    played = play("grouped", whole(4, 2, 2), whole(2, 2, 2, 2), groups=2)
    blocks = {block["label"]: block["place"] for block in played["panels"][1]["blocks"]}
    assert blocks == {
        "m 0, c 0": (0, 0),
        "m 0, c 1": (1, 0),
        "m 1, c 0": (2, 1),
        "m 1, c 1": (3, 1),
    }


def test_a_pointwise_weight_may_have_two_axes():
    x, deep, point = np.ones((2, 3, 3)), np.ones((2, 1, 2, 2)), np.arange(4.0).reshape(2, 2)
    for variant, arrays in (("pointwise", []), ("depthwise separable", [deep])):
        flat, whole = (play(variant, x, *arrays, w) for w in (point, point[..., None, None]))
        assert flat == whole


def test_a_page_is_one_piece():
    page = show_steps("standard", X[0], WEIGHT, ask=True, by="multiply")
    (trace_text,) = re.findall(r"data-trace='([^']*)'", page)
    assert json.loads(html.unescape(trace_text)) == json.loads(
        json.dumps(play("standard", X[0], WEIGHT))
    )
    assert "data-by='multiply' data-ask=''" in page
    assert page.isascii() or not re.search(r"[^\x00-\x7f]", script())
    assert len(script()) < 60_000
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|fetch|XMLHttp", script()
    )


def test_a_page_has_finite_numbers_and_pictures_have_all():
    x = np.ones((1, 3, 3))
    x[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="hold nan or inf; write backend='grid'"):
        show_steps("standard", x, np.ones((1, 1, 2, 2)))
    show_steps("standard", x, np.ones((1, 1, 2, 2)), backend="grid")


def test_the_code_of_a_tile_is_for_readers():
    played = play("standard", np.ones((1, 6, 6)), np.ones((1, 1, 3, 3)), method="winograd")
    assert "noqa" not in str(played["sources"])


def test_what_is_too_large_is_refused():
    with pytest.raises(ValueError, match=r"takes 9,216 multiplies, and 1 to 5,000 can be"):
        show_steps("standard", np.ones((4, 10, 10)), np.ones((4, 4, 3, 3)))
    with pytest.raises(ValueError, match="takes 0 multiplies"):
        show_steps("standard", np.ones((0, 1, 4, 4)), np.ones((1, 1, 3, 3)))
