from __future__ import annotations

import copy
import gc
import inspect
import pickle
import warnings

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cnnboost.boost import BoostClassifier
from cnnboost.config.tables import Boost
from cnnboost.errors import CnnboostError, FeatureError, TrainingError


def quick(**parameters):
    return BoostClassifier(**{"n_estimators": 4, "max_depth": 3, "n_jobs": 1, **parameters})


# What XGBoost does


@pytest.mark.parametrize(
    ("matrix", "n_classes", "max_bin"),
    [("DMatrix", 3, 256), ("QuantileDMatrix", 2, 256), ("QuantileDMatrix", 3, 4)],
)
def test_probabilities_are_those_of_plain_xgboost(features, numbers, matrix, n_classes, max_bin, xgboost):
    rows = numbers < n_classes
    X, y = features[rows], numbers[rows]
    common = {
        "max_depth": 4, "learning_rate": 0.2, "min_child_weight": 2, "gamma": 0.1, "subsample": 0.8,
        "colsample_bytree": 0.7, "reg_lambda": 1e-4, "reg_alpha": 0.01, "max_bin": max_bin,
    }  # fmt: skip
    more = {"max_delta_step": 1}
    ours = quick(n_estimators=8, **common, random_state=5, xgb_params=more, device="cpu").fit(X, y)
    own = {"objective": "multi:softprob", "num_class": n_classes, "tree_method": "hist", "seed": 5}
    bins = {} if matrix == "DMatrix" else {"max_bin": max_bin}
    data = getattr(xgboost, matrix)(X, label=y, **bins)
    plain = xgboost.train({**own, **common, **more}, data, num_boost_round=8)
    probabilities = ours.predict_proba(X)
    assert np.array_equal(probabilities, plain.predict(xgboost.DMatrix(X)))
    assert probabilities.dtype == np.float32
    for order in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        assert np.array_equal(ours.predict_proba(order), probabilities)


def test_float32_rows_are_not_copied(features, numbers, tmp_path):
    head = quick().fit(features, numbers)
    assert np.shares_memory(head._validated(features), features)
    np.save(tmp_path / "X.npy", features)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.shares_memory(head._validated(mapped), mapped)
    again = quick().fit(mapped, numbers)
    assert np.array_equal(again.predict_proba(mapped), head.predict_proba(features))


@pytest.mark.parametrize("kind", [np.float64, np.uint8])
def test_other_kinds_of_numbers_are_converted(numbers, kind):
    X = np.random.default_rng(0).integers(0, 200, size=(300, 4))
    expected = quick().fit(X.astype(np.float32), numbers).predict_proba(X.astype(np.float32))
    assert np.array_equal(quick().fit(X.astype(kind), numbers).predict_proba(X.astype(kind)), expected)


def test_xgboosts_refusal_is_an_error_of_ours(features, numbers):
    with pytest.raises(TrainingError, match=r"XGBoost gave up on 300 rows of 6 features") as caught:
        quick(xgb_params={"process_type": "update", "updater": "prune"}).fit(features, numbers)
    assert "Stack trace" not in str(caught.value)


# Labels and classes


@settings(max_examples=15, deadline=None)
@given(
    names=st.lists(st.text("abcxyz", min_size=1, max_size=4), min_size=3, max_size=3, unique=True),
    order=st.permutations([0, 1, 2]),
)
def test_renaming_and_reordering_the_classes_moves_columns_only(features, numbers, names, order):
    expected = quick().fit(features, numbers).predict_proba(features)
    y = np.array(names)[numbers]
    head = quick(classes=[names[i] for i in order]).fit(features, y)
    # Another order of the classes sums a softmax in another order, which may cost the last bit.
    np.testing.assert_allclose(head.predict_proba(features), expected[:, order], atol=2e-6)
    renamed = quick().fit(features, y)
    np.testing.assert_allclose(renamed.predict_proba(features), expected[:, np.argsort(names)], atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(
    n_rows=st.integers(1, 40),
    n_classes=st.integers(1, 5),
    seed=st.integers(0, 1000),
    weighted=st.booleans(),
    balanced=st.booleans(),
)
def test_rows_sum_to_one_and_the_prediction_is_the_largest(n_rows, n_classes, seed, weighted, balanced):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3))
    y = rng.choice(rng.choice(1000, n_classes, replace=False), n_rows)
    weight = rng.integers(0, 3, n_rows) + (np.arange(n_rows) == 0) if weighted else None
    head = quick(class_weight="balanced" if balanced else None).fit(X, y, sample_weight=weight)
    probabilities = head.predict_proba(X)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (n_rows, len(np.unique(y)))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities >= 0).all()
    assert np.array_equal(head.predict(X), head.classes_[probabilities.argmax(axis=1)])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_estimators": 60, "min_child_weight": 0},
        {"n_estimators": 60, "reg_lambda": 1e-4, "learning_rate": 1},
    ],
)
def test_a_class_without_rows_has_the_lowest_probability(features, emotions, parameters):
    present = emotions != "happy"
    X, y = np.tile(features[present], (5, 1)), np.tile(emotions[present], 5)
    head = quick(classes=["angry", "happy", "sad"], **parameters).fit(X, y)
    probabilities = head.predict_proba(features)
    assert (probabilities.argmin(axis=1) == 1).all()
    assert (probabilities[:, 1] > 0).all()
    assert (probabilities[:, 1] < 1e-9).all()
    # The others are what they are without the listed class.
    expected = quick(**parameters).fit(X, y).predict_proba(features)
    np.testing.assert_allclose(probabilities[:, [0, 2]], expected, atol=1e-4)
    # Rows that weigh nothing are as good as none.
    head = quick(**parameters).fit(features, emotions, sample_weight=present.astype(float))
    assert (head.predict_proba(features)[:, 1] < 1e-9).all()


def test_one_single_class_gives_a_constant_classifier(features):
    head = quick().fit(features, ["sad"] * 300)
    assert (head.predict_proba(features) == 1).all()
    assert set(head.predict(features)) == {"sad"}


# Weights


def test_class_weights_are_sample_weights(features, emotions):
    rows = np.r_[0:100, 100:130, 200:210]
    X, y = features[rows], emotions[rows]
    given = {"angry": 0.5, "happy": 3, "sad": 2}
    by_class = quick(class_weight=given).fit(X, y).predict_proba(X)
    by_row = quick().fit(X, y, sample_weight=[given[label] for label in y]).predict_proba(X)
    assert np.array_equal(by_class, by_row)

    balanced = quick(class_weight="balanced").fit(X, y).predict_proba(X)
    share = {label: 140 / 3 / (y == label).sum() for label in given}
    by_row = quick().fit(X, y, sample_weight=[share[label] for label in y]).predict_proba(X)
    assert np.array_equal(balanced, by_row)
    assert not np.array_equal(balanced, quick().fit(X, y).predict_proba(X))

    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    both = quick(class_weight={"sad": 4}).fit(X, y, sample_weight=weight).predict_proba(X)
    product = quick().fit(X, y, sample_weight=weight * np.where(y == "sad", 4, 1)).predict_proba(X)
    np.testing.assert_allclose(both, product, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"class_weight": dict.fromkeys(["angry", "happy", "sad"], 0)}, "no row of y carries weight"),
        ({"sample_weight": [-1.0] * 300}, "sample_weight"),
        ({"sample_weight": [1.0] * 299}, "sample_weight"),
        ({"sample_weight": [float("nan")] * 300}, "sample_weight"),
    ],
)
def test_impossible_weights_are_refused(features, emotions, weights, words):
    with pytest.raises(ValueError, match=words):
        quick(class_weight=weights.pop("class_weight", None)).fit(features, emotions, **weights)


# Early stopping


def test_early_stopping_holds_rows_out_and_keeps_the_best_round(features, emotions):
    head = quick(n_estimators=200, early_stopping_rounds=4, validation_fraction=0.2).fit(features, emotions)
    losses = head.evals_result_["validation"]["mlogloss"]
    assert len(losses) < 200
    assert head.best_iteration_ == int(np.argmin(losses)) == len(losses) - 1 - 4
    assert head.n_estimators_ == head.best_iteration_ + 1 == head.booster_.num_boosted_rounds()
    short = quick(n_estimators=head.n_estimators_, early_stopping_rounds=100, validation_fraction=0.2)
    assert np.array_equal(short.fit(features, emotions).predict_proba(features), head.predict_proba(features))


def test_rows_held_out_are_not_trained_on(features, numbers):
    from cnnboost.holdout import hold_out

    train, watched = hold_out(features, numbers, fraction=0.25, seed=3)
    assert 70 < len(watched) < 80
    parameters = {"random_state": 3, "early_stopping_rounds": 50, "validation_fraction": 0.25}
    held = quick(**parameters).fit(features, numbers)
    passed = quick(**parameters).fit(
        features[train], numbers[train], validation_data=(features[watched], numbers[watched])
    )
    assert np.array_equal(held.predict_proba(features), passed.predict_proba(features))
    assert held.evals_result_ == passed.evals_result_
    everything = quick().fit(features, numbers)
    assert not np.array_equal(held.predict_proba(features), everything.predict_proba(features))


def test_validation_data_is_watched_without_early_stopping(features, emotions):
    head = quick().fit(features[::2], emotions[::2], validation_data=(features[1::2], emotions[1::2]))
    assert len(head.evals_result_["validation"]["mlogloss"]) == 4 == head.n_estimators_
    assert quick().fit(features, emotions).evals_result_ == {}


def test_the_watched_loss_is_weighed_like_the_trained_one(features, emotions):
    weights = {"angry": 5.0, "happy": 0.0}
    head = quick(class_weight=weights).fit(features, emotions, validation_data=(features, emotions))
    probabilities = head.predict_proba(features)[np.arange(300), np.repeat([0, 1, 2], 100)]
    row_weights = np.repeat([5.0, 0.0, 1.0], 100)
    expected = -(np.log(probabilities.astype(float)) * row_weights).sum() / row_weights.sum()
    assert head.evals_result_["validation"]["mlogloss"][-1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (lambda X, y: X, "pass a tuple"),
        (lambda X, y: (X, y, y, y), "pass a tuple"),
        (lambda X, y: (X, y, y), "fitted without"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X[:, :-1], y), "features"),
        (lambda X, y: (X, np.where(y == "sad", "calm", y)), "label 'calm' of validation_data"),
        (
            lambda X, y: (np.where(X[7, 2] == X, np.nan, X), y),
            "X of validation_data is NaN at row 7, column 2",
        ),
    ],
)
def test_impossible_validation_data_is_refused(features, emotions, data, complaint):
    with pytest.raises(ValueError, match=complaint):
        quick().fit(features, emotions, validation_data=data(features, emotions))


# Bad features


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "inf"), (1e300, "too large")]
)
def test_values_that_are_not_finite_are_named(features, numbers, value, words, recwarn):
    X = features.astype(np.float64)
    X[250, 4] = value
    with pytest.raises(FeatureError, match=rf"X is {words}|X is infinite.*{words}") as caught:
        quick().fit(X, numbers)
    assert "row 250, column 4" in str(caught.value)
    assert isinstance(caught.value, CnnboostError)
    head = quick().fit(features, numbers)
    with pytest.raises(FeatureError, match="row 250, column 4"):
        head.predict_proba(X)
    assert not recwarn.list


# What the fitted head is


def test_importances_are_the_normalised_gain(features, numbers):
    X = features.copy()
    X[:, 3] = 0
    head = quick().fit(X, numbers)
    importances = head.feature_importances_
    gains = head.booster_.get_score(importance_type="gain")
    assert importances.shape == (6,)
    assert importances.sum() == pytest.approx(1)
    assert importances[3] == 0
    assert importances[0] / importances[1] == pytest.approx(gains["f0"] / gains["f1"], rel=1e-5)
    assert (quick().fit(np.zeros((300, 6)), numbers).feature_importances_ == 0).all()


def test_a_fitted_head_survives_copying(features, emotions):
    head = quick(n_estimators=40, early_stopping_rounds=2).fit(features, emotions)
    other = pickle.loads(pickle.dumps(head))
    assert np.array_equal(other.predict_proba(features), head.predict_proba(features))
    assert (other.best_iteration_, other.classes_.tolist()) == (
        head.best_iteration_,
        ["angry", "happy", "sad"],
    )


def test_single_rows_agree_with_the_batch_and_leave_memory_flat(features, numbers):
    head = quick().fit(features, numbers)
    batch = head.predict_proba(features)
    process = psutil.Process()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(3500):
            row = step % 300
            assert np.array_equal(head.predict_proba(features[row : row + 1])[0], batch[row])
            if step == 1000:
                gc.collect()
                before = process.memory_info().rss
    gc.collect()
    assert process.memory_info().rss - before < 2 << 20


# scikit-learn's contract


@parametrize_with_checks(
    [
        BoostClassifier(n_estimators=5),
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
