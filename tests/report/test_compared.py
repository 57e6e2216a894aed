"""Heads against the softmax, and the curve by images for a head: page and figures."""

from __future__ import annotations

import pytest

from cnnboost.errors import DataError
from cnnboost.report.compared import plot_modes, plot_rows, rows_table, verdict_on_rows
from cnnboost.report.recipe_page import Findings, report_page
from tests.report.html import PNG, Page
from tests.report.legible import assert_legible, texts


def test_every_mode_stands_beside_the_softmax(findings, compared):
    html = report_page(Findings(findings.metrics, compared=compared, figures={"compare.png": PNG}))
    page = Page(html)
    assert "residual is better than the softmax by 1.00 percentage points" in page.text
    assert "3,589 images of validation, 2 seeds, 1 trained network; layers fc1" in page.text
    assert "the other 4 of 5 folds of validation" in page.text
    (row,) = page.row("residual", "58.00%")
    assert "\N{MINUS SIGN}0.020" in row
    assert html.count("Differences to the softmax, seed by seed</figcaption>") == html.count("<img") == 1


def test_trees_are_held_against_the_best_linear_head_too(findings, rivals):
    html = report_page(Findings(findings.metrics, compared=rivals, figures={"compare.png": PNG}))
    for words in (
        "residual is better than linear_svm by 0.50 percentage points",
        "linear_svm is better than the softmax",
        "against linear svm, points",
        "linear_svm has the lowest log-loss",
    ):
        assert words in html


def test_the_figure_of_modes_shows_every_seed(compared):
    figure = plot_modes(compared)
    accuracy, log_loss = figure.axes
    assert [line.get_xdata() for line, *_ in accuracy.containers] == [[1.0], [1.0]]
    assert [line.get_xdata()[0] for line in log_loss.lines[:2]] == [-0.02] * 2
    assert any("2 seeds" in text for text in texts(figure))
    assert_legible(figure)


def test_trees_and_other_heads_have_a_colour_of_their_own(rivals):
    figure = plot_modes(rivals)
    accuracy, _ = figure.axes
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["residual", "linear svm"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["trees of XGBoost", "linear"]
    drawn = [line.get_color() for line, *_ in accuracy.containers]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]
    assert_legible(figure)


@pytest.fixture
def curved(rivals):
    """A comparison with two points: trees gain from one to the next, the linear head does not."""

    def point(n, trees, linear):
        heads = {}
        for name, gain in (("residual", trees), ("linear_svm", linear)):
            interval = {"difference_interval": [gain - 0.01, gain + 0.01]}
            heads[name] = {
                "accuracy": 0.57 + gain,
                "log_loss": 1.1 - gain,
                "log_loss_difference": -gain,
                "difference": gain,
                "lowest_difference": gain - 0.002,
                "highest_difference": gain + 0.002,
                "median_p_value": 0.02,
                "draws": [{"seed": seed, "against_softmax": interval} for seed in (0, 1)],
            }
        against = {**heads["residual"], "difference": trees - linear}
        heads["residual"]["against_linear"] = against
        return {"n": n, "heads": heads}

    curve = {"points": [point(500, 0.002, 0.005), point(9570, 0.0125, 0.005)], "left_out": [20_000]}
    return {**rivals, "curve": curve}


def test_the_page_has_the_curve(findings, curved):
    html = report_page(Findings(findings.metrics, compared=curved, figures={"rows.png": PNG}))
    assert "9,570 images for each head" in html
    assert "+1.25" in html
    assert (
        "residual against linear svm, from 500 to 9,570 images for each head: -0.30 to +0.75 points" in html
    )
    assert "Left out, as there are not as many: 20,000." in html
    assert html.count("data:image/png") == 1


def test_a_comparison_without_a_curve_has_no_section_of_it(findings, rivals):
    assert "Gain by the images for a head" not in report_page(Findings(findings.metrics, compared=rivals))


def test_without_a_linear_head_there_is_nothing_to_hold_trees_against(curved):
    for point in curved["curve"]["points"]:
        del point["heads"]["linear_svm"], point["heads"]["residual"]["against_linear"]
    alone = {**curved, "best_linear": None}
    assert len(verdict_on_rows(alone)) == 1
    assert "its median p" not in [column.title for column in rows_table(alone).columns]


def test_the_figure_has_a_line_for_each_head(curved):
    figure = plot_rows(curved)
    left, right = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["residual", "linear svm"]
    assert [line.get_ydata().tolist() for line in right.lines[:2]] == [[0.002, 0.0125], [0.005, 0.005]]
    assert left.get_xscale() == "log"


def test_a_damaged_curve_is_named(findings, curved):
    del curved["curve"]["points"][0]["n"]
    with pytest.raises(DataError, match=r"compare\.json"):
        report_page(Findings(findings.metrics, compared=curved))
