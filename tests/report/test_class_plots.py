"""Confusion matrices and the accuracy of each class: what they show, and that it can be read."""

from __future__ import annotations

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.metrics.scores import score
from cnnboost.report.class_plots import plot_class_accuracy, plot_confusion
from tests.report.legible import assert_legible, texts

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def per_class(k, seed, names=None):
    rng = np.random.default_rng(seed)
    names = names or (NAMES if k == 7 else [f"class {i}" for i in range(k)])
    y = rng.integers(0, k, 60 * k)
    p = rng.dirichlet(np.ones(k), len(y)) + np.eye(k)[y]
    return score(y, p / 2, names, n_resamples=5).to_dict()["per_class"]


def test_confusion_shows_percent_of_the_true_class_or_counts():
    matrix = np.array([[30, 10], [0, 1200]])
    percent = plot_confusion(matrix, ["angry", "happy"], title="XGBoost at fc1", normalise=True)
    assert {"75", "25", "100", "XGBoost at fc1", "angry (40)", "happy (1,200)", "predicted class"} <= set(
        texts(percent)
    )
    assert np.asarray(percent.axes[0].images[0].get_array()).tolist() == [[75, 25], [0, 100]]
    assert {"30", "10", "1,200"} <= set(texts(percent))  # the raw counts stand below
    counts = plot_confusion(matrix, ["angry", "happy"], normalise=False)
    assert {"30", "10", "1,200"} <= set(texts(counts))
    assert "75" not in texts(counts)
    assert np.asarray(counts.axes[0].images[0].get_array()).tolist() == matrix.tolist()


@pytest.mark.parametrize("k", [2, 7, 10, 25, 40])
@pytest.mark.parametrize("normalise", [True, False])
def test_confusion_stays_legible(k, normalise):
    matrix = np.random.default_rng(0).integers(0, 900, (k, k))
    names = NAMES if k == 7 else [f"class {i}" for i in range(k)]
    assert_legible(plot_confusion(matrix, names, title="XGBoost at fc1, validation", normalise=normalise))


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
