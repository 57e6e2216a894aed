"""What a head cannot be made of, or put under: refused with the value, the place and what would do."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnnboost import BoostClassifier, CNNClassifier
from cnnboost.errors import DataError, LayerError, ParameterError
from cnnboost.hybrid.classifier import HybridClassifier
from cnnboost.hybrid.crossfit import CrossFit
from tests.hybrid.test_modes import K, problem

NAMES = np.array([f"digit {i}" for i in range(10)])


def untrained(dense=(16, 12)):
    options = {"filters": [4], "dense": list(dense)}
    return CNNClassifier("digits", epochs=1, batch_size=64, model_options=options)


def trees():
    return BoostClassifier(n_estimators=2, max_depth=2, n_jobs=1)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return np.rint(X * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), NAMES[y]


@pytest.fixture(scope="module")
def cnn(digits):
    X, y = digits
    return untrained().fit(X[:400], y[:400])


@pytest.fixture(scope="module")
def head(digits, cnn):
    """A residual head at `fc1`, of 16 features and ten classes."""
    X, y = digits
    return HybridClassifier(cnn, mode="residual", boost=trees()).fit(X[400:700], y[400:700]).head_


def few(digits, count):
    """Return the digits with so many images of the 3."""
    X, y = digits
    kept = np.flatnonzero((y != "digit 3") | (np.cumsum(y == "digit 3") <= count))
    return X[kept], y[kept]


def test_a_head_and_its_own_network_go_together(digits, cnn, head):
    found = HybridClassifier.from_parts([cnn], "fc1", head)
    assert found.predict_proba(digits[0][:5]).shape == (5, 10)


@pytest.mark.parametrize(
    ("layer", "options", "error", "complaint"),
    [
        ("fc2", {}, ParameterError, "fitted on 16 features, and 'fc2' gives 12: it belongs to other layers"),
        (["fc1", "fc2"], {}, ParameterError, "fitted on 16 features, and ['fc1', 'fc2'] gives 28"),
        ([], {}, ParameterError, "fitted on 16 features, and [] gives 10"),
        ("fc1", {"norm": True}, ParameterError, "'fc1' gives 17: it belongs to other layers, or norm=True"),
        ("fc9", {}, LayerError, "no layer 'fc9'. Did you mean"),
        ("fc1", {"tta": "five"}, ParameterError, "tta='five' must be one of none, flip"),
    ],
)
def test_a_head_of_other_layers_is_refused(cnn, head, layer, options, error, complaint):
    with pytest.raises(error, match=re.escape(complaint)):
        HybridClassifier.from_parts([cnn], layer, head, **options)


def test_a_head_of_classes_of_other_names_is_refused(digits, cnn, head):
    y = digits[1]
    boost = trees().set_params(classes=list(NAMES[::-1])).fit(np.zeros((700, 16), np.float32), y[:700])
    with pytest.raises(ParameterError, match=r"the head knows the classes digit 9, .*another order"):
        HybridClassifier.from_parts([cnn], "fc1", replace(head, boost=boost))


def test_a_teacher_of_all_images_does_not_go_with_a_part_of_them(digits):
    soft_targets = untrained().set_params(teacher="teacher.npz")
    for part in ({"holdout": 0.2}, {"folds": 2, "layer": "output"}):
        with pytest.raises(ParameterError, match="its teacher's log-probabilities are of all of them"):
            HybridClassifier(soft_targets, **part).fit(*digits)


def test_a_head_of_other_classes_is_refused(digits, head):
    X, y = digits
    three = np.isin(y, NAMES[:3])
    with pytest.raises(ParameterError, match="the head knows 10 classes, the CNN 3"):
        HybridClassifier.from_parts([untrained().fit(X[three], y[three])], "fc1", head)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda log: log[:, :9], "shape (4, 9); give one score for each of 4 rows and 10 classes"),
        (lambda log: log[:3], "shape (3, 10); give one score for each of 4 rows"),
        (lambda log: log[:1], "shape (1, 10)"),
        (lambda log: log[0], "shape (10,)"),
        (lambda log: log * np.nan, "nan at row 0, class 0; probabilities of 0 have no logarithm"),
    ],
)
def test_log_probabilities_of_the_wrong_shape_are_refused(head, spoil, complaint):
    log_proba = np.full((4, 10), np.log(0.1), np.float32)
    with pytest.raises(DataError, match=re.escape(complaint)):
        head.predict_proba(np.zeros((4, 16), np.float32), spoil(log_proba))


@pytest.mark.parametrize("folds", [4])
def test_more_folds_than_the_rarest_class_allows_are_refused(digits, folds):
    X, y = few(digits, 3)
    complaint = f"class digit 3 has 3 different images, and {folds} folds need {folds}; give at most folds=3"
    with pytest.raises(DataError, match=complaint):
        HybridClassifier(untrained(), layer="output", mode="residual", folds=folds).fit(X, y)


def test_copies_of_an_image_do_not_make_a_class_larger(digits):
    X, y = few(digits, 2)
    rare = np.flatnonzero(y == "digit 3")
    X, y = (np.concatenate([part, part[rare], part[rare]]) for part in (X, y))
    with pytest.raises(DataError, match="class digit 3 has 2 different images"):
        HybridClassifier(untrained(), layer="output", folds=3).fit(X, y)


def test_cross_fitting_counts_the_rarest_class(cnn, digits):
    X, y = few(digits, 3)
    # No number of folds was asked for: they are those on which the rounds are chosen.
    with pytest.raises(DataError, match="class number 3 has 3 different images, and 5 folds need 5"):
        HybridClassifier(cnn, mode="residual", boost=trees()).fit(X, y)
    seen = problem(90)
    rare = seen.take(np.flatnonzero((seen.codes != 2) | (np.cumsum(seen.codes == 2) <= 3)))
    with pytest.raises(DataError, match="class number 2 has 3 different images, and 4 folds need 4"):
        CrossFit([rare], rare.features, K, folds=4, seed=0)


@pytest.mark.parametrize(("count", "share"), [(3, 0.05), (1, 0.3)])
def test_a_holdout_that_leaves_a_class_empty_is_refused(digits, count, share):
    X, y = few(digits, count)
    complaint = (
        f"holdout={share} leaves class digit 3 with {count} images to train on and 0 held out; give a "
        "larger share, or more images of that class"
    )
    with pytest.raises(DataError, match=complaint):
        HybridClassifier(untrained(), mode="residual", holdout=share).fit(X, y)


@pytest.mark.parametrize("share", [-0.1, 1, float("nan"), True, "0.1", None])
def test_an_impossible_holdout_is_refused(digits, share):
    with pytest.raises(ParameterError, match=re.escape(f"holdout={share!r}: input should be")):
        HybridClassifier(untrained(), mode="residual", holdout=share).fit(*digits)


@pytest.mark.parametrize("folds", [-1, 1, 2.5, True, "3", None])
def test_an_impossible_number_of_folds_is_refused(digits, folds):
    with pytest.raises(ParameterError, match=re.escape(f"folds={folds!r}")):
        HybridClassifier(untrained(), layer="output", folds=folds).fit(*digits)
