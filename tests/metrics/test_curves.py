"""Areas, curves and scores at thresholds against scikit-learn's, and their intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics

from cnnboost.metrics.curves import (
    SWEEP,
    area_under_roc,
    average_precision,
    precision_recall,
    roc,
    thresholds,
)


def made_up(n: int, k: int, seed: int, digits: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that know something of them, rounded so that some are equal."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    y[:2] = 0, 1
    p = np.exp(rng.normal(size=(n, k)) + np.eye(k)[y])
    p = np.round(p / p.sum(axis=1, keepdims=True), digits) + 1e-3
    return y, p / p.sum(axis=1, keepdims=True)


def two_classes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    y, p = made_up(n, 2, seed, digits=2)
    return y == 1, p[:, 1]


def assert_around(estimate):
    if estimate.interval is not None:
        low, high = estimate.interval
        assert 0 < low <= estimate.value <= high < 1


@given(n=st.integers(2, 40), k=st.integers(2, 5), seed=st.integers(0, 10_000), digits=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_areas_are_those_of_scikit_learn(n, k, seed, digits):
    y, p = made_up(n, k, seed, digits)
    names = [f"class {i}" for i in range(k)]
    areas = area_under_roc(y, p, names)
    assert list(areas) == [names[i] for i in range(k) if 0 < (y == i).sum() < n]
    for name, area in areas.items():
        there, of = y == names.index(name), p[:, names.index(name)]
        assert area.value == pytest.approx(metrics.roc_auc_score(there, of))
        assert_around(area)
        curve = roc(there, of)
        assert curve.area == area
        assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(area.value)
        curve = precision_recall(there, of)
        assert curve.area.value == pytest.approx(metrics.average_precision_score(there, of))
        assert np.sum(-np.diff(curve.x, append=0) * curve.y) == pytest.approx(curve.area.value)
        assert_around(curve.area)
        points = {(there[of >= edge].mean(), (of[there] >= edge).mean()) for edge in of}
        assert {*zip(curve.y, curve.x, strict=True)} <= points  # no point that no threshold gives


def test_the_interval_of_an_area_is_delongs():
    # By the definition, pair by pair: 1 where the positive row is above, a half where they are equal.
    y, p = made_up(40, 2, 1)
    up, down = p[y == 1, 1], p[y == 0, 1]
    wins = np.array([[(a > b) + (a == b) / 2 for b in down] for a in up])
    area = wins.mean()
    error = np.sqrt(wins.mean(axis=1).var(ddof=1) / len(up) + wins.mean(axis=0).var(ddof=1) / len(down))
    for confidence in (0.9, 0.95):
        half = norm.ppf((1 + confidence) / 2) * error / (area * (1 - area))
        odds = np.log(area / (1 - area)) + np.array([-half, half])
        got = area_under_roc(y, p, ["a", "b"], confidence=confidence)["b"]
        assert got.value == pytest.approx(area)
        assert got.interval == pytest.approx(tuple(1 / (1 + np.exp(-odds))))


@pytest.mark.parametrize(
    ("y", "p", "value"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0),  # every pair is right
        ([0, 0, 1, 1], [0.5] * 4, 0.5),  # every pair is a draw
        ([0, 0, 0, 1], [0.1, 0.4, 0.3, 0.35], 2 / 3),  # one row on a side has no spread
    ],
)
def test_an_area_without_spread_has_no_interval(y, p, value):
    got = roc(np.array(y) == 1, np.array(p)).area
    assert got.to_dict() == {"value": pytest.approx(value), "interval": None}


def test_the_interval_of_average_precision_narrows_with_positive_rows():
    widths = []
    for times in (1, 4):
        positive, p = two_classes(200, 5)
        low, high = average_precision(np.tile(positive, times), np.tile(p, times), 0.95).interval
        widths.append(np.log(high / (1 - high)) - np.log(low / (1 - low)))
    assert widths[0] == pytest.approx(2 * widths[1])


@given(n=st.integers(2, 30), seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_scores_are_those_of_scikit_learn_at_each_threshold(n, seed):
    y, p = two_classes(n, seed)
    got = thresholds(y, p, n_resamples=20)
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert list(got) == ["average_precision", "best", "sweep"]
    assert tuple(row["threshold"] for row in got["sweep"]) == SWEEP
    best_f1 = got["best"]["f1"]
    for row in ({**got["best"], "f1": best_f1["value"]}, *got["sweep"]):
        called = p >= row["threshold"]
        assert row == {
            "threshold": row["threshold"],
            "accuracy": pytest.approx(metrics.accuracy_score(y, called)),
            "average_class_accuracy": pytest.approx(metrics.balanced_accuracy_score(y, called)),
            "precision": pytest.approx(metrics.precision_score(y, called, zero_division=0)),
            "recall": pytest.approx(metrics.recall_score(y, called)),
            "f1": pytest.approx(metrics.f1_score(y, called)),
        }
    assert got["average_precision"]["value"] == pytest.approx(metrics.average_precision_score(y, p))
    assert best_f1["value"] == pytest.approx(max(metrics.f1_score(y, p >= edge) for edge in np.unique(p)))


def test_where_nothing_is_called_positive_precision_is_nought():
    got = thresholds(np.array([False, False, True, True]), np.array([0.1, 0.2, 0.3, 0.35]))
    assert {(row["precision"], row["recall"], row["f1"]) for row in got["sweep"]} == {(0, 0, 0)}
    assert (got["best"]["threshold"], got["best"]["f1"]["value"]) == (0.3, 1)


def test_the_interval_of_the_best_f1_is_that_of_drawing_rows_again():
    y, p = two_classes(300, 1)
    got = thresholds(y, p, n_resamples=2000)
    rng = np.random.default_rng(7)
    called = p >= got["best"]["threshold"]
    again = [metrics.f1_score(y[rows], called[rows]) for rows in rng.integers(0, 300, (300, 300))]
    wanted = list(np.quantile(again, [0.025, 0.975]))
    assert got["best"]["f1"]["interval"] == pytest.approx(wanted, abs=0.01)
    assert got == thresholds(y, p, n_resamples=2000)
    wider = thresholds(y, p, confidence=0.99, n_resamples=2000)
    assert wider["best"]["f1"]["interval"][0] < got["best"]["f1"]["interval"][0]
    assert wider["average_precision"]["interval"][0] < got["average_precision"]["interval"][0]
