"""Sections: the run, the check for learning, figures, other images."""

import copy

import pytest

from cnnboost.errors import DataError
from cnnboost.report.recipe_page import Findings, report_page, warnings_of
from cnnboost.report.sections import OtherImages
from tests.report.html import PNG, Page


@pytest.mark.parametrize(
    ("changes", "said", "rows"),
    [
        (
            {},
            "It can: after 27 epochs, 1,054 steps of the optimiser, it knows all of 60 images by heart.",
            [
                ("Images", "20 happy, 40 sad"),
                ("Course of the loss", "2.25 after the first epoch, 0.125 after the last"),
                ("Switched off", "balance=True"),
            ],
        ),
        (
            {"learnt": False, "accuracy": 0.45, "symptoms": ["dropout of up to 0.9 is in force"]},
            "It cannot: after 27 epochs, 1,054 steps of the optimiser, it knows 45.0% of 60 images by heart. "
            "dropout of up to 0.9 is in force",
            [("Accuracy on them", "45.0%")],
        ),
        (
            {
                "learnt": False, "accuracy": None, "failure": "the loss is nan after epoch 1",
                "history": {"loss": [], "accuracy": []},
            },
            "It cannot: training on 60 images broke off after 27 epochs",
            [("Why it broke off", "the loss is nan after epoch 1"), ("Accuracy on them", "none")],
        ),
    ],
)  # fmt: skip
def test_whether_the_network_can_learn(findings, overfit, changes, said, rows):
    findings = Findings(findings.metrics, overfit=overfit | changes)
    page = Page(report_page(findings))
    assert said in page.text
    assert all(page.row(*row) for row in rows)
    warned = any("could not learn 60 images by heart" in warning for warning in warnings_of(findings))
    assert warned == bool(changes)


def test_figures_stand_in_groups_in_the_order_of_the_stages(findings):
    stems = ["roc", "contact-sheet", "confusion-fc1", "class-accuracy", "history", "confusion-cnn", "my-own"]
    stems += ["class-distribution", "a_rarest-class", "confusion-fc9"]
    text = report_page(Findings(findings.metrics, figures={f"{stem}.png": PNG for stem in stems}))
    titles = [
        "Data and training", "Images per class and split", "over the epochs",
        "Confusion matrices", "Confusion matrix of the CNN<", "Confusion matrix of XGBoost at fc1<",
        "Class by class", "Share of each class that is recognised", "Receiver operating characteristic",
        "Others", "A rarest class", "My own", "Examples of each class",
    ]  # fmt: skip
    after = text[text.index('id="figures"') :]
    places = [after.index(title) for title in titles]
    assert places == sorted(places)
    assert text.count("<img") == len(stems) - 1
    assert "fc9" not in text  # no score belongs to it


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
    again = {
        **other,
        "source_name": None,
        "cnn": {**other["cnn"], "collapsed": {"class": "x", "share": 0.95}},
    }
    figures = {"confusion-cnn.png": PNG, "confusion-fc9.png": PNG}
    others = [OtherImages("holiday", other, figures), OtherImages("street", again)]
    text = report_page(Findings(findings.metrics, others=others))
    page = Page(text)
    assert page.row("holiday photos")
    assert page.row("street")
    for name, own in (("CNN softmax", "57.3%"), ("XGBoost at fc1", "58.1%")):
        rows = page.row(name, "20", "35.0% 18.0% to 57.0%", "22.0%")
        assert [row[-1] for row in rows] == [own, own]
    assert "street: CNN softmax calls 95.0% of them x." in page.text
    assert text.count("<img") == 1


def test_what_was_not_made_has_no_section(findings):
    text = report_page(Findings(findings.metrics))
    assert not [
        name for name in ("others", "modes", "overfit", "searches", "latency") if f'id="{name}"' in text
    ]
    assert "was not audited" in text


@pytest.mark.parametrize("key", ["images", "history", "symptoms"])
def test_a_damaged_check_is_named(findings, overfit, key):
    del overfit[key]
    with pytest.raises(DataError, match=f"overfit.json: no '{key}'"):
        report_page(Findings(findings.metrics, overfit=overfit))


def test_a_damaged_comparison_or_score_is_named(findings, compared, other):
    del compared["runs"][0]["calibrated"]
    with pytest.raises(DataError, match=r"compare\.json.*calibrated"):
        report_page(Findings(findings.metrics, compared=compared))
    del other["cnn"]["scores"]
    with pytest.raises(DataError, match=r"other/holiday/metrics\.json: no 'scores'"):
        report_page(Findings(findings.metrics, others=[OtherImages("holiday", other)]))
