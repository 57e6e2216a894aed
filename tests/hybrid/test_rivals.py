"""Rivals of the trees: what they see, what is chosen on inner folds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cnnboost.config.outcomes import RIVALS, Head
from cnnboost.errors import ParameterError
from cnnboost.holdout import groups_of
from cnnboost.hybrid.crossfit import CrossFit
from cnnboost.hybrid.rivals import Rival, best_of, rivals_of
from tests.hybrid.test_crossfit import crossfit, with_turned_labels
from tests.hybrid.test_modes import K, problem

INSTALLED = [rival.name for rival in rivals_of(None)]


def rival_of(path: str, **table) -> Rival:
    (found,) = rivals_of([Head(path=path, **table)])
    return found


@pytest.mark.parametrize("name", INSTALLED)
def test_labels_of_an_image_do_not_reach_its_own_score(name):
    rival = rival_of(name)
    fit, other, scored = with_turned_labels(problem(240))
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


def test_vector_scaling_sees_log_probabilities_alone_and_never_training():
    seen, train = problem(240), problem(300, 1)
    rival = rival_of("vector_scaling")
    found = crossfit(seen).rival(rival, train)
    moved = seen._replace(features=seen.features + 1)
    other = CrossFit([moved], seen.features, K, folds=3, seed=0)
    np.testing.assert_array_equal(found.proba, other.rival(rival).proba)


def test_on_images_of_the_training_heads_see_the_features_alone():
    """Their log-probabilities tell the labels; settings and temperature come from other images."""
    seen, train = problem(240), problem(300, 1)
    rival = rival_of("logistic_regression")
    fit = crossfit(seen)
    found = fit.rival(rival, train)
    told = train._replace(log_proba=np.where(np.eye(K)[train.codes] > 0, -0.01, -6).astype(np.float32))
    np.testing.assert_array_equal(found.proba, fit.rival(rival, told).proba)
    others, scored = fit._parts[0]
    best = best_of(rival.fit_each(train, K, 0), seen.take(others))
    np.testing.assert_array_equal(
        found.proba[scored], best.predict_proba(seen.features[scored], seen.log_proba[scored])
    )
    assert (found.chosen[0], found.temperatures[0]) == (best.settings, best.temperature)
    assert set(best.settings) == {"C"}
    losses = [
        one.calibrated(seen.take(others)).log_loss(seen.take(others)) for one in rival.fit_each(train, K, 0)
    ]
    assert best.log_loss(seen.take(others)) == min(losses)


def test_on_images_that_the_network_has_not_seen_heads_see_log_probabilities_too():
    seen = problem(240)
    rival = rival_of("logistic_regression")
    assert rival.fit(seen, K, 0).columns(seen.features, seen.log_proba).shape == (240, 6 + K)
    alone = seen._replace(features=seen.log_proba)
    assert rival.fit(alone, K, 0).columns(alone.features, alone.log_proba).shape == (240, K)


def test_views_of_an_image_stay_on_one_side_of_the_inner_folds():
    """Random labels of copied images: whoever finds the copies chooses the fewest neighbours."""
    rng = np.random.default_rng(0)
    once = problem(150)._replace(codes=rng.permutation(np.arange(150) % K))
    copied = once.take(np.tile(np.arange(150), 8))
    rival = rival_of("nearest_neighbors")
    with_groups = copied._replace(groups=groups_of(copied.features))
    assert rival.fit(copied, K, 0).settings == {"n_neighbors": 15}
    assert rival.fit(with_groups, K, 0).settings == {"n_neighbors": 150}


def test_labels_of_all_views_of_an_image_do_not_reach_its_own_score():
    seen = problem(240)
    groups = groups_of(seen.features)
    grown = seen.take(np.tile(np.arange(240), 2))._replace(groups=np.tile(groups, 2))
    rival = rival_of("logistic_regression")
    fit = crossfit(seen, grown=grown)
    scored = fit._parts[0][1]
    turned = grown.codes.copy()
    turned[np.isin(grown.groups, groups[scored])] = 0
    again = crossfit(seen, grown=grown._replace(codes=turned))
    one, two = fit.rival(rival).proba, again.rival(rival).proba
    np.testing.assert_array_equal(one[scored], two[scored])
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_class_without_images_has_no_probability(name):
    seen = problem(240)
    some = seen.take(np.flatnonzero(seen.codes > 0))
    found = rival_of(name).fit(some, K, 0).predict_proba(seen.features, seen.log_proba)
    assert found.shape == (240, K)
    assert found[:, 0].max() < 0.2
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in INSTALLED if name != "linear_svm"])
def test_a_class_with_one_image_leaves_no_inner_folds(name):
    seen = problem(60)
    rows = np.concatenate([np.flatnonzero(seen.codes == 0)[:1], np.flatnonzero(seen.codes > 0)])
    assert rival_of(name).fit(seen.take(rows), K, 0).predict_proba(*seen[:2]).shape == (60, K)


def test_a_classifier_by_its_import_path():
    path = "sklearn.ensemble.RandomForestClassifier"
    rival = rival_of(path, options={"n_estimators": 5}, name="forest")
    fitted = rival.fit(problem(120), K, 3)
    assert rival.name == "forest"
    assert fitted.estimator[-1].random_state == 3
    assert fitted.predict_proba(*problem(20, 1)[:2]).shape == (20, K)


def test_built_in_heads_may_have_another_name():
    rival = rival_of("linear_svm", name="margin")
    assert (rival.name, rival.linear) == ("margin", True)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("logistic_regresion", "did you mean 'logistic_regression'"),
        ("no_such_package.Classifier", "cannot be imported.*no_such_package"),
        ("sklearn.ensemble.RandomForestClasifier", "did you mean 'RandomForestClassifier'"),
        ("sklearn.linear_model.LinearRegression", "is not a scikit-learn classifier"),
        ("subprocess.Popen", "is not a scikit-learn classifier"),
        ("collections.OrderedDict", "is not a scikit-learn classifier"),
        ("os.path.join", "has no class 'join'"),
        ("sklearn.svm.LinearSVC", "has no predict_proba"),
        ("..", "cannot be imported"),
    ],
)
def test_what_is_not_a_head_is_named(head, said):
    with pytest.raises(ParameterError, match=said):
        rival_of(head)


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        (
            "sklearn.naive_bayes.GaussianNB",
            {"depth": 3},
            "GaussianNB' cannot be made with the options.*depth",
        ),
        ("linear_svm", {"C": 1}, "'linear_svm' takes no options .C.; give the import path"),
        (
            "sklearn.model_selection.GridSearchCV",
            {"estimator": "a", "param_grid": {}},
            "GridSearchCV' cannot be made",
        ),
    ],
)
def test_options_that_will_not_do_are_named(path, options, said):
    with pytest.raises(ParameterError, match=said):
        rival_of(path, options=options)


def test_nothing_but_a_classifier_is_called(tmp_path):
    with pytest.raises(ParameterError, match="is not a scikit-learn classifier"):
        rival_of("io.FileIO", options={"file": str(tmp_path / "made"), "mode": "w"})
    assert not (tmp_path / "made").exists()


def test_a_head_that_cannot_be_fitted_or_predict_is_named():
    with pytest.raises(
        ParameterError, match=r"MultinomialNB cannot be fitted to 60 rows of 9 values: Negative"
    ):
        rival_of("sklearn.naive_bayes.MultinomialNB").fit(problem(60), K, 0)
    many = rival_of("sklearn.neighbors.KNeighborsClassifier", options={"n_neighbors": 1000}, name="many")
    with pytest.raises(ParameterError, match=r"many cannot predict 60 rows: Expected n_neighbors"):
        many.fit(problem(60), K, 0).predict_proba(*problem(60)[:2])


def test_rows_of_other_images_are_refused():
    seen = problem(60)
    with pytest.raises(ParameterError, match=r"60 images, 59 rows of features"):
        CrossFit([seen._replace(features=seen.features[1:])], seen.features, K, folds=3, seed=0)
