"""Reports show, in each of their dresses, what the loops counted beside the formulas."""

import dataclasses
import gc
import json

import calls
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jitconv
from jitconv.call import Call


@pytest.fixture
def result(rng):
    return jitconv.grouped_conv2d(
        rng.normal(size=(1, 4, 6, 6)),
        rng.normal(size=(6, 2, 3, 3)),
        np.zeros(6),
        groups=2,
        padding=1,
        method="direct",
    )


def test_text_shows_it_at_a_glance(result):
    text = str(result.report)
    for shown in (
        "grouped convolution, direct loops, output (1, 6, 6, 6)",
        "K²·C·M/g = 9·4·6/2 = 108",
        "M = 6",
        "3,888",
        "2 × 3,888 MACs",
        "not counted",
    ):
        assert shown in text
    assert text.count("✓") == 2
    assert "✓ dense" in text
    assert "✗" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_long_lines_are_wrapped(rng):
    x, weight, mask = (
        rng.normal(size=(2, 4, 6, 6)),
        rng.normal(size=(4, 4, 3, 3)),
        rng.normal(size=(9, 4, 3, 3)),
    )
    report = jitconv.deformable_layer(
        x, rng.normal(size=(18, 4, 3, 3)), weight, mask_weight=mask, padding=1
    ).report
    assert max(map(len, str(report).splitlines())) <= 100
    assert "offset branch" in str(report)
    assert "the sum of the parts" in str(report)


def test_html_is_a_plain_table(result):
    html = result._repr_html_()
    assert html == result.report._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith("</table>")
    assert "K²·C·M/g = 9·4·6/2 = 108" in html
    assert "script" not in html


def test_markdown_has_as_many_cells_in_every_line(result):
    lines = result.report.to_markdown().splitlines()
    assert {line.count("|") for line in lines} == {4}
    assert lines[1] == "| :-- | --: | :-- |"


def test_dict_survives_json(result):
    data = json.loads(json.dumps(result.report.to_dict()))
    assert data["multiplies"] == result.report.multiplies
    assert data["parameters"] == 114
    assert data["agrees"] is True
    assert data["formulas"][0]["substituted"] == "9·4·6/2"


def test_result_is_a_pair_and_an_array(result):
    y, report = result
    assert report.verify() is report
    assert np.asarray(result) is y
    assert np.asarray(result, np.float32).dtype == np.float32
    assert np.array(result, copy=True) is not y
    assert repr(result).startswith("ConvResult(output=float64 (1, 6, 6, 6))\ngrouped convolution")


def test_macs_leave_out_multiplies_without_an_add(rng):
    x, offset = rng.normal(size=(1, 4, 4)), rng.normal(size=(18, 2, 2))
    report = jitconv.deform_conv2d(x, offset, np.ones((1, 1, 3, 3)), mask=np.ones((9, 2, 2))).report
    assert report.macs == report.parts["corner values"] + report.parts["kernel"]
    assert report.flops == 2 * report.macs


def test_value_names_the_formulas_that_there_are(result):
    with pytest.raises(KeyError, match="'speed' is none of parameters"):
        result.report.value("speed")


def test_mismatch_names_both_numbers(result):
    from dataclasses import replace

    report = replace(
        result.report, passes=(result.report.passes[0]._replace(multiplies=1000),), parameters=7
    )
    with pytest.raises(
        jitconv.CountMismatch,
        match=r"parameters 7 held, but 114 by formula; .* 1,000 measured, but dense: .* 3,888",
    ) as e:
        report.verify()
    assert e.type is jitconv.CountMismatch


def test_report_cannot_be_changed(result):
    with pytest.raises(AttributeError):
        result.report.parameters = 0


@pytest.mark.parametrize(
    "calculate",
    [
        lambda result: result * 2,
        lambda result: 2 * result,
        lambda result: result + result,
        lambda result: result + (1,),  # noqa: RUF005  joining is what must not happen
        lambda result: np.ones((6, 6, 6)) * result,
        lambda result: result - np.float64(1),
        lambda result: result / 2,
        lambda result: np.eye(6) @ result,
        lambda result: -result,
        lambda result: 7 % result,
    ],
)
def test_a_result_is_no_number(result, calculate):
    with pytest.raises(TypeError, match=r"no number: calculate with result\.output, or unpack it"):
        calculate(result)


def test_each_pass_names_its_formula(rng):
    arrays = rng.normal(size=(1, 4, 16, 16)), rng.normal(size=(40, 4, 3, 3))
    for method, equals in (("direct", "dense"), ("tiled", "in bounds")):
        report = jitconv.conv2d(*arrays, padding=12, dilation=12, method=method).report
        assert [p.equals for p in report.passes] == [equals]
        assert f"✓ {equals}" in str(report)
        assert report.multiplies == report.costs[equals].value
    wrong = report.passes[0]._replace(equals="dense")
    with pytest.raises(jitconv.CountMismatch, match="measured, but dense"):
        dataclasses.replace(report, passes=(wrong,)).verify()


def test_what_follows_from_the_geometry_is_said_to(rng):
    x, weight = rng.normal(size=(1, 2, 5, 5)), rng.normal(size=(3, 2, 3, 3))
    said = "which follows from the geometry"
    assert said in str(jitconv.conv2d(x, weight, padding=1, method="tiled").report)
    assert said not in str(jitconv.conv2d(x, weight, padding=1, method="direct").report)
    assert said not in str(jitconv.conv2d(x, weight, method="tiled").report)
    assert said in str(jitconv.separable_conv2d(x, np.ones(3), np.ones(3), padding=1).report)


@pytest.mark.parametrize("function", calls.FUNCTIONS)
@settings(max_examples=5)
@given(data=st.data())
def test_a_report_keeps_no_arrays(function, data):
    report = data.draw(calls.calls(function)).run().report
    kept = gc.get_referents(report.find_costs, *gc.get_referents(report.find_costs))
    assert kept
    assert not any(isinstance(value, (np.ndarray, Call)) for value in kept)


def test_offsets_may_be_changed_before_the_formulas_are_asked_for(rng):
    offset = rng.normal(size=(1, 18, 5, 5))
    arrays = rng.normal(size=(1, 2, 5, 5)), offset, rng.normal(size=(3, 2, 3, 3))
    report = jitconv.deform_conv2d(*arrays, padding=1).report
    offset[:] = 99
    report.verify()


def test_a_pass_that_is_missing_or_there_twice_is_noticed(rng):
    x, line = rng.normal(size=(1, 6, 6)), np.ones(3)
    report = jitconv.separable_conv2d(x, line, line, padding=1).report.verify()
    for passes in (report.passes[:1], report.passes[1:], (), report.passes * 2):
        with pytest.raises(
            jitconv.CountMismatch, match=r"multiplies in bounds .* measured, but in"
        ):
            dataclasses.replace(report, passes=passes).verify()


def test_a_part_stands_beside_the_formula_that_it_equals():
    x, deep = np.ones((4, 8, 8)), np.ones((128, 1, 3, 3))
    report = jitconv.depthwise_separable_conv2d(
        x, deep, np.ones((3, 128)), padding=1, method="tiled"
    ).report
    for part in report.passes:
        line = next(row for row in str(report).splitlines() if row.startswith(f"  {part.name} "))
        assert line.split(" = ")[-1] == f"{part.multiplies:,}"
