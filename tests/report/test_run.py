import pytest

from cnnboost.errors import DataError
from cnnboost.report.recipe_page import Findings, report_page, warnings_of
from tests.report.html import Page


def test_a_network_that_learns(findings, overfit):
    found = Findings(findings.metrics, overfit=overfit)
    page = Page(report_page(found))
    assert "It can: after 27 epochs, 1,054 steps of the optimiser, it knows all of 60 images." in page.text
    assert page.row("Images", "20 happy, 40 sad")
    assert page.row("Course of the loss", "2.25 after the first epoch, 0.125 after the last")
    assert page.row("Switched off", "balance=True")
    assert not [warning for warning in warnings_of(found) if "by heart" in warning]


def test_a_network_that_does_not_learn(findings, overfit):
    overfit |= {"learnt": False, "accuracy": 0.45, "symptoms": ["dropout of up to 0.9 is in force"]}
    found = Findings(findings.metrics, overfit=overfit)
    page = Page(report_page(found))
    assert (
        "It cannot: after 27 epochs, 1,054 steps of the optimiser, it knows 45.0% of 60 images." in page.text
    )
    assert "dropout of up to 0.9 is in force" in page.text
    assert any("could not learn 60 images by heart" in warning for warning in warnings_of(found))


def test_a_training_that_broke_off(findings, overfit):
    overfit |= {"learnt": False, "accuracy": None, "failure": "the loss is nan after epoch 1"}
    overfit["history"] = {"loss": [], "accuracy": []}
    page = Page(report_page(Findings(findings.metrics, overfit=overfit)))
    assert "broke off" in page.text
    assert page.row("Why it broke off", "the loss is nan after epoch 1")
    assert page.row("Accuracy on them", "none")


def test_without_the_check_there_is_no_section(findings):
    assert "learn at all" not in report_page(findings)


@pytest.mark.parametrize("key", ["images", "history", "classes", "symptoms"])
def test_a_damaged_document_is_named(findings, overfit, key):
    del overfit[key]
    with pytest.raises(DataError, match=f"overfit.json: no '{key}'"):
        report_page(Findings(findings.metrics, overfit=overfit))
