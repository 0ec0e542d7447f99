"""The stepper in a real browser: it plays to the report's counts, by mouse, keyboard and touch."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from jitconv import gradients
from jitconv.plots import show_family, show_options, show_steps
from jitconv.tracing import TRACED
from jitconv.variants import VARIANTS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, NAMES)), None)
if BROWSER is None:
    pytest.skip(f"none of {', '.join(NAMES)} is installed", allow_module_level=True)

pytestmark = pytest.mark.slow
X = np.arange(16.0).reshape(1, 4, 4)
KERNEL = np.array([[[[1.0, 2.0], [0.0, -1.0]]]])
CALLS = {name: (variant.small_call(), dict(variant.options)) for name, variant in VARIANTS.items()}
CALLS |= {
    f"{part} gradient": ([np.ones((1, 5, 5)), X, KERNEL], {"padding": 1})
    for part in ("input", "weight")
}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open a page; at the end nothing has left it, and nothing went wrong."""
    pages, wrong = [], []

    def opened(content, **options):
        path = Path(tmp_path) / "page.html"
        path.write_text(f"<!doctype html><title>steps</title>{content}", encoding="utf8")
        page = browser.new_page(**options)
        page.set_default_timeout(5_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda request: request.url == path.as_uri() or wrong.append(request.url)
        )
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert wrong == []


def counts(page):
    """What the counters say: done and of how many, in all and on padding."""
    rows = page.locator(".counters span").all_text_contents()
    all_, padding = rows[0], next(row for row in rows if row.startswith("on padding"))
    return all_.removeprefix("multiplies "), padding.removeprefix("on padding ")


def texts(page, panel):
    return page.locator(
        f"figure:has(figcaption:text-is('{panel}')) .cell > text:first-of-type"
    ).all_text_contents()


def test_a_tile_of_winograds_method(show):
    x, weight = np.arange(36.0).reshape(1, 6, 6), np.arange(9.0).reshape(1, 1, 3, 3)
    page = show(show_steps("standard", x, weight, method="winograd"))
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert counts(page) == ("267 of 267 ✓", "0 of 0 ✓")
    y = np.asarray(VARIANTS["standard"].function(x, weight)).ravel()
    found = texts(page, "output y: and rows")
    assert [float(text) for text in found] == pytest.approx(y, rel=0.01)
    page.locator("figure:has(figcaption:text-is('output y: and rows')) .cell").first.hover()
    assert lit(page, "input x, a tile") == lit(page, "products V · U") == 36


@pytest.mark.parametrize("variant", CALLS)
def test_it_plays_to_the_counts_of_the_report(show, variant):
    arrays, options = CALLS[variant]
    page = show(show_steps(variant, *arrays, **options))
    page.clock.install()
    page.get_by_label("speed").select_option("fast")
    page.get_by_role("button", name="play").click()
    page.clock.run_for(120 * 400)
    report = TRACED[variant].function(*arrays, **options, method="direct").report
    done, padded = f"{report.multiplies:,}", f"{report.multiplies_on_padding:,}"
    assert counts(page) == (f"{done} of {done} ✓", f"{padded} of {padded} ✓")
    assert page.get_by_role("button", name="play").count() == 1, "it has stopped"


def test_the_output_fills_with_the_right_numbers(show):
    page = show(show_steps("standard", X, KERNEL))
    assert texts(page, "output y") == [""] * 9
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    y = np.asarray(VARIANTS["standard"].function(X, KERNEL)).ravel()
    assert texts(page, "output y") == [f"{value:g}".replace("-", "−") for value in y]


def test_the_keyboard_alone_is_enough(show):
    page = show(show_steps("separable", X, [1.0, 2.0], [3.0, 4.0]))
    page.keyboard.press("Tab")
    position = page.locator("input[type=range]")
    for key, at in (
        *(("ArrowRight", 1), ("Shift+ArrowRight", 2), ("Shift+ArrowRight", 4), ("ArrowLeft", 3)),
        *(("PageDown", 24), ("PageDown", 42), ("PageUp", 24), ("Home", 0), ("End", 42)),
    ):
        page.keyboard.press(key)
        assert position.input_value() == str(at), key
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    assert page.get_by_role("button", name="pause").count() == 1
    page.keyboard.press("Space")
    page.keyboard.press("Tab")  # to the first panel
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert (
        page.locator("[aria-live]")
        .text_content()
        .startswith("x[0, 0, 1] is 1; meets column pass[0, 0, 1]; ")
    )


def test_the_slider_and_the_buttons(show):
    page = show(show_steps("standard", X, KERNEL))
    page.locator("input[type=range]").fill("7")
    assert counts(page)[0] == "7 of 36"
    page.get_by_role("combobox", name="step by").select_option("output")
    page.get_by_label("on (right arrow)").click()
    assert counts(page)[0] == "8 of 36"
    page.get_by_label("back (left arrow)").click()
    assert counts(page)[0] == "4 of 36"
    assert page.locator(".sum").inner_text().startswith("y[0, 0, 0] = 0·1 + 1·2 + 4·0 + 5·(−1)")
    page.get_by_label("order").select_option("as the loops run")
    assert page.locator(".sum").inner_text() == "y[0, 0, 0] = 0·1 + 1·2 = 2"
    page.get_by_label("to the end (End)").click()
    assert page.get_by_label("on (right arrow)").get_attribute("aria-disabled") == "true"


def lit(page, panel):
    return page.locator(f"figure:has(figcaption:text-is('{panel}')) .cell.lit").count()


@pytest.mark.parametrize("touch", [False, True])
def test_pointing_lights_what_meets(show, touch):
    page = show(show_steps("standard", X, KERNEL), has_touch=touch)

    def point(panel, number):
        cell = page.locator(f"figure:has(figcaption:text-is('{panel}')) .cell").nth(number)
        cell.tap() if touch else cell.hover()

    point("output y", 4)
    assert (lit(page, "input x"), lit(page, "kernel weight"), lit(page, "output y")) == (4, 4, 0)
    point("input x", 5)
    assert (lit(page, "input x"), lit(page, "output y")) == (0, 4)
    point("kernel weight", 3)
    assert (lit(page, "input x"), lit(page, "output y")) == (9, 9)


def test_an_output_is_followed_through_both_passes(show):
    page = show(show_steps("separable", X, [1.0, 2.0], [3.0, 4.0]))
    page.locator("figure:has(figcaption:text-is('output y')) .cell").first.hover()
    assert (lit(page, "column pass"), lit(page, "input x")) == (2, 4)


def test_the_line_that_runs_is_marked_with_its_variables(show):
    page = show(show_steps("standard", X, KERNEL))
    page.keyboard.press("Tab")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.locator(".line.now").inner_text().strip() == "out[ow] += row[iw] * w"
    assert {"kh = 1", "kw = 1", "ow = 0"} <= {
        word.replace("\xa0", " ") for word in page.locator(".variables span").all_text_contents()
    }


def test_predictions_are_checked(show):
    page = show(show_steps("standard", X, KERNEL, ask=True))
    question, entry = page.locator(".ask [role=status]"), page.get_by_label("your number")
    page.get_by_role("button", name="ask me").click()
    assert "What is y[0, 0, 0] after x[0, 0, 0] · weight[0, 0, 0, 0]?" in question.inner_text()
    entry.fill("3")
    entry.press("Enter")
    assert "3 is not it: 0·1 = ?" in question.inner_text()
    assert counts(page)[0] == "0 of 36"
    entry.fill("0")
    entry.press("Enter")
    assert "Right: y[0, 0, 0] = 0." in question.inner_text()
    assert "0 of 1 right at first try" in question.inner_text()
    assert counts(page)[0] == "1 of 36"
    page.get_by_label("Predict").select_option("the place")
    page.get_by_role("button", name="ask me").click()
    inputs = page.locator("figure:has(figcaption:text-is('input x')) .cell")
    inputs.nth(4).click()
    assert "Not x[0, 1, 0]. See where" in question.inner_text()
    page.get_by_role("button", name="show it").click()
    assert "It is x[0, 0, 1]." in question.inner_text()
    inputs.nth(4).click()
    assert "Right: x[0, 1, 0]. " in question.inner_text()
    assert counts(page)[0] == "3 of 36"


def test_what_is_not_shown_yet_cannot_be_reached(show):
    page = show(show_steps("standard", X, KERNEL, ask=True))
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    page.locator("input[type=range]").fill("20")
    assert counts(page)[0] == "0 of 36"


def test_predictions_come_to_an_end(show):
    page = show(show_steps("standard", X[:, :2, :3], KERNEL, ask=True))
    question, entry = page.locator(".ask [role=status]"), page.get_by_label("your number")
    page.get_by_role("combobox", name="step by").select_option("output")
    page.get_by_role("button", name="ask me").click()
    assert "What is y[0, 0, 0] after 4 more products?" in question.inner_text()
    for nonsense in ("", "abc", "1/2"):
        entry.fill(nonsense)
        entry.press("Enter")
        assert question.inner_text() == "Type a number."
    for number in ("−3", "-1,0"):
        entry.fill(number)
        entry.press("Enter")
    assert (
        question.inner_text() == "Right: y[0, 0, 1] = −1. That is all. 2 of 2 right at first try."
    )
    assert not entry.is_visible()
    assert counts(page)[0] == "8 of 8 ✓"


def test_another_order_asks_anew(show):
    page = show(show_steps("standard", X, KERNEL, ask=True))
    page.get_by_role("combobox", name="step by").select_option("output")
    page.get_by_role("button", name="ask me").click()
    page.get_by_role("button", name="show it").click()
    assert counts(page)[0] == "4 of 36"
    page.get_by_role("combobox", name="order").select_option("as the loops run")
    assert counts(page)[0] == "0 of 36"
    assert page.locator(".ask [role=status]").inner_text() == "Say what comes before it is shown."


def test_the_focus_stays_at_the_end(show):
    page = show(show_steps("standard", X, KERNEL))
    page.get_by_label("to the end (End)").press("Enter")
    page.keyboard.press("ArrowLeft")
    assert counts(page)[0] == "35 of 36"


def test_space_folds_the_loops(show):
    page = show(show_steps("standard", X, KERNEL))
    page.locator(".code summary").press(" ")
    assert not page.locator("pre").is_visible()
    assert page.get_by_role("button", name="pause").count() == 0


def test_a_corner_beyond_the_image_is_a_cell_of_the_ring(show):
    offset = np.full((2, 1, 1), -0.5)
    page = show(show_steps("deformable", X[:, :1, :1] + 2, offset, [[[[1.0]]]]))
    page.locator("input[type=range]").fill("5")
    now = page.locator("figure:has(figcaption:text-is('input x')) .cell.now")
    assert now.get_attribute("data-cell") == "0"
    assert "the tap looks at row −0.5, column −0.5" not in page.locator(".sum").inner_text()
    page.locator("input[type=range]").fill("1")
    assert "the tap looks at row −0.5, column −0.5" in page.locator(".sum").inner_text()


def test_several_steppers_of_a_page_are_their_own(show):
    page = show(show_steps("standard", X, KERNEL) + show_steps("pointwise", X, KERNEL[..., :1, :1]))
    page.get_by_label("to the end (End)").last.click()
    assert page.locator(".counters b").first.inner_text() == "0"
    assert page.locator("h4").all_text_contents() == [
        "standard convolution",
        "pointwise convolution",
    ]


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_a_page_is_never_wider_than_its_screen(show, width):
    for variant in ("deformable", "depthwise separable", "grouped"):
        arrays, options = CALLS[variant]
        page = show(
            show_steps(variant, *arrays, **options), viewport={"width": width, "height": 700}
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(show, scheme):
    """A contrast of 4.5 and more, as WCAG asks of text."""
    style = "<style>:root { color-scheme: light dark }</style>"
    page = show(style + show_steps("separable", X, [1.0, 2.0], [3.0, 4.0]), color_scheme=scheme)
    page.locator("input[type=range]").fill("20")
    for selector in (
        "h4",
        "figcaption",
        ".counters small",
        ".line .k",
        ".line .c",
        ".line .n",
        ".block span",
        ".sum",
    ):
        texts = page.locator(selector)
        for number in range(min(4, texts.count())):
            inks = texts.nth(number).evaluate(
                """element => {
                    const paper = (node) => {
                        for (; node; node = node.parentElement) {
                            const colour = getComputedStyle(node).backgroundColor;
                            if (!/, 0\\)$|transparent/.test(colour)) return colour;
                        }
                    };
                    return [getComputedStyle(element).color, paper(element)];
                }"""
            )
            assert contrast(*inks) >= 4.5, (selector, inks)


def contrast(*colours):
    """How much lighter one of two colours is than the other, by the formula of WCAG 2."""
    lights = []
    for colour in colours:
        parts = [
            float(c) for c in colour.partition("(")[2].rstrip(")").replace(",", " ").split()[:3]
        ]
        parts = [c / 255 for c in parts]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)


def test_nothing_plays_by_itself_where_less_motion_is_wanted(show):
    playing = show_steps("standard", X, KERNEL).replace("data-by=", "data-play data-by=")
    assert show(playing, reduced_motion="reduce").get_by_role("button", name="pause").count() == 0
    assert show(playing).get_by_role("button", name="pause").count() == 1


def test_gradients_show_what_they_give(show):
    dy, expected = np.ones((1, 3, 3)), gradients.conv2d(np.ones((1, 3, 3)), X, KERNEL)[0]
    page = show(show_steps("weight gradient", dy, X, KERNEL))
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert texts(page, "dweight") == [f"{value:g}" for value in expected.weight.ravel()]


def test_one_slider_moves_the_family(show):
    page = show(show_family(), viewport={"width": 390, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("share of the steps").fill("1000")
    found = page.locator(".jitconv-stepper .counters div:first-child span").all_inner_texts()
    counted = [
        VARIANTS[name].function(*arrays, **options, method="direct").report.multiplies
        for name, (arrays, options) in CALLS.items()
        if name in VARIANTS
    ]
    assert found == [f"multiplies {count} of {count} ✓" for count in counted]


def test_options_are_chosen_and_their_formula_follows(show):
    page = show(show_options())
    assert "2·2·9·2·2" in page.locator(".counters").inner_text()
    for name, value in {"dilation": "2", "padding": "1", "groups": "2", "stride": "2"}.items():
        page.get_by_role("combobox", name=name).select_option(value)
    assert "2·(2/2)·9·1·1" in page.locator(".counters").inner_text()
    page.get_by_label("to the end (End)").click()
    assert counts(page) == ("18 of 18 ✓", "10 of 10 ✓")
    page.get_by_role("combobox", name="padding").select_option("0")
    assert "reaches over 5 = 2·(3 − 1) + 1 pixels" in page.locator(".refused").inner_text()
    assert not page.locator(".stage").is_visible()


def test_numbers_of_cells_are_true_and_fit(show):
    x = np.array([[[1234567, 123456, 1e12], [-123456.5, -0.0585, 0.00123], [7, 1e-9, 1234]]])
    page = show(show_steps("standard", x, [[[[1.0]]]]))
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    shown = ["1.23e6", "123456", "1e12", "−1.2e5", "−0.059", "0.0012", "7", "1e−9", "1234"]
    assert texts(page, "input x") == texts(page, "output y") == shown
    wide = "all => all.map(e => e.getBBox().width - e.parentNode.querySelector('rect').width.baseVal.value)"
    for other in (page, show(show_steps("standard", X + 996, KERNEL))):
        assert max(other.locator(".cell > text:first-of-type").evaluate_all(wide)) < -2


def test_a_step_is_said_also_while_a_cell_is_chosen(show):
    page = show(show_steps("standard", X, KERNEL))
    page.locator("figure:has(figcaption:text-is('input x')) .cell").nth(5).click()
    said = page.locator("[aria-live]")
    assert said.text_content().startswith("x[0, 1, 1] is 5; meets ")
    page.get_by_label("on (right arrow)").click()
    assert said.text_content().startswith("1 of 36: y[0, 0, 0] plus 0 times 1 is 0")


def test_badges_of_what_has_landed_stay_in_their_cells(show):
    page = show(show_steps("transposed", X[:, :3, :3] + 90, np.ones((1, 1, 3, 3))))
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    inside = "all => all.every(e => e.getBBox().x >= 0 && e.getBBox().x + e.getBBox().width <= 32)"
    assert page.locator(".landed").evaluate_all(inside)
    page.locator(".legend summary").click()
    assert "×2 in the corner of an output" in page.locator(".legend").inner_text()
