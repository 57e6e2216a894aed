"""Published scores beside own ones."""

from __future__ import annotations

import pytest

from cnnboost.config.published import PUBLISHED_SCORES
from cnnboost.report.published import Entry, beside_published, overview_page
from tests.report.html import Page


@pytest.fixture
def two_classes(findings):
    """Return scores of two classes, as `evaluate` writes them."""
    metrics = findings.metrics
    metrics["heads"], metrics["classes"] = [], ["not happy", "happy"]
    own = iter(range(10, 90, 5))

    def estimate():
        value = next(own) / 100
        return {"value": value, "interval": [value - 0.02, value + 0.02]}

    scores = metrics["cnn"]["scores"]
    scores |= {name: estimate() for name in ("accuracy", "macro_f1", "average_class_accuracy")}
    scores["per_class"] = [
        {"name": name, "support": 9, **{key: estimate() for key in ("precision", "recall", "f1")}}
        for name in metrics["classes"]
    ]
    metrics["cnn"]["auc"] = {name: estimate() for name in metrics["classes"]}
    metrics["cnn"]["thresholds"] = {
        "positive": "happy", "average_precision": estimate(), "best": {"threshold": 0.3, "f1": estimate()},
        "sweep": [],
    }  # fmt: skip
    return metrics


def test_every_score_that_may_be_published_finds_its_own(two_classes):
    two_classes["published"] = {
        "source": "A study", "cnn": 0.5, "layers": {}, "scores": dict.fromkeys(PUBLISHED_SCORES, 0.5)
    }  # fmt: skip
    cnn, happy = two_classes["cnn"], two_classes["cnn"]["scores"]["per_class"][1]
    own = {
        "accuracy": cnn["scores"]["accuracy"],
        "macro F1": cnn["scores"]["macro_f1"],
        "average class accuracy": cnn["scores"]["average_class_accuracy"],
        "precision of happy": happy["precision"],
        "recall of happy": happy["recall"],
        "F1 of happy": happy["f1"],
        "best F1 of happy over thresholds": cnn["thresholds"]["best"]["f1"],
        "average precision of happy": cnn["thresholds"]["average_precision"],
        "AUC of happy": cnn["auc"]["happy"],
    }
    rows = beside_published(two_classes)
    assert {row.score_name: {"value": row.value, "interval": row.interval} for row in rows} == own
    assert {(row.name, row.published) for row in rows} == {("CNN softmax", 0.5)}


@pytest.mark.parametrize(
    ("published", "place", "outside"),
    [
        (0.1, "below the interval", True),
        (0.2, "inside the interval", False),
        (0.3, "above the interval", True),
    ],
)
def test_a_row_says_where_the_published_score_lies(two_classes, published, place, outside):
    two_classes["published"] = {"source": "A study", "scores": {"average_class_accuracy": published}}
    accuracy, row = beside_published(two_classes)
    assert accuracy.published is None
    assert (row.value, row.place, row.outside) == (0.2, place, outside)
    assert row.difference == pytest.approx(0.2 - published)
    page = overview_page([Entry(two_classes)])
    assert f"{published:.1%}" in page
    assert "average class accuracy" in page


def test_older_scores_and_recipes_are_still_read(findings):
    older = findings.metrics
    for row in (older["cnn"], *older["heads"]):
        row.pop("auc", None), row.pop("thresholds", None)
    older["published"] = {"source": "A study", "scores": {"auc": 0.8, "macro_f1": 0.5}}
    names = [row.score_name for row in beside_published(older)]
    assert names == ["accuracy"] * (1 + len(older["heads"])) + ["macro F1"]
    del older["published"]
    assert {row.place for row in beside_published(older)} == {""}


def test_overview_has_a_row_for_every_head(findings):
    other = {**findings.metrics, "recipe": "other", "title": "Other", "published": None}
    page = Page(overview_page([Entry(findings.metrics, "oslo/index.html", "Because."), Entry(other)]))
    assert len(page.row("CNN softmax")) == 2
    (own, _) = page.row("XGBoost at fc1")
    assert own[1:4] == ["55.2%", "58.1% 56.5% to 59.7%", "+2.9 published lies below the interval"]
    assert own[4].startswith("no difference")
    assert "oslo, validation, 3,589 images" in page.text
    assert page.addresses == ["oslo/index.html"]
    assert "Because." in page.text
    assert "no reason is given yet" in overview_page([Entry(findings.metrics)])
