"""BoostClassifier keeps scikit-learn's contract."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cnnboost.boost import BoostClassifier
from cnnboost.config.tables import Boost


def quick(**parameters):
    return BoostClassifier(**{"n_estimators": 5, "n_jobs": 1, **parameters})


@parametrize_with_checks(
    [
        BoostClassifier(),
        quick(n_estimators=30, early_stopping_rounds=5, class_weight="balanced"),
        quick(max_depth=3, xgb_params={"grow_policy": "lossguide", "max_leaves": 6}),
    ]
)
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)


def test_the_parameters_are_the_keys_of_a_recipe_and_what_a_recipe_has_elsewhere():
    signature = inspect.signature(BoostClassifier).parameters
    keys = {"random_state" if key == "seed" else key for key in Boost.model_fields}
    assert set(signature) == keys | {"classes", "n_jobs"}
    table = Boost()
    for key in keys - {"random_state", "xgb_params"}:
        assert signature[key].default == getattr(table, key), key


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
