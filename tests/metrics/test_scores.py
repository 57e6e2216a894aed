"""Scores against scikit-learn's, their intervals, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics
from sklearn.metrics import confusion_matrix

from cnnboost.errors import DataError
from cnnboost.metrics.scores import find_collapse, score

NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def made_up(n: int, k: int, seed: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and softmax outputs that know something of them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + skill * np.eye(k)[y]
    p = np.exp(logits)
    return y, (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


@given(n=st.integers(1, 80), k=st.integers(2, 8), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_point_values_are_those_of_scikit_learn(n, k, seed):
    y, p = made_up(n, k, seed)
    names = [f"class {i}" for i in range(k)]
    got = score(y, p, names, n_resamples=20)
    predicted, every, present = p.argmax(axis=1), np.arange(k), np.unique(y)
    assert got.n == n
    assert got.accuracy.value == pytest.approx(metrics.accuracy_score(y, predicted))
    assert got.macro_f1.value == pytest.approx(
        metrics.f1_score(y, predicted, labels=present, average="macro", zero_division=0)
    )
    assert got.average_class_accuracy.value == pytest.approx(
        metrics.recall_score(y, predicted, labels=present, average="macro")
    )
    double = p.astype(float) / p.astype(float).sum(axis=1, keepdims=True)
    assert got.log_loss.value == pytest.approx(metrics.log_loss(y, double, labels=every))
    np.testing.assert_array_equal(got.confusion, metrics.confusion_matrix(y, predicted, labels=every))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        y, predicted, labels=every, zero_division=0
    )
    assert [one.name for one in got.per_class] == names
    assert [one.support for one in got.per_class] == support.tolist()
    assert [one.precision.value for one in got.per_class] == pytest.approx(precision)
    assert [one.recall.value for one in got.per_class] == pytest.approx(recall)
    assert [one.f1.value for one in got.per_class] == pytest.approx(f1)


def test_average_class_accuracy_is_balanced_accuracy():
    y, p = made_up(500, 7, 1)
    got = score(y, p, NAMES)
    assert got.average_class_accuracy.value == pytest.approx(
        metrics.balanced_accuracy_score(y, p.argmax(axis=1))
    )


@given(n=st.integers(1, 60), k=st.integers(2, 6), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_intervals_are_in_order_and_within_bounds(n, k, seed):
    y, p = made_up(n, k, seed)
    got = score(y, p, range(k), n_resamples=50)
    shares = [got.accuracy, got.macro_f1, got.average_class_accuracy]
    for one in got.per_class:
        shares += [one.precision, one.recall, one.f1]
    for share in shares:
        if share.interval is not None:
            low, high = share.interval
            assert 0 <= low <= high <= 1
    low, high = got.accuracy.interval
    assert low - 1e-12 <= got.accuracy.value <= high + 1e-12


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
    f1, recall, loss = [], [], []
    for _ in range(80):
        rows = rng.integers(0, 60, 60)
        true, guess = y[rows], p[rows].argmax(axis=1)
        present = np.unique(true)
        f1.append(metrics.f1_score(true, guess, labels=present, average="macro", zero_division=0))
        recall.append(metrics.recall_score(true, guess, labels=present, average="macro"))
        loss.append(metrics.log_loss(true, double[rows], labels=range(4)))
    for estimate, values in ((got.macro_f1, f1), (got.average_class_accuracy, recall), (got.log_loss, loss)):
        assert estimate.interval == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_log_loss_interval_is_as_wide_as_the_central_limit_theorem_says():
    y, p = made_up(3000, 7, 4)
    low, high = score(y, p, NAMES).log_loss.interval
    loss = -np.log(p[np.arange(3000), y])
    assert high - low == pytest.approx(2 * 1.96 * loss.std() / np.sqrt(3000), rel=0.15)


def test_same_seed_same_intervals():
    y, p = made_up(100, 3, 5)
    assert score(y, p, "abc", seed=1) == score(y, p, "abc", seed=1)
    assert score(y, p, "abc", seed=1).macro_f1.interval != score(y, p, "abc", seed=2).macro_f1.interval


def test_calibration_error_by_hand():
    # Top probabilities 0.6 (one of two right) and 0.9 (both right) fall into two of the bins.
    p = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9]])
    got = score([0, 1, 1, 1], p, ["a", "b"], n_resamples=10).calibration_error
    assert got.value == pytest.approx(0.5 * abs(0.5 - 0.6) + 0.5 * abs(1 - 0.9))
    assert got.interval is None


def test_calibration_error_tells_a_calibrated_classifier_from_an_overconfident_one():
    rng = np.random.default_rng(6)
    p = rng.dirichlet(np.ones(5), 20_000)
    y = np.array([rng.choice(5, p=row) for row in p])
    sharper = p**3 / (p**3).sum(axis=1, keepdims=True)
    assert score(y, p, "abcde", n_resamples=10).calibration_error.value < 0.02
    assert score(y, sharper, "abcde", n_resamples=10).calibration_error.value > 0.15


def test_a_class_without_rows_is_left_out_of_the_means():
    y, p = np.array([0, 0, 1, 1]), np.eye(3)[[0, 0, 1, 0]]
    got = score(y, p, ["a", "b", "contempt"], n_resamples=20)
    assert got.average_class_accuracy.value == pytest.approx(0.75)
    assert got.macro_f1.value == pytest.approx((0.8 + 2 / 3) / 2)
    absent = got.per_class[2]
    assert (absent.support, absent.recall.value, absent.precision.value) == (0, 0.0, 0.0)
    assert absent.recall.interval is absent.precision.interval is absent.f1.interval is None


def test_a_sure_mistake_costs_a_finite_loss():
    got = score([1, 0], np.array([[1.0, 0.0], [1.0, 0.0]]), ["a", "b"], n_resamples=20)
    assert np.isfinite([got.log_loss.value, *got.log_loss.interval]).all()


def test_to_dict_is_json_with_stable_keys():
    y, p = made_up(50, 7, 7)
    metadata = score(y, p, NAMES, n_resamples=20).to_dict()
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    assert list(metadata) == [
        "n", "confidence", "accuracy", "macro_f1", "average_class_accuracy", "log_loss", "calibration_error",
        "per_class", "confusion",
    ]  # fmt: skip
    assert set(metadata["accuracy"]) == {"value", "interval"}
    assert set(metadata["per_class"][0]) == {"name", "support", "precision", "recall", "f1"}


GOOD = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("y", "proba", "says"),
    [
        ([0, 1], [[0.5, 0.5], [0.2, 0.9]], r"Row 1 of proba is not a probability distribution.*1\.1"),
        ([0, 1], [[0.5, 0.5], [np.nan, 1.0]], "Row 1 of proba"),
        ([0, 1], [[1.5, -0.5], [0.2, 0.8]], "Row 0 of proba"),
        ([0, 1], [[np.inf, 0.5], [0.2, 0.8]], "Row 0 of proba"),
        ([0, 1], [[3.0, -2.0], [0.0, 0.0]], "not logits"),
        ([0, 1], [[0.2, 0.3, 0.5]] * 2, "3 columns and there are 2 classes"),
        ([0, 1], [0.5, 0.5], r"shape \(rows, classes\)"),
        ([], np.zeros((0, 2)), "at least 1 row"),
        ([0, 1], [["a", "b"]] * 2, "must be numbers"),
        ([0], GOOD, r"2 rows of probabilities need 2 labels; got labels of shape \(1,\)"),
        ([[0], [1]], GOOD, r"shape \(2, 1\)"),
        ([0, 2], GOOD, r"Label 2 of row 1 is out of range: there are 2 classes \(angry, happy\)"),
        ([-1, 0], GOOD, "Label -1 of row 0"),
        ([0.0, 1.0], GOOD, "must be integers"),
        (["angry", "happy"], GOOD, "must be integers"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_row(y, proba, says):
    with pytest.raises(DataError, match=says):
        score(y, np.asarray(proba), ["angry", "happy"])


@pytest.mark.parametrize("options", [{"confidence": 95}, {"confidence": 0}, {"n_resamples": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        score([0, 1], GOOD, ["angry", "happy"], **options)


def test_float16_softmax_is_a_distribution():
    y, p = made_up(200, 7, 8)
    assert score(y, p.astype(np.float16), NAMES, n_resamples=10).n == 200


CLASSES = ["angry", "happy", "sad"]


def test_nearly_everything_called_happy_is_noticed():
    found = find_collapse([[1, 29, 0], [0, 25, 0], [0, 43, 2]], CLASSES)
    assert found is not None
    assert found.to_dict() == {"class": "happy", "share": 0.97}
    assert str(found) == "predicts happy for 97.0% of the images (true share 25.0%)"


@pytest.mark.parametrize(
    "confusion",
    [
        [[30, 0, 0], [0, 25, 0], [0, 0, 45]],  # all right
        [[0, 30, 0], [0, 25, 0], [0, 34, 11]],  # 89 % of the predictions
        [[0, 5, 0], [0, 90, 0], [0, 5, 0]],  # 90 % of the labels are happy too
        [[6, 0, 0], [0, 89, 0], [1, 4, 0]],  # the rest is rare, and found more often than not
        [[0, 0, 0], [0, 7, 0], [0, 0, 0]],  # only one class there
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ],
)
def test_others_are_not(confusion):
    assert find_collapse(confusion, CLASSES) is None


def test_nine_tenths_are_nearly_all():
    assert find_collapse([[5, 35, 0], [0, 25, 0], [5, 30, 0]], CLASSES).share == 0.9


def test_a_matrix_of_other_classes_is_refused():
    with pytest.raises(DataError, match=r"\(2, 2\).*3 classes"):
        find_collapse([[1, 0], [0, 1]], CLASSES)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    guesses=st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_what_is_found_is_there(labels, guesses):
    y, predicted = np.array(labels), np.array(guesses[: len(labels)])
    names = ["a", "b", "c", "d"]
    found = find_collapse(confusion_matrix(y, predicted, labels=range(4)), names)
    shares = np.bincount(predicted, minlength=4) / len(y)
    if found is None:
        top = shares.argmax()
        others = (y != top).mean()
        assert shares[top] < 0.9 or others <= 0.1 or (predicted != top).mean() > others / 2
    else:
        code = names.index(found.name)
        assert found.share == shares[code] >= 0.9
        assert found.label_share == (y == code).mean() < 0.9


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 3))
def test_a_perfect_classifier_never_collapses_and_a_constant_one_does(labels, constant):
    y = np.array(labels)
    matrix = confusion_matrix(y, y, labels=range(4))
    assert find_collapse(matrix, "abcd") is None
    matrix = confusion_matrix(y, np.full(len(y), constant), labels=range(4))
    assert (find_collapse(matrix, "abcd") is None) == ((y == constant).mean() >= 0.9)
