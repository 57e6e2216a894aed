"""Rivals of the trees: what they see, what is chosen on inner folds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cnnboost.config.outcomes import RIVALS, Head
from cnnboost.errors import ParameterError
from cnnboost.hybrid.crossfit import CrossFit
from cnnboost.hybrid.rivals import Rival, VectorScaling, rivals_of
from tests.hybrid.test_modes import K, problem

INSTALLED = [rival.name for rival in rivals_of(None, 0)]


def rival_of(path: str, **table) -> Rival:
    (found,) = rivals_of([Head(path=path, **table)], 3)
    return found


def crossfit(seen, **options):
    return CrossFit([seen], seen.features, K, folds=3, seed=0, **options)


@pytest.mark.parametrize("name", INSTALLED)
def test_labels_of_an_image_do_not_reach_its_own_score(name):
    rival = rival_of(name)
    seen = problem(240)
    fit = crossfit(seen)
    scored = fit._parts[0][1]
    turned = seen.codes.copy()
    turned[scored] = (turned[scored] + 1) % K
    other = crossfit(seen._replace(codes=turned))
    other._parts = fit._parts
    one, two = fit.rival(rival), other.rival(rival)
    np.testing.assert_array_equal(one.proba[scored], two.proba[scored])
    assert not np.array_equal(one.proba, two.proba)
    np.testing.assert_allclose(one.proba.sum(axis=1), 1, atol=1e-5)
    assert len(one.chosen) == 3


def test_all_that_are_named_are_there():
    assert [name for name in RIVALS if name != "lightgbm"] == [n for n in INSTALLED if n != "lightgbm"]


@pytest.mark.parametrize("name", ["logistic_regression", "hist_gradient_boosting"])
def test_a_head_betters_the_softmax_of_a_weak_network(name):
    seen = problem(900)
    fit = crossfit(seen)
    rival = rival_of(name)
    assert log_loss(seen.codes, fit.rival(rival).proba) < log_loss(seen.codes, fit.softmax()[1].proba)


def test_vector_scaling_finds_what_was_turned():
    """Factors and offsets that were put on the log-probabilities are taken back."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6000, K)) * 2
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(K, p=row) for row in proba])
    factors, offsets = np.linspace(0.5, 2, K), np.linspace(-1, 1, K)
    found = VectorScaling().fit((logits - offsets) / factors, y)
    np.testing.assert_allclose(found.factors_, factors, rtol=0.15)
    np.testing.assert_allclose(found.offsets_ - found.offsets_.mean(), offsets, atol=0.15)
    held = VectorScaling(penalty=1e6).fit(logits, y)
    np.testing.assert_allclose(held.factors_, 1, atol=1e-4)


def test_vector_scaling_sees_log_probabilities_alone_and_never_training():
    seen, train = problem(240), problem(300, 1)
    rival = rival_of("vector_scaling")
    found = crossfit(seen).rival(rival, train)
    moved = seen._replace(features=seen.features + 1)
    other = CrossFit([moved], seen.features, K, folds=3, seed=0)
    np.testing.assert_array_equal(found.proba, other.rival(rival).proba)


def test_others_are_fitted_once_on_what_trees_are_grown_on():
    seen, train = problem(240), problem(300, 1)
    rival = rival_of("logistic_regression")
    found = crossfit(seen).rival(rival, train)
    alone = rival.fit(train, K, 0)
    np.testing.assert_array_equal(found.proba, alone.predict_proba(seen.features, seen.log_proba))
    assert found.chosen == [alone.chosen] * 3
    assert set(alone.chosen) == {"logisticregression__C"}


def test_a_classifier_by_its_import_path():
    path = "sklearn.ensemble.RandomForestClassifier"
    rival = rival_of(path, options={"n_estimators": 5}, name="forest")
    fitted = rival.fit(problem(120), K, 3)
    assert rival.name == "forest"
    assert fitted.estimator[-1].random_state == 3
    assert fitted.predict_proba(*problem(20, 1)[:2]).shape == (20, K)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("logistic_regresion", "did you mean 'logistic_regression'"),
        ("no_such_package.Classifier", "cannot be imported.*no_such_package"),
        ("sklearn.ensemble.RandomForestClasifier", "did you mean 'RandomForestClassifier'"),
        ("sklearn.linear_model.LinearRegression", "is no scikit-learn classifier"),
        ("collections.OrderedDict", "is no scikit-learn classifier"),
        ("os.path.join", "has no class 'join'"),
        ("sklearn.svm.LinearSVC", "has no predict_proba"),
        ("..", "cannot be imported"),
    ],
)
def test_what_is_no_head_is_named(head, said):
    with pytest.raises(ParameterError, match=said):
        rival_of(head)


def test_options_that_are_unknown_are_named():
    with pytest.raises(ParameterError, match=r"GaussianNB.*is no scikit-learn classifier.*depth"):
        rival_of("sklearn.naive_bayes.GaussianNB", options={"depth": 3})


def test_a_head_that_cannot_be_fitted_is_named():
    rival = rival_of("sklearn.naive_bayes.MultinomialNB")
    with pytest.raises(ParameterError, match=r"MultinomialNB cannot be fitted.*Negative"):
        rival.fit(problem(60), K, 0)


def test_classes_that_are_missing_are_named():
    seen = problem(120)
    rival = rival_of("sklearn.naive_bayes.GaussianNB")
    with pytest.raises(ParameterError, match="knows the classes"):
        rival.fit(seen.take(np.flatnonzero(seen.codes > 0)), K, 0)


def test_rows_of_other_images_are_refused():
    seen = problem(60)
    with pytest.raises(ParameterError, match=r"60 images, 59 rows of features"):
        CrossFit([seen._replace(features=seen.features[1:])], seen.features, K, folds=3, seed=0)
