import re

import pytest

from cnnboost.errors import DataError
from cnnboost.report.published import Entry, overview_page
from cnnboost.report.recipe_page import Findings, Mistake, report_page, warnings_of
from cnnboost.report.sections import OtherImages
from tests.report.html import HOSTILE, PNG, Page


def test_the_page_says_what_was_found(findings):
    page = Page(report_page(findings))
    assert page.tags.count("h1") == 1
    assert "On 3,589 images of validation the CNN is right on 57.3% (55.7% to 59.0%)" in page.text
    assert "the highest of 4 boosted heads, at fc1, on 58.1%" in page.text
    assert page.row("CNN softmax", "57.3% 55.7% to 59.0%")
    (flatten,) = page.row("flatten")
    minus = "\N{MINUS SIGN}"
    assert flatten[1:5] == ["57.3%", "54.9%", f"{minus}2.4 {minus}3.7 to {minus}1.1", "0.0015"]
    assert flatten[5].startswith("CNN is better than XGBoost at flatten by 2.40 percentage points")
    assert flatten[6:] == ["401", "315", "1,024", "20"]
    assert page.row("XGBoost at flatten", "53.5%", "54.9%", "53.3% to 56.6%", "+1.4", "inside the interval")
    assert page.row("XGBoost at fc1", "55.2%", "58.1%", "56.5% to 59.7%", "+2.9", "below the interval")
    assert "Oslo study, PublicTest and PrivateTest together" in page.text
    assert "Why they differ." in page.text
    assert page.row("Seeds", "data 0, cnn 0, boost 0, evaluate 0")
    assert page.row("cnn.options.filters", "[32, 64, 64]")
    assert page.row("angry", "3,995 13.9%", "467 13.0%")
    assert page.row("Contradicting labels", "47 groups of identical images")
    assert page.row("disgust", "56")
    assert page.row("CNN softmax", "55.00%", "5.12%", "0.00262", "50.00%", "60.00%")
    assert "labelled happy" in page.text


def test_head_only_rows_are_labelled(findings):
    page = Page(report_page(findings))
    rows = [row for path in ("head/dmatrix head only", "head/inplace head only") for row in page.row(path)]
    assert len(rows) == 2 * 2
    assert page.text.count("head only") == 1 + len(rows)
    assert len(page.row("hybrid/onnx", "0.0695")) == 1


def test_nothing_is_loaded_from_elsewhere(findings):
    text = report_page(findings)
    page = Page(text)
    assert page.tags.count("img") == len(findings.figures) + 12 == 8 + 12
    assert all(re.match(r"data:image/png;base64,|#\w+$", address) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "default-src 'none'; img-src data:" in text
    assert "url(" not in text
    assert "@import" not in text


def test_everything_is_escaped(findings, search, overfit):
    metrics = findings.metrics
    metrics["title"] = metrics["published"]["source"] = metrics["cnn"]["scores"]["per_class"][0]["name"] = (
        HOSTILE
    )
    metrics["heads"][0]["layer"] = metrics["recipe_facts"]["cnn"]["architecture"] = HOSTILE
    findings.audit["source"] = HOSTILE
    findings.latency["rows"][0]["path"] = HOSTILE
    search["title"] = search["trials"][2]["error"] = search["trials"][0]["values"]["boost.max_depth"] = (
        HOSTILE
    )
    search["set"] = {HOSTILE: [HOSTILE]}
    wild_overfit = {**overfit, "learnt": False, "failure": HOSTILE, "symptoms": [HOSTILE]}
    wild = Findings(
        metrics, findings.audit, findings.latency, findings.repeats, {f"{HOSTILE[:8]}.png": PNG}, HOSTILE,
        [Mistake(PNG, HOSTILE, HOSTILE, HOSTILE, 0.5)], HOSTILE, wild_overfit, {"search.json": search},
        [OtherImages(HOSTILE, metrics)],
    )  # fmt: skip
    for text in (report_page(wild), overview_page([Entry(metrics, "oslo/index.html", HOSTILE)])):
        page = Page(text)
        assert "script" not in page.tags
        assert not [address for address in page.addresses if "example.com" in address]
        assert HOSTILE in page.text


def test_warnings(findings):
    metrics = findings.metrics
    assert len(warnings_of(findings)) == 1
    assert "270 groups" in warnings_of(findings)[0]
    metrics["heads"][1]["collapsed"] = {"class": "happy", "share": 0.97}
    metrics["images_left_out"] = 3
    findings.audit["n_images"] += 1
    findings.latency["rows"][0]["accuracy"] = 0.2
    text = " ".join(warnings_of(findings))
    for words in ("XGBoost at fc1 calls 97.0% of the images happy", "3 images", "32,299", "another model"):
        assert words in text
    assert "calls 97.0%" in Page(report_page(findings)).text


def test_a_recipe_without_published_numbers(findings):
    page = Page(report_page(Findings({**findings.metrics, "published": None, "title": ""})))
    assert "Published" not in page.text
    assert "oslo" in page.text


def test_differences_want_a_reason(findings):
    assert "no reason is given yet" not in report_page(findings)
    assert "no reason is given yet" in report_page(Findings(findings.metrics))


def test_a_missing_fact_is_an_error_and_not_an_empty_cell(findings):
    del findings.metrics["heads"][0]["rounds"]
    with pytest.raises(DataError, match="rounds"):
        report_page(findings)
