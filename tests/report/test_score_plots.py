"""Figures of scores: what they show, and that it can be read."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.metrics.curves import precision_recall, roc, thresholds
from cnnboost.metrics.scores import score
from cnnboost.report.score_plots import (
    plot_class_accuracy,
    plot_confusion,
    plot_precision_recall,
    plot_roc,
    plot_threshold_sweep,
)
from tests.report.legible import assert_legible, texts

LONG = "XGBoost at global_average_pooling"
NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def per_class(k, seed, names=None):
    rng = np.random.default_rng(seed)
    names = names or (NAMES if k == 7 else [f"class {i}" for i in range(k)])
    y = rng.integers(0, k, 60 * k)
    p = rng.dirichlet(np.ones(k), len(y)) + np.eye(k)[y]
    return score(y, p / 2, names, n_resamples=5).to_dict()["per_class"]


def test_confusion_shows_percent_of_the_true_class_and_counts():
    matrix = np.array([[30, 10], [0, 1200]])
    figure = plot_confusion(matrix, ["angry", "happy"], title="XGBoost at fc1")
    labels = {"XGBoost at fc1", "angry (40)", "happy (1,200)", "predicted class"}
    assert {"75\n30", "25\n10", "100\n1,200", "0\n0"} | labels <= set(texts(figure))
    assert np.asarray(figure.axes[0].images[0].get_array()).tolist() == [[75, 25], [0, 100]]


@pytest.mark.parametrize("k", [2, 7, 10, 25, 40])
def test_confusion_stays_legible(k):
    matrix = np.random.default_rng(0).integers(0, 900, (k, k))
    names = NAMES if k == 7 else [f"class {i}" for i in range(k)]
    assert_legible(plot_confusion(matrix, names, title="XGBoost at fc1, validation"))


def test_confusion_of_a_class_without_images_has_no_shares():
    figure = plot_confusion([[1, 1], [0, 0]], ["a", "b"])
    assert texts(figure).count("-") == 2


@pytest.mark.parametrize("matrix", [[[1]], [[1, 2, 3]] * 2, [[1, -1], [0, 1]]])
def test_confusion_must_fit_the_classes(matrix):
    with pytest.raises(DataError, match="2 classes has 2 x 2 counts"):
        plot_confusion(matrix, ["a", "b"])


@pytest.mark.parametrize("k", [2, 7, 25])
def test_class_accuracy_stays_legible(k):
    scored = {"CNN softmax": per_class(k, 0), "XGBoost at flatten": per_class(k, 0)}
    for row in (row for rows in scored.values() for row in rows):
        row["support"] *= 1000  # long labels
    assert_legible(plot_class_accuracy(scored, title="Accuracy of each class, validation"))


def test_class_accuracy_shows_every_value_and_its_interval():
    first, second = per_class(7, 0), per_class(7, 0)
    for i, row in enumerate(second):
        row["recall"] = {"value": i / 10, "interval": [i / 20, (i + 1) / 10]}
    figure = plot_class_accuracy({"CNN": first, "XGBoost at fc1": second}, confidence=0.9)
    for found, rows in zip(figure.axes[0].containers, (first, second), strict=True):
        dots, _, (bars,) = found
        assert list(dots.get_xdata()) == pytest.approx([100 * row["recall"]["value"] for row in rows])
        drawn = [segment[:, 0] / 100 for segment in bars.get_segments()]
        np.testing.assert_allclose(drawn, [row["recall"]["interval"] for row in rows])
    said = texts(figure)
    assert {f"{100 * row['recall']['value']:.0f}" for row in first} <= set(said)
    assert {f"{row['name']} ({row['support']:,})" for row in first} <= set(said)
    assert {"CNN", "XGBoost at fc1", "images of the class that are recognised, %; bars: 90% interval"} <= set(
        said
    )


def test_classifiers_are_told_apart_without_colour():
    figure = plot_class_accuracy({name: per_class(2, 0) for name in "abcd"})
    marks = [
        (dots.get_marker(), dots.get_markerfacecolor() == "white") for dots, *_ in figure.axes[0].containers
    ]
    assert len(set(marks)) == 4
    heights = [tuple(dots.get_ydata()) for dots, *_ in figure.axes[0].containers]
    assert len(set(heights)) == 4  # beside each other, none on another


def test_a_class_without_images_has_a_name_and_no_mark():
    rows = per_class(3, 0)
    rows[1] |= {"support": 0, "recall": {"value": 0.0, "interval": None}}
    figure = plot_class_accuracy({"CNN": rows})
    assert len(figure.axes[0].containers[0][0].get_xdata()) == 2
    assert "class 1 (0)" in texts(figure)
    assert_legible(figure)


@pytest.mark.parametrize(
    ("scored", "says"),
    [
        ({}, "got 0"),
        ({"CNN": []}, "with 0"),
        ({name: per_class(2, 0) for name in "abcde"}, "got 5"),
        (
            {"CNN": per_class(2, 0), "head": per_class(2, 0, ["sad", "happy"])},
            "CNN, head are scored on different",
        ),
    ],
)
def test_class_accuracy_of_nothing_or_of_unlike_things_is_refused(scored, says):
    with pytest.raises(DataError, match=says):
        plot_class_accuracy(scored)


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
        name: thresholds(*made_up(skill), ["sad", "happy"], "happy", n_resamples=20)
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
        for axes in figure.axes:
            drawn = lines(axes)[name]
            np.testing.assert_array_equal(drawn.get_xdata(), curve.x)
            np.testing.assert_array_equal(drawn.get_ydata(), curve.y)
    assert list(lines(figure.axes[0])["Chance level (AUC = 0.5)"].get_xdata()) == [0, 1]
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
