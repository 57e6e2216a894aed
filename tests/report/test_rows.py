"""The curve by images for a head, as the page shows it."""

from __future__ import annotations

import pytest

from cnnboost.errors import DataError
from cnnboost.report.recipe_page import Findings, report_page
from cnnboost.report.rows import plot_rows, rows_table, verdict_on_rows
from tests.report.test_sections import PNG


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
