"""Scores against scikit-learn's, their intervals, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics

from cnnboost.errors import DataError
from cnnboost.metrics.scores import find_collapse, score


def made_up(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and softmax outputs that know something of them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    p = np.exp(rng.normal(size=(n, k)) + np.eye(k)[y])
    return y, (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


@given(n=st.integers(1, 80), k=st.integers(2, 8), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_point_values_are_those_of_scikit_learn(n, k, seed):
    y, p = made_up(n, k, seed)
    names = [f"class {i}" for i in range(k)]
    got = score(y, p, names, n_resamples=20).to_dict()
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    predicted, every, present = p.argmax(axis=1), np.arange(k), np.unique(y)
    double = p.astype(float) / p.astype(float).sum(axis=1, keepdims=True)
    f1 = metrics.f1_score(y, predicted, labels=present, average="macro", zero_division=0)
    recall = metrics.recall_score(y, predicted, labels=present, average="macro")
    assert (got["n"], got["confidence"]) == (n, 0.95)
    assert {name: value["value"] for name, value in got.items() if isinstance(value, dict)} == {
        "accuracy": pytest.approx(metrics.accuracy_score(y, predicted)),
        "macro_f1": pytest.approx(f1),
        "average_class_accuracy": pytest.approx(recall),
        "log_loss": pytest.approx(metrics.log_loss(y, double, labels=every)),
        "calibration_error": got["calibration_error"]["value"],
    }
    assert got["confusion"] == metrics.confusion_matrix(y, predicted, labels=every).tolist()
    columns = metrics.precision_recall_fscore_support(y, predicted, labels=every, zero_division=0)
    for row, name, *values in zip(got["per_class"], names, *columns, strict=True):
        assert (row["name"], row["support"]) == (name, values[3])
        assert [row[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx(values[:3])


def test_accuracy_interval_is_wilsons():
    # E. B. Wilson, 1927: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n)
    y = np.zeros(40, int)
    p = np.where(np.arange(40)[:, None] < 30, [[0.9, 0.1]], [[0.2, 0.8]])
    for confidence in (0.9, 0.95):
        z, n, share = norm.ppf((1 + confidence) / 2), 40, 0.75
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        got = score(y, p, ["a", "b"], confidence=confidence, n_resamples=10)
        assert got.accuracy.interval == pytest.approx((middle - half, middle + half))
        assert got.per_class[0].recall.interval == pytest.approx((middle - half, middle + half))


def test_bootstrap_intervals_are_those_of_scoring_every_resample():
    y, p = made_up(60, 4, 3)
    got = score(y, p, "abcd", n_resamples=80, seed=9)
    rng = np.random.default_rng(9)
    double = p.astype(float) / p.astype(float).sum(axis=1, keepdims=True)
    f1, recall, loss, of_class = [], [], [], []
    for _ in range(80):
        rows = rng.integers(0, 60, 60)
        true, guess = y[rows], p[rows].argmax(axis=1)
        present = np.unique(true)
        f1.append(metrics.f1_score(true, guess, labels=present, average="macro", zero_division=0))
        recall.append(metrics.recall_score(true, guess, labels=present, average="macro"))
        loss.append(metrics.log_loss(true, double[rows], labels=range(4)))
        of_class.append(metrics.f1_score(true, guess, labels=[0], average="macro", zero_division=0))
    for estimate, values in (
        (got.macro_f1, f1),
        (got.average_class_accuracy, recall),
        (got.log_loss, loss),
        (got.per_class[0].f1, of_class),
    ):
        assert estimate.interval == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_a_class_without_rows_is_left_out_of_the_means():
    y, p = np.array([0, 0, 1, 1]), np.eye(3)[[0, 0, 1, 0]]
    got = score(y, p, ["a", "b", "contempt"], n_resamples=20)
    assert got.average_class_accuracy.value == pytest.approx(0.75)
    assert got.macro_f1.value == pytest.approx((0.8 + 2 / 3) / 2)
    absent = got.per_class[2]
    assert (absent.support, absent.recall.value, absent.precision.value, absent.f1.value) == (0, 0, 0, 0)
    assert absent.recall.interval is absent.precision.interval is absent.f1.interval is None


def test_a_sure_mistake_costs_a_finite_loss():
    got = score([1, 0], np.array([[1.0, 0.0], [1.0, 0.0]]), ["a", "b"], n_resamples=20)
    assert np.isfinite([got.log_loss.value, *got.log_loss.interval]).all()


def test_float16_softmax_is_a_distribution():
    y, p = made_up(200, 7, 8)
    assert score(y, p.astype(np.float16), range(7), n_resamples=10).n == 200


@pytest.mark.parametrize(
    ("proba", "says"),
    [
        ([[0.5, 0.5], [0.2, 0.9]], r"Row 1 of proba is not a probability distribution.*1\.1"),
        ([[0.5, 0.5], [np.nan, 1.0]], "Row 1 of proba"),
        ([[1.5, -0.5], [0.2, 0.8]], "Row 0 of proba"),
        ([[np.inf, 0.5], [0.2, 0.8]], "Row 0 of proba"),
        ([[3.0, -2.0], [0.0, 0.0]], "not logits"),
        ([[0.2, 0.3, 0.5]] * 2, "3 columns and there are 2 classes"),
        ([0.5, 0.5], r"shape \(rows, classes\)"),
        (np.zeros((0, 2)), "at least 1 row"),
        ([["a", "b"]] * 2, "must be numbers"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_row(proba, says):
    with pytest.raises(DataError, match=says):
        score([0, 1], np.asarray(proba), ["angry", "happy"])


@pytest.mark.parametrize("options", [{"confidence": 95}, {"confidence": 0}, {"n_resamples": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        score([0, 1], np.full((2, 2), 0.5), ["angry", "happy"], **options)


CLASSES = ["angry", "happy", "sad"]


@pytest.mark.parametrize(
    ("confusion", "share"),
    [
        ([[1, 29, 0], [0, 25, 0], [0, 43, 2]], 0.97),
        ([[5, 35, 0], [0, 25, 0], [5, 30, 0]], 0.9),
        ([[30, 0, 0], [0, 25, 0], [0, 0, 45]], None),  # all right
        ([[0, 30, 0], [0, 25, 0], [0, 34, 11]], 0.89),  # three times as often as it occurs
        ([[0, 26, 4], [0, 25, 0], [0, 28, 17]], None),  # 79 % of the predictions
        ([[10, 15, 0], [0, 50, 0], [0, 24, 1]], None),  # 89 % of the predictions, and half of the labels
        ([[0, 5, 0], [0, 90, 0], [0, 5, 0]], None),  # 90 % of the labels are happy too
        ([[6, 0, 0], [0, 89, 0], [1, 4, 0]], None),  # the rest is rare, and found more often than not
        ([[0, 0, 0], [0, 7, 0], [0, 0, 0]], None),  # only one class there
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], None),
    ],
)
def test_nearly_everything_called_happy_is_noticed(confusion, share):
    collapse = find_collapse(confusion, CLASSES)
    if share is None:
        assert collapse is None
    else:
        assert collapse.to_dict() == {"class": "happy", "share": share}
        assert str(collapse) == f"predicts happy for {share:.1%} of the images (true share 25.0%)"
