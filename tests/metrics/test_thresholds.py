"""Thresholds of two classes: against scikit-learn at each, the best one, and its interval."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from cnnboost.errors import DataError
from cnnboost.metrics.curves import SWEEP, thresholds

NAMES = ("not happy", "happy")


def made_up(n: int, seed: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    p = np.round(1 / (1 + np.exp(-rng.normal(size=n) - skill * (y - 0.5))), 2)
    return y, np.stack([1 - p, p], axis=1)


def assert_scores_at(found, y, called):
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, called))
    assert found["average_class_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, called))
    assert found["precision"] == pytest.approx(metrics.precision_score(y, called, zero_division=0))
    assert found["recall"] == pytest.approx(metrics.recall_score(y, called))
    assert found["f1"] == pytest.approx(metrics.f1_score(y, called))


@given(n=st.integers(2, 60), seed=st.integers(0, 10_000), side=st.sampled_from([0, 1]))
@settings(max_examples=30, deadline=None)
def test_scores_are_those_of_scikit_learn_at_each_threshold(n, seed, side):
    y, p = made_up(n, seed)
    found = thresholds(y, p, NAMES, NAMES[side], n_resamples=20)
    there, of = (y == side).astype(int), p[:, side]
    best_f1 = found["best"]["f1"]
    for row in ({**found["best"], "f1": best_f1["value"]}, *found["sweep"]):
        assert_scores_at(row, there, of >= row["threshold"])
    assert found["average_precision"]["value"] == pytest.approx(metrics.average_precision_score(there, of))
    every = [metrics.f1_score(there, of >= edge) for edge in np.unique(of)]
    assert best_f1["value"] == pytest.approx(max(every))
    low, high = best_f1["interval"]
    assert 0 <= low <= high <= 1


def test_the_sweep_goes_from_040_to_060():
    assert SWEEP == (0.4, 0.42, 0.44, 0.46, 0.48, 0.5, 0.52, 0.54, 0.56, 0.58, 0.6)
    found = thresholds(*made_up(30, 0), NAMES, "happy")
    assert tuple(row["threshold"] for row in found["sweep"]) == SWEEP


def test_where_nothing_is_called_positive_precision_is_nought():
    p = np.array([0.1, 0.2, 0.3, 0.35])
    found = thresholds([0, 0, 1, 1], np.stack([1 - p, p], axis=1), NAMES, "happy")
    assert {(row["precision"], row["recall"], row["f1"]) for row in found["sweep"]} == {(0, 0, 0)}
    assert found["best"]["threshold"] == 0.3
    assert found["best"]["f1"]["value"] == 1


def test_the_interval_of_the_best_f1_is_that_of_drawing_rows_again():
    y, p = made_up(300, 1)
    found = thresholds(y, p, NAMES, "happy", n_resamples=2000, seed=0)
    rng = np.random.default_rng(7)
    called = p[:, 1] >= found["best"]["threshold"]
    again = [metrics.f1_score(y[rows], called[rows]) for rows in rng.integers(0, 300, (500, 300))]
    assert found["best"]["f1"]["interval"] == pytest.approx(
        list(np.quantile(again, [0.025, 0.975])), abs=0.01
    )
    assert found == thresholds(y, p, NAMES, "happy", n_resamples=2000, seed=0)
    wider = thresholds(y, p, NAMES, "happy", confidence=0.99, n_resamples=2000)
    assert wider["best"]["f1"]["interval"][0] < found["best"]["f1"]["interval"][0]
    assert wider["average_precision"]["interval"][0] < found["average_precision"]["interval"][0]


def test_a_threshold_chosen_on_the_scored_rows_is_optimistic():
    # Of probabilities that know nothing, F1 is highest where all rows are called positive, or above by luck.
    chosen, other = [], []
    for seed in range(40):
        y, p = made_up(80, seed, skill=0.3)
        best = thresholds(y[:40], p[:40], NAMES, "happy", n_resamples=10)["best"]
        chosen.append(best["f1"]["value"])
        other.append(metrics.f1_score(y[40:], p[40:, 1] >= best["threshold"]))
    assert np.mean(chosen) > np.mean(other) + 0.02


def test_to_dict_is_json_with_stable_keys():
    metadata = thresholds(*made_up(50, 2), NAMES, "happy")
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    scores = {"threshold", "accuracy", "average_class_accuracy", "precision", "recall", "f1"}
    assert set(metadata) == {"positive", "average_precision", "best", "sweep"}
    assert set(metadata["average_precision"]) == set(metadata["best"]["f1"]) == {"value", "interval"}
    assert set(metadata["best"]) == set(metadata["sweep"][0]) == scores


@pytest.mark.parametrize(
    ("classes", "positive", "says"),
    [
        (("a", "b", "c"), "b", r"there are 3 \(a, b, c\)"),
        (("a", "b"), "c", "no class 'c'"),
    ],
)
def test_it_needs_two_classes_and_one_of_them(classes, positive, says):
    p = np.full((4, len(classes)), 1 / len(classes))
    with pytest.raises(DataError, match=says):
        thresholds([0, 1, 0, 1], p, classes, positive)
