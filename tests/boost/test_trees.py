"""Trees that start from the scores of another model must better them, or stay away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from cnnboost.boost import BoostClassifier
from cnnboost.boost.trees import check_margin
from cnnboost.errors import DataError


@pytest.fixture(scope="module")
def problem():
    """Return features, labels, and the scores of a model that has seen part of what there is to see."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 5)).astype(np.float32)
    scores = np.stack([X[:, 0] + X[:, 1], X[:, 2] - X[:, 1], -X[:, 0] + 2 * (X[:, 3] > 0)], axis=1)
    y = np.array(["angry", "happy", "sad"])[(scores + rng.gumbel(size=scores.shape)).argmax(axis=1)]
    known = log_softmax(np.stack([X[:, 0] + X[:, 1], X[:, 2] - X[:, 1], -X[:, 0]], axis=1), axis=1)
    return X, y, known


def head(**parameters):
    return BoostClassifier(
        **{"n_estimators": 40, "max_depth": 2, "learning_rate": 0.1, "n_jobs": 1, **parameters}
    )


def test_the_trees_add_to_the_margins(problem):
    X, y, known = problem
    fitted = head(n_estimators=3).fit(X, y, base_margin=known)
    added = fitted.booster_.inplace_predict(X, predict_type="margin", base_margin=known) - known
    expected = softmax(known + added, axis=1)
    np.testing.assert_allclose(fitted.predict_proba(X, known), expected, atol=1e-6)
    # The same rows, other margins: the trees give the same.
    other = known[::-1]
    np.testing.assert_allclose(fitted.predict_proba(X, other), softmax(other + added, axis=1), atol=1e-6)
    assert (fitted.predict(X, known) == fitted.classes_[expected.argmax(axis=1)]).all()


def test_it_betters_the_margins_on_new_rows(problem):
    X, y, known = problem
    fitted = head(early_stopping_rounds=10).fit(X[:600], y[:600], base_margin=known[:600])
    assert 0 < fitted.n_estimators_ <= 40
    # The margins of the rows that are held out are theirs.
    first = fitted.evals_result_["validation"]["mlogloss"][0]
    assert abs(first - log_loss(y[:600], np.exp(known[:600]))) < 0.1
    new, labels, start = X[600:], y[600:], known[600:]
    assert log_loss(labels, fitted.predict_proba(new, start)) < 0.97 * log_loss(labels, np.exp(start))


def test_no_tree_is_kept_that_is_not_better_than_the_margins(problem, tmp_path):
    X, y, known = problem
    noise = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    sharp = log_softmax(9.0 * (y[:, None] == ["angry", "happy", "sad"]), axis=1)
    watched = (noise[600:], y[600:], sharp[600:])
    fitted = head(early_stopping_rounds=5, max_depth=4, learning_rate=1.0, min_child_weight=0).fit(
        noise[:600], y[:600], base_margin=known[:600], validation_data=watched
    )
    assert (fitted.n_estimators_, fitted.best_iteration_) == (0, -1)
    assert fitted.evals_result_["validation"]["mlogloss"]
    np.testing.assert_allclose(fitted.predict_proba(noise, sharp), np.exp(sharp), atol=1e-6)
    again = BoostClassifier.load(fitted.save(tmp_path / "none"))
    assert (again.n_estimators_, again.needs_margin_) == (0, True)
    np.testing.assert_array_equal(again.predict_proba(noise, sharp), fitted.predict_proba(noise, sharp))


def test_weights_and_margins_go_together(problem):
    X, y, known = problem
    weight = np.random.default_rng(2).integers(0, 3, len(X))
    rows = np.repeat(np.arange(len(X)), weight)
    weighed = head(n_estimators=5).fit(X, y, sample_weight=weight, base_margin=known)
    copied = head(n_estimators=5).fit(X[rows], y[rows], base_margin=known[rows])
    np.testing.assert_allclose(weighed.predict_proba(X, known), copied.predict_proba(X, known), atol=1e-6)


def test_a_head_and_its_file_say_whether_they_need_margins(problem, tmp_path):
    X, y, known = problem
    plain, residual = head(n_estimators=2).fit(X, y), head(n_estimators=2).fit(X, y, base_margin=known)
    for fitted, given_margin, complaint in ((plain, known, "fitted without"), (residual, None, "is missing")):
        again = BoostClassifier.load(fitted.save(tmp_path / "head"))
        for one in (fitted, again):
            with pytest.raises(DataError, match=complaint):
                one.predict_proba(X, given_margin)
            with pytest.raises(DataError, match=complaint):
                one.predict(X, given_margin)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda margin: margin[:-1], r"shape \(899, 3\); give one score for each of 900 rows and 3 classes"),
        (lambda margin: margin[:, :2], r"\(angry, happy, sad\): \(900, 3\)"),
        (lambda margin: margin[:, 0], r"shape \(900,\)"),
        (lambda margin: np.where(margin == margin[4, 1], -np.inf, margin), "-inf at row 4, class happy"),
        (lambda margin: np.full(margin.shape, "a"), "cannot be read as numbers"),
    ],
)
def test_impossible_margins_are_refused(problem, spoil, complaint):
    X, y, known = problem
    with pytest.raises(DataError, match=complaint):
        head().fit(X, y, base_margin=spoil(known))
    with pytest.raises(DataError, match="base_margin of validation_data"):
        head().fit(X, y, base_margin=known, validation_data=(X, y, spoil(known)))
    with pytest.raises(DataError, match="base_margin of validation_data is missing"):
        head().fit(X, y, base_margin=known, validation_data=(X, y))


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(-1e4, 1e4)),
    st.sampled_from(["C", "F"]),
)
def test_margins_arrive_as_xgboost_takes_them(scores, order):
    found = check_margin(np.asarray(scores, order=order), len(scores), ["a", "b", "c"], "base_margin")
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, scores, rtol=1e-6, atol=1e-30)
