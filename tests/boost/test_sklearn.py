"""BoostClassifier keeps scikit-learn's contract."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cnnboost.boost import BoostClassifier


def quick(**parameters):
    return BoostClassifier(**{"n_estimators": 5, "n_jobs": 1, **parameters})


@parametrize_with_checks(
    [
        BoostClassifier(),
        BoostClassifier(early_stopping_rounds=10, class_weight="balanced"),
        quick(),
        quick(class_weight="balanced"),
        quick(early_stopping_rounds=3),
        quick(n_estimators=30, early_stopping_rounds=5, validation_fraction=0.3),
        quick(max_depth=3, xgb_params={"grow_policy": "lossguide", "max_leaves": 6}),
    ]
)
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


FURTHER = {"max_leaves": 5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_estimators", 3),
        ("max_depth", 2),
        ("learning_rate", 0.7),
        ("min_child_weight", 3),
        ("gamma", 0.5),
        ("subsample", 0.5),
        ("colsample_bytree", 0.5),
        ("reg_lambda", 7),
        ("reg_alpha", 2),
        ("max_bin", 8),
        ("class_weight", {0: 2, 1: 1}),
        ("classes", [1, 0]),
        ("early_stopping_rounds", 2),
        ("validation_fraction", 0.3),
        ("device", "cpu"),
        ("n_jobs", 2),
        ("random_state", 3),
        ("xgb_params", FURTHER),
    ],
)
def test_a_clone_has_every_parameter(name, value):
    assert name in BoostClassifier().get_params()
    head = BoostClassifier(**{name: value})
    assert getattr(head, name) is value
    assert clone(head).get_params() == head.get_params()
    assert repr(value) in repr(head)


def test_the_parameters_tested_above_are_all_there_are():
    tested = test_a_clone_has_every_parameter.pytestmark[0].args[1]
    assert {name for name, _ in tested} == set(BoostClassifier().get_params())


def test_fitting_changes_no_parameter(features, numbers):
    given = {
        "classes": [0, 1, 2],
        "class_weight": {0: 2},
        "xgb_params": {"colsample_bynode": 0.5, "monotone_constraints": [1, 0, 0, 0, 0, 0]},
    }
    before = copy.deepcopy(given)
    head = quick(**given).fit(features, numbers)
    assert given == before
    assert all(getattr(head, name) is value for name, value in given.items())


def test_early_stopping_works_inside_a_pipeline_and_a_search(features, emotions):
    line = make_pipeline(StandardScaler(), quick(n_estimators=60, early_stopping_rounds=3))
    search = GridSearchCV(
        line,
        {"boostclassifier__max_depth": [1, 3], "boostclassifier__validation_fraction": [0.2, 0.3]},
        n_jobs=2,
        cv=3,
        error_score="raise",
    ).fit(features, emotions)
    best = search.best_estimator_[-1]
    assert best.n_estimators_ < 60
    assert search.best_score_ > 0.8
    assert search.predict_proba(features).shape == (300, 3)


def test_folds_that_lack_a_rare_class_keep_its_column(features, numbers):
    y = numbers.copy()
    y[:1] = 7
    folds = StratifiedKFold(3)
    with pytest.warns(UserWarning, match="least populated class"):
        probabilities = cross_val_predict(
            quick(classes=[0, 1, 2, 3]), features, y, cv=folds, method="predict_proba"
        )
    assert probabilities.shape == (300, 4)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    lacking = 0  # the row of the rare class is scored by a head that never saw the class
    assert 0 < probabilities[lacking, 3] < 1e-9
    with pytest.warns(UserWarning, match="least populated class"):
        scores = cross_val_score(quick(classes=[0, 1, 2, 7]), features, y, cv=folds, error_score="raise")
    assert scores.min() > 0.7


def test_a_fold_of_one_class_does_not_end_a_cross_validation(features):
    y = np.array(["common"] * 298 + ["rare"] * 2)
    halves = [(np.arange(0, 150), np.arange(150, 300)), (np.arange(150, 300), np.arange(0, 150))]
    predicted = cross_val_predict(quick(), features, y, cv=halves)
    assert set(predicted[150:]) == {"common"}


def test_a_frozen_head_is_used_as_it_is(features, emotions):
    head = quick().fit(features, emotions)
    frozen = FrozenEstimator(head)
    assert clone(frozen).fit(features[:3], emotions[:3]).estimator is head
    calibrated = CalibratedClassifierCV(frozen, cv=3).fit(features, emotions)
    assert calibrated.predict_proba(features).shape == (300, 3)
    assert calibrated.calibrated_classifiers_[0].estimator.estimator is head


def test_weights_go_through_a_pipeline(features, emotions):
    weight = np.where(emotions == "sad", 5.0, 1.0)
    line = make_pipeline(StandardScaler(), quick())
    line.fit(features, emotions, boostclassifier__sample_weight=weight)
    alone = quick().fit(StandardScaler().fit_transform(features), emotions, sample_weight=weight)
    assert np.array_equal(
        line.predict_proba(features), alone.predict_proba(StandardScaler().fit_transform(features))
    )
