import pytest

from cnnboost.errors import DataError
from cnnboost.report.drawing import save_figure
from cnnboost.report.mode_plot import plot_modes
from cnnboost.report.sections import Findings, report_page
from tests.report.legible import assert_legible, texts
from tests.report.sections.html import Page


def scores(accuracy, log_loss):
    named = {"accuracy": accuracy, "log_loss": log_loss, "calibration_error": 0.02}
    return {"scores": {name: {"value": value, "interval": None} for name, value in named.items()}}


@pytest.fixture
def compared():
    """What `compare` writes, of two seeds and one mode."""
    against = {"difference": 0.01, "difference_interval": [0.002, 0.018], "p_value": 0.01}
    run = {
        "softmax": scores(0.57, 1.12),
        "calibrated": scores(0.57, 1.1),
        "modes": {
            "residual": {**scores(0.58, 1.08), "against_softmax": against, "log_loss_difference": -0.02}
        },
    }
    return {
        "split": "validation",
        "n": 3589,
        "layers": ["fc1"],
        "hybrid": {"tta": "flip"},
        "compare": {"networks": 1},
        "confidence": 0.95,
        "grown_on": "train",
        "chosen_on": "the other 4 of 5 folds of validation",
        "runs": [{"seed": 0, **run}, {"seed": 1, **run}],
        "summary": {
            "residual": {
                "accuracy": 0.58,
                "difference": 0.01,
                "lowest_difference": 0.01,
                "highest_difference": 0.01,
                "log_loss": 1.08,
                "log_loss_difference": -0.02,
                "median_p_value": 0.01,
                "verdict": "residual is better than the softmax by 1.00 percentage points",
            }
        },
    }


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


def test_the_figure_is_legible(compared):
    figure = plot_modes(compared)
    assert_legible(figure)
    assert any("2 seeds" in text for text in texts(figure))
    with pytest.raises(DataError, match="nothing to draw"):
        plot_modes({**compared, "runs": []})
