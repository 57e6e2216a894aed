import copy

import pytest

from cnnboost.errors import DataError
from cnnboost.report.sections import Findings, OtherImages, report_page
from tests.report.sections.html import PNG, Page


@pytest.fixture
def other(findings):
    """Scores of the CNN and one head on a folder of 20 photographs; no interval where none is defined."""
    metrics = copy.deepcopy({**findings.metrics, "heads": findings.metrics["heads"][1:2]})
    metrics |= {"source_name": "holiday photos", "split": "all", "published": None}
    for of in (metrics["cnn"], *metrics["heads"]):
        of["scores"]["n"] = 20
        of["scores"]["accuracy"] = {"value": 0.35, "interval": [0.18, 0.57]}
        of["scores"]["macro_f1"] = {"value": 0.22, "interval": None}
    return metrics


def test_each_classifier_has_a_row_for_each_folder(findings, other):
    again = {**other, "source_name": None}
    others = [OtherImages("holiday", other), OtherImages("street", again)]
    page = Page(report_page(Findings(findings.metrics, others=others)))
    assert page.row("holiday photos")
    assert page.row("street")
    for name, own in (("CNN softmax", "57.3%"), ("XGBoost at fc1", "58.1%")):
        rows = page.row(name, "20", "35.0% 18.0% to 57.0%", "22.0%")
        assert [row[-1] for row in rows] == [own, own]
    assert "CNN softmax" in page.text
    assert 'id="others"' not in report_page(findings)


def test_a_collapse_on_them_is_said_and_figures_are_shown(findings, other):
    other["cnn"]["collapsed"] = {"class": "happy", "share": 0.95}
    others = [OtherImages("holiday", other, {"confusion-cnn.png": PNG, "confusion-fc9.png": PNG})]
    text = report_page(Findings(findings.metrics, others=others))
    assert "holiday photos: CNN softmax calls 95.0% of them happy." in Page(text).text
    assert text.count("<img") == 1


def test_a_damaged_document_is_named(findings, other):
    del other["cnn"]["scores"]
    with pytest.raises(DataError, match=r"other/holiday/metrics\.json: no 'scores'"):
        report_page(Findings(findings.metrics, others=[OtherImages("holiday", other)]))
