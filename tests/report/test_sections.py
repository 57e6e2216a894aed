import copy

import pytest

from cnnboost.errors import DataError
from cnnboost.report.drawing import save_figure
from cnnboost.report.plots import plot_modes
from cnnboost.report.recipe_page import Findings, report_page
from cnnboost.report.sections import OtherImages
from tests.report.html import PNG, Page


def test_figures_that_no_score_belongs_to_are_left_out(findings):
    figures = {"confusion-fc9.png": PNG, "roc_rarest-class.png": PNG, "notes.txt": b"", "history.png": PNG}
    page = Page(report_page(Findings(findings.metrics, figures=figures)))
    assert page.tags.count("img") == 2
    assert "Roc rarest class" in page.text
    assert page.text.index("over the epochs") < page.text.index("Roc rarest class")
    assert "fc9" not in page.text


def test_figures_stand_in_groups_in_the_order_of_the_line(findings):
    stems = ["roc", "contact-sheet", "confusion-fc1", "class-accuracy", "history", "confusion-cnn", "my-own"]
    stems += ["class-distribution"]
    text = report_page(Findings(findings.metrics, figures={f"{stem}.png": PNG for stem in stems}))
    titles = [
        "Data and training", "Images per class and split", "over the epochs",
        "Confusion matrices", "Confusion matrix of the CNN<", "Confusion matrix of XGBoost at fc1<",
        "Class by class", "Share of each class that is recognised", "Receiver operating characteristic",
        "Others", "My own", "Examples of each class",
    ]  # fmt: skip
    after = text[text.index('id="figures"') :]
    places = [after.index(title) for title in titles]
    assert places == sorted(places)


def test_a_wide_figure_takes_the_whole_width(findings):
    wide = PNG[:16] + (1800).to_bytes(4, "big") + (900).to_bytes(4, "big") + PNG[24:]
    text = report_page(Findings(findings.metrics, figures={"history.png": wide, "roc.png": PNG}))
    assert text.count('class="wide"') == 1


def test_every_mode_stands_beside_the_softmax(findings, compared, tmp_path):
    picture = save_figure(plot_modes(compared), tmp_path / "compare.png").read_bytes()
    found = Findings(findings.metrics, compared=compared, figures={"compare.png": picture})
    html = report_page(found)
    page = Page(html)
    assert "residual is better than the softmax by 1.00 percentage points" in page.text
    assert "3,589 images of validation, 2 seeds, 1 trained network; layers fc1" in page.text
    assert "the other 4 of 5 folds of validation" in page.text
    (row,) = page.row("residual")
    assert row[1] == "58.00%"
    assert "\N{MINUS SIGN}0.020" in row
    assert html.count("Differences to the softmax, seed by seed</figcaption>") == 1


def test_facts_that_are_missing_are_named(findings, compared):
    del compared["runs"][0]["calibrated"]
    with pytest.raises(DataError, match=r"compare\.json.*calibrated"):
        report_page(Findings(findings.metrics, compared=compared))


def test_without_a_comparison_there_is_no_section(findings):
    assert "in every mode" not in report_page(findings)


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
