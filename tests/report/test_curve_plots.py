"""ROC, precision against recall and the sweep of thresholds: what they show, and that it can be read."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.metrics.curves import precision_recall, roc
from cnnboost.metrics.thresholds import thresholds
from cnnboost.report.curve_plots import plot_precision_recall, plot_roc, plot_threshold_sweep
from tests.report.legible import assert_legible, texts

LONG = "XGBoost at global_average_pooling"


def made_up(skill, k=2):
    rng = np.random.default_rng(0)
    y = rng.integers(0, k, 300)
    p = np.exp(rng.normal(size=(300, k)) + skill * np.eye(k)[y])
    return y, p / p.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def areas():
    return {
        name: roc(*made_up(skill), ["sad", "happy"], "happy") for name, skill in (("CNN", 0.5), (LONG, 2))
    }


@pytest.fixture(scope="module")
def precisions():
    return {
        name: precision_recall(*made_up(skill), ["sad", "happy"], "happy")
        for name, skill in (("CNN", 0.5), (LONG, 2))
    }


@pytest.fixture(scope="module")
def chosen():
    return {
        name: thresholds(*made_up(skill), ["sad", "happy"], "happy", n_resamples=20).to_dict()
        for name, skill in (("CNN", 0.5), (LONG, 2))
    }


def lines(axes):
    return {line.get_label().split(":")[0]: line for line in axes.lines}


def test_roc_shows_each_curve_with_its_area_and_chance(areas):
    figure = plot_roc({"disgust (5 images)": areas, "happy (9 images)": areas}, confidence=0.9)
    said = texts(figure)
    assert {"disgust (5 images)", "happy (9 images)", "in brackets: the 90% interval"} <= set(said)
    for name, curve in areas.items():
        low, high = curve.area.interval
        assert said.count(f"{name}: AUC {curve.area.value:.3f} ({low:.3f} to {high:.3f})") == 2
        for axes in figure.axes[:2]:
            drawn = lines(axes)[name]
            np.testing.assert_array_equal(drawn.get_xdata(), curve.x)
            np.testing.assert_array_equal(drawn.get_ydata(), curve.y)
    assert list(lines(figure.axes[0])["chance"].get_xdata()) == [0, 1]
    assert len({lines(figure.axes[0])[name].get_linestyle() for name in areas}) == 2  # also in a grey print
    assert_legible(figure)


def test_one_panel_is_as_legible_as_two(areas):
    assert_legible(plot_roc({"happy (9 images)": areas}, title="ROC, validation"))
    four = {f"{LONG} {i}": curve for i, curve in enumerate([*areas.values()] * 2)}
    assert_legible(plot_roc({"happy": four}))


def test_precision_against_recall_marks_the_best_f1_and_says_that_it_is_optimistic(precisions, chosen):
    best = {name: of["best"] for name, of in chosen.items()}
    figure = plot_precision_recall(precisions, best, positive="happy", share=0.25)
    drawn, said = figure.axes[0].lines, texts(figure)
    for name, curve in precisions.items():
        of = [line for line in drawn if line.get_label().startswith(f"{name}:")]
        np.testing.assert_array_equal(of[0].get_xdata(), curve.x)
        np.testing.assert_array_equal(of[0].get_ydata(), curve.y)
        assert (of[1].get_xdata()[0], of[1].get_ydata()[0]) == (best[name]["recall"], best[name]["precision"])
        assert any(text.startswith(f"{name}: average precision {curve.area.value:.3f} (") for text in said)
        where = f"{best[name]['f1']['value']:.3f}, at threshold {best[name]['threshold']:.3f}"
        assert f"{name}: best F1 {where}" in said
    assert "all called happy: 0.250" in said
    assert any("optimistic" in text for text in said)
    assert_legible(figure)


def test_the_sweep_shows_five_scores_of_each_classifier(chosen):
    figure = plot_threshold_sweep({name: of["sweep"] for name, of in chosen.items()}, positive="happy")
    for axes, (name, of) in zip(figure.axes, chosen.items(), strict=True):
        assert axes.get_title() == name
        assert [line.get_label() for line in axes.lines] == [
            "accuracy", "average class accuracy", "precision", "recall", "F1"
        ]  # fmt: skip
        assert len({line.get_marker() for line in axes.lines}) == 5
        assert list(axes.lines[4].get_ydata()) == pytest.approx([100 * row["f1"] for row in of["sweep"]])
        assert list(axes.lines[0].get_xdata()) == [row["threshold"] for row in of["sweep"]]
    assert any("optimistic" in text for text in texts(figure))
    assert_legible(figure)
    assert_legible(
        plot_threshold_sweep({"CNN": chosen["CNN"]["sweep"]}, positive="a rather long name of a class")
    )


def test_names_of_classes_are_no_formulas(areas, precisions, chosen):
    best = {name: of["best"] for name, of in chosen.items()}
    bad = r"$\frac{$"
    for figure in (
        plot_roc({bad: areas}, title=bad),
        plot_precision_recall(precisions, best, positive=bad, share=0.5, title=bad),
        plot_threshold_sweep({"CNN": chosen["CNN"]["sweep"]}, positive=bad, title=bad),
    ):
        figure.draw_without_rendering()  # would fail as a formula


def test_nothing_and_too_much_are_refused(areas):
    with pytest.raises(DataError, match="no class has a ROC curve"):
        plot_roc({})
    with pytest.raises(DataError, match="got 5"):
        plot_roc({"happy": {str(i): areas["CNN"] for i in range(5)}})
    with pytest.raises(DataError, match="got 0"):
        plot_precision_recall({}, {}, positive="happy", share=0.5)
    with pytest.raises(DataError, match="got 0"):
        plot_threshold_sweep({}, positive="happy")
