from dataclasses import replace

import pytest

from cnnboost.report.published import Entry, overview_page
from cnnboost.report.recipe_page import report_page
from cnnboost.report.sections import OtherImages
from tests.report.html import PNG
from tests.report.test_scores import thresholds

MEASURE = """() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  return {
  inner: innerWidth, scroll: document.documentElement.scrollWidth,
  drawn: [...document.images]
    .map(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width > 0),
  outside: [...document.querySelectorAll("body *")]
    .filter(e => !e.closest(".scroll table") && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => e.tagName + "." + e.className),
  boxes: [...document.querySelectorAll(".scroll")]
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.getAttribute("aria-label"))}
}"""


@pytest.fixture
def measure(browser, tmp_path):
    """Return a function that lays a page out at a width and says what it measures."""

    def measure(text, width):
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 5000})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        found = page.evaluate(MEASURE)
        page.close()
        asked = [url for url in asked if not url.startswith(("data:", file.as_uri()))]
        return {**found, "asked": asked}

    return measure


@pytest.fixture
def everything(findings, search, overfit):
    """Findings with something in every section, and words too long for any line."""
    metrics = findings.metrics
    metrics["title"] = "A_title_of_one_word_" * 8
    metrics["cnn"]["scores"]["per_class"][0]["name"] = "a_class_of_one_long_word_" * 4
    metrics["cnn"]["auc"] = {"disgust": {"value": 0.9, "interval": [0.8, 0.95]}}
    metrics["cnn"]["thresholds"] = thresholds(0.5)
    search["trials"] *= 9
    for trial in search["trials"]:
        trial["values"] = {f"cnn.options.some_option_{i}": 0.0001234 * i for i in range(7)}
    search["figures"] = [{"file": "study-trees-trials.png", "title": "Each trial"}]
    return replace(
        findings,
        figures={**findings.figures, "study-trees-trials.png": PNG},
        searches={"study-trees.json": search},
        overfit=overfit,
        others=[OtherImages("photos_of_one_long_word_" * 5, findings.metrics, {"confusion-cnn.png": PNG})],
    )


@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_every_figure_is_drawn_and_nothing_overflows(measure, everything, width):
    found = measure(report_page(everything), width)
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert found["outside"] == []
    assert found["drawn"] == [True] * (8 + 12 + 1 + 1)
    assert found["asked"] == []


def test_the_tables_of_a_recipe_need_no_scrolling_on_a_wide_screen(measure, findings, search):
    found = measure(report_page(replace(findings, searches={"study-trees.json": search})), 1400)
    assert found["boxes"] == []


@pytest.mark.parametrize("width", [400, 1000])
def test_the_table_over_all_recipes_needs_no_scrolling(measure, findings, width):
    found = measure(overview_page([Entry(findings.metrics, "oslo/index.html", "word" * 100)]), width)
    assert (found["inner"], found["scroll"] <= width) == (width, True)
    assert (found["outside"], found["boxes"]) == ([], [])


def test_the_measurement_sees_a_page_that_overflows_and_loads(measure):
    found = measure(
        "<html><body><div style='width:900px'>x</div><img src='http://127.0.0.1:9/x'>"
        "<div class='scroll' aria-label='wide' style='width:99px;overflow:auto'>"
        "<p style='width:200px'>y</p></div></body></html>",
        400,
    )
    assert found["scroll"] > 400
    assert found["outside"] == ["DIV."]
    assert found["boxes"] == ["wide"]
    assert found["drawn"] == [False]
    assert found["asked"] == ["http://127.0.0.1:9/x"]
