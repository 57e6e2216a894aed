"""Figures of scores: what they show, and that it can be read."""

from __future__ import annotations

import numpy as np
import pytest

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
FORMULA = r"$\frac{$"  # drawing it as a formula would fail
TITLED = {"confidence": 0.9, "title": FORMULA}


def per_class(k, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, 60 * k)
    p = rng.dirichlet(np.ones(k), len(y)) + np.eye(k)[y]
    return score(y, p / 2, [f"class {i}" for i in range(k)], n_resamples=5).to_dict()["per_class"]


def test_confusion_shows_percent_of_the_true_class_and_counts():
    figure = plot_confusion([[30, 10, 0], [0, 1200, 0], [0, 0, 0]], ["angry", "happy", "sad"], title=LONG)
    labels = {LONG, "angry (40)", "happy (1,200)", "sad (0)", "predicted class"}
    assert {"75\n30", "25\n10", "100\n1,200", "0\n0", "-"} | labels <= set(texts(figure))
    shares = [[75, 25, 0], [0, 100, 0], [0, 0, 0]]
    assert np.asarray(figure.axes[0].images[0].get_array()).tolist() == shares


@pytest.mark.parametrize("k", [2, 10, 25, 40])
def test_confusion_stays_legible(k):
    matrix = np.random.default_rng(0).integers(0, 900, (k, k))
    assert_legible(plot_confusion(matrix, [f"class {i}" for i in range(k)], title="CNN, validation"))


@pytest.mark.parametrize("k", [2, 7, 25])
def test_class_accuracy_stays_legible(k):
    rows = [{**row, "support": 1000 * row["support"]} for row in per_class(k)]
    assert_legible(plot_class_accuracy({"CNN softmax": rows, LONG: rows}, **TITLED))


def test_class_accuracy_shows_every_value_and_its_interval():
    first, second = per_class(7), per_class(7)
    for i, row in enumerate(second):
        row["recall"] = {"value": i / 10, "interval": [i / 20, (i + 1) / 10]}
    second[1] |= {"support": 0, "recall": {"value": 0.0, "interval": None}}  # a name and no mark
    figure = plot_class_accuracy({"CNN": first, "XGBoost at fc1": second}, **TITLED)
    drawn = [container.lines for container in figure.axes[0].containers]
    for (dots, _, (bars,)), rows in zip(drawn, (first, second), strict=True):
        rows = [row for row in rows if row["support"]]
        assert list(dots.get_xdata()) == pytest.approx([100 * row["recall"]["value"] for row in rows])
        ends = [segment[:, 0] / 100 for segment in bars.get_segments()]
        np.testing.assert_allclose(ends, [row["recall"]["interval"] for row in rows], atol=1e-12)
    # Told apart without colour, and beside each other.
    assert len({(dots.get_marker(), dots.get_ydata()[0]) for dots, *_ in drawn}) == 2
    shown = set(texts(figure))
    assert {f"{100 * row['recall']['value']:.0f}" for row in first} <= shown
    assert {f"{row['name']} ({row['support']:,})" for row in first} <= shown
    label = "images of the class that are recognised, %; bars: 90% interval"
    assert {"CNN", "XGBoost at fc1", label} <= shown


@pytest.fixture(scope="module")
def drawn():
    """Return ROC curves, precision-recall curves and thresholds of two classifiers."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300) == 1
    noise = rng.normal(size=300)
    proba = {"CNN": 1 / (1 + np.exp(noise - 0.5 * y)), LONG: 1 / (1 + np.exp(noise - 2 * y))}
    return [
        {name: of(y, p, **options) for name, p in proba.items()}
        for of, options in ((roc, {}), (precision_recall, {}), (thresholds, {"n_resamples": 20}))
    ]


def lines(axes):
    return {line.get_label().split(":")[0]: line for line in reversed(axes.lines)}


def test_roc_shows_each_curve_with_its_area_and_chance(drawn):
    figure = plot_roc({"disgust (5 images)": drawn[0], FORMULA: drawn[0]}, **TITLED)
    shown = texts(figure)
    assert {"disgust (5 images)", "in brackets: the 90% interval"} <= set(shown)
    for name, curve in drawn[0].items():
        low, high = curve.area.interval
        assert shown.count(f"{name}: AUC {curve.area.value:.3f} ({low:.3f} to {high:.3f})") == 2
        for axes in figure.axes:
            line = lines(axes)[name]
            np.testing.assert_array_equal(line.get_xydata().T, [curve.x, curve.y])
    first = lines(figure.axes[0])
    assert list(first["Chance level (AUC = 0.5)"].get_xdata()) == [0, 1]
    assert len({first[name].get_linestyle() for name in drawn[0]}) == 2  # also in a grey print
    assert_legible(figure)
    assert_legible(plot_roc({"happy (9 images)": drawn[0]}, **TITLED))


def test_precision_against_recall_marks_the_best_f1_and_says_that_it_is_optimistic(drawn):
    _, curves, chosen = drawn
    best = {name: of["best"] for name, of in chosen.items()}
    figure = plot_precision_recall(curves, best, positive=FORMULA, share=0.25, **TITLED)
    shown = texts(figure)
    for name, curve in curves.items():
        line, point = (line for line in figure.axes[0].lines if line.get_label().startswith(f"{name}:"))
        np.testing.assert_array_equal(line.get_xydata().T, [curve.x, curve.y])
        assert point.get_xydata().tolist() == [[best[name]["recall"], best[name]["precision"]]]
        assert any(text.startswith(f"{name}: average precision {curve.area.value:.3f} (") for text in shown)
        where = f"{best[name]['f1']['value']:.3f}, at threshold {best[name]['threshold']:.3f}"
        assert f"{name}: best F1 {where}" in shown
    assert any(text.startswith("all called ") and text.endswith(": 0.250") for text in shown)
    assert any("optimistic" in text for text in shown)
    assert_legible(figure)


def test_the_sweep_shows_five_scores_of_each_classifier(drawn):
    sweeps = {name: of["sweep"] for name, of in drawn[2].items()}
    figure = plot_threshold_sweep(sweeps, positive=FORMULA, title=FORMULA)
    for axes, (name, sweep) in zip(figure.axes, sweeps.items(), strict=True):
        assert axes.get_title() == name
        assert [line.get_label() for line in axes.lines] == [
            "accuracy", "average class accuracy", "precision", "recall", "F1"
        ]  # fmt: skip
        assert len({line.get_marker() for line in axes.lines}) == 5
        assert list(axes.lines[4].get_ydata()) == pytest.approx([100 * row["f1"] for row in sweep])
        assert list(axes.lines[0].get_xdata()) == [row["threshold"] for row in sweep]
    assert any("optimistic" in text for text in texts(figure))
    assert_legible(figure)
    one = {"CNN": sweeps["CNN"]}
    assert_legible(plot_threshold_sweep(one, positive="a rather long name of a class", title="CNN"))
