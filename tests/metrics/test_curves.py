"""Areas and curves against scikit-learn's, their intervals, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics

from cnnboost.errors import DataError
from cnnboost.metrics.curves import (
    SWEEP,
    area_under_roc,
    average_precision,
    precision_recall,
    roc,
    thresholds,
)


def made_up(n: int, k: int, seed: int, skill: float = 1.0, digits: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that know something of them, rounded so that some are equal."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    p = np.exp(rng.normal(size=(n, k)) + skill * np.eye(k)[y])
    p = np.round(p / p.sum(axis=1, keepdims=True), digits) + 1e-3
    return y, p / p.sum(axis=1, keepdims=True)


@given(n=st.integers(2, 60), k=st.integers(2, 5), seed=st.integers(0, 10_000), digits=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_areas_are_those_of_scikit_learn(n, k, seed, digits):
    y, p = made_up(n, k, seed, digits=digits)
    names = [f"class {i}" for i in range(k)]
    found = area_under_roc(y, p, names)
    assert list(found) == [names[i] for i in range(k) if 0 < (y == i).sum() < n]
    for name, area in found.items():
        i = names.index(name)
        assert area.value == pytest.approx(metrics.roc_auc_score(y == i, p[:, i]))
        if area.interval is not None:
            low, high = area.interval
            assert 0 < low <= area.value <= high < 1
        assert roc(y, p, names, name).area == area


def test_the_interval_of_an_area_is_delongs():
    # By the definition, pair by pair: 1 where the positive row is above, a half where they are equal.
    y, p = made_up(40, 2, 1)
    up, down = p[y == 1, 1], p[y == 0, 1]
    m, n = len(up), len(down)
    wins = np.array([[(a > b) + (a == b) / 2 for b in down] for a in up])
    area = wins.mean()
    error = np.sqrt(wins.mean(axis=1).var(ddof=1) / m + wins.mean(axis=0).var(ddof=1) / n)
    for confidence in (0.9, 0.95):
        half = norm.ppf((1 + confidence) / 2) * error / (area * (1 - area))
        odds = np.log(area / (1 - area)) + np.array([-half, half])
        got = area_under_roc(y, p, ["a", "b"], confidence=confidence)["b"]
        assert got.value == pytest.approx(area)
        assert got.interval == pytest.approx(tuple(1 / (1 + np.exp(-odds))))


def test_the_intervals_hold_what_they_promise():
    # Two normal distributions one apart: the true area is the probability that their difference is positive.
    truth, inside = norm.cdf(1 / np.sqrt(2)), 0
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], [60, 40])
    for _ in range(200):
        p = norm.cdf(rng.normal(size=100) + y)
        low, high = area_under_roc(y, np.stack([1 - p, p], axis=1), "ab")["b"].interval
        inside += low <= truth <= high
    assert 0.9 <= inside / 200 <= 0.99


@pytest.mark.parametrize(
    ("y", "p", "value"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0),  # every pair is right
        ([0, 0, 1, 1], [0.5] * 4, 0.5),  # every pair is a draw
        ([0, 0, 0, 1], [0.1, 0.4, 0.3, 0.35], 2 / 3),  # one row on a side has no spread
    ],
)
def test_an_area_without_spread_has_no_interval(y, p, value):
    got = area_under_roc(y, np.stack([1 - np.array(p), p], axis=1), "ab")["b"]
    assert got.value == pytest.approx(value)
    assert got.interval is None
    assert got.to_dict() == {"value": got.value, "interval": None}


def test_the_areas_of_two_classes_are_the_same():
    found = area_under_roc(*made_up(100, 2, 3), ["not happy", "happy"])
    assert found["happy"].value == pytest.approx(found["not happy"].value)
    assert found["happy"].interval == pytest.approx(found["not happy"].interval)


def test_curves_go_where_every_threshold_goes():
    y, p = made_up(50, 3, 4)
    there, of = y == 1, p[:, 1]
    every = [of >= edge for edge in np.unique(of)]
    rates = {(called[~there].mean(), called[there].mean()) for called in every} | {(0.0, 0.0)}
    curve = roc(y, p, "abc", "b")
    assert {*zip(curve.x, curve.y, strict=True)} <= rates
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area.value)
    points = {(there[called].mean(), called[there].mean()) for called in every}
    curve = precision_recall(y, p, "abc", "b")
    assert {*zip(curve.y, curve.x, strict=True)} <= points  # no point that no threshold gives
    assert curve.x[0] == 1


@given(n=st.integers(2, 60), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_average_precision_is_the_area_of_the_steps(n, seed):
    y, p = made_up(n, 2, seed)
    y[:2] = 0, 1
    curve = precision_recall(y, p, "ab", "b")
    assert curve.area.value == pytest.approx(metrics.average_precision_score(y == 1, p[:, 1]))
    assert np.sum(-np.diff(curve.x, append=0) * curve.y) == pytest.approx(curve.area.value)
    if curve.area.interval is not None:
        low, high = curve.area.interval
        assert 0 < low <= curve.area.value <= high < 1


def test_the_interval_of_average_precision_narrows_with_positive_rows():
    widths = []
    for times in (1, 4):
        y, p = made_up(200, 2, 5)
        got = average_precision(np.tile(y == 1, times), np.tile(p[:, 1], times), 0.95)
        low, high = got.interval
        widths.append(np.log(high / (1 - high)) - np.log(low / (1 - low)))
    assert widths[0] == pytest.approx(2 * widths[1])


@pytest.mark.parametrize(
    ("y", "name", "says"),
    [
        ([0, 1], "sad", "no class 'sad'; the classes are angry, happy"),
        ([0, 0], "happy", "0 of 2 rows are happy"),
        ([1, 1], "happy", "2 of 2 rows are happy"),
        ([0, 2], "happy", "Label 2 of row 1"),
    ],
)
def test_a_curve_needs_the_class_and_others(y, name, says):
    p = np.array([[0.5, 0.5], [0.2, 0.8]])
    for curve in (roc, precision_recall):
        with pytest.raises(DataError, match=says):
            curve(y, p, ["angry", "happy"], name)


def test_what_is_no_probability_is_refused():
    for of in ([[0.5, 0.6]] * 2, [[np.nan, 1]] * 2):
        with pytest.raises(DataError, match="Row 0 of proba"):
            area_under_roc([0, 1], np.array(of), "ab")
    with pytest.raises(ValueError, match="confidence"):
        area_under_roc([0, 1], np.full((2, 2), 0.5), "ab", confidence=95)


NAMES = ("not happy", "happy")


def two_classes(n: int, seed: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
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
    y, p = two_classes(n, seed)
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
    found = thresholds(*two_classes(30, 0), NAMES, "happy")
    assert tuple(row["threshold"] for row in found["sweep"]) == SWEEP


def test_where_nothing_is_called_positive_precision_is_nought():
    p = np.array([0.1, 0.2, 0.3, 0.35])
    found = thresholds([0, 0, 1, 1], np.stack([1 - p, p], axis=1), NAMES, "happy")
    assert {(row["precision"], row["recall"], row["f1"]) for row in found["sweep"]} == {(0, 0, 0)}
    assert found["best"]["threshold"] == 0.3
    assert found["best"]["f1"]["value"] == 1


def test_the_interval_of_the_best_f1_is_that_of_drawing_rows_again():
    y, p = two_classes(300, 1)
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
        y, p = two_classes(80, seed, skill=0.3)
        best = thresholds(y[:40], p[:40], NAMES, "happy", n_resamples=10)["best"]
        chosen.append(best["f1"]["value"])
        other.append(metrics.f1_score(y[40:], p[40:, 1] >= best["threshold"]))
    assert np.mean(chosen) > np.mean(other) + 0.02


def test_to_dict_is_json_with_stable_keys():
    metadata = thresholds(*two_classes(50, 2), NAMES, "happy")
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
