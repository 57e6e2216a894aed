"""A hybrid is an estimator of images: its modes, its rows, its views, and what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures
from cnnboost.errors import DataError, LayerError, ModelError, ParameterError
from cnnboost.holdout import groups_of
from cnnboost.hybrid.calibration import fit_temperature, log_probabilities, tempered
from cnnboost.hybrid.classifier import HybridClassifier
from cnnboost.images.views import views

NAMES = np.array([f"digit {i}" for i in range(10)])


@pytest.fixture(scope="module")
def digits():
    """Images and labels: 700 that the CNN is trained on, 600 for heads, 497 to score."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = np.rint(X * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    rows = np.random.default_rng(0).permutation(len(X))
    X, y = X[rows], NAMES[y[rows]]
    return (X[:700], y[:700]), (X[700:1300], y[700:1300]), (X[1300:], y[1300:])


@pytest.fixture(scope="module")
def cnn(digits):
    """A CNN that has learnt a little; do not fit it again."""
    return untrained(epochs=3).fit(*digits[0])


def untrained(**parameters):
    options = {"filters": [8], "dense": [16]}
    return CNNClassifier("digits", model_options=options, **{"epochs": 2, "batch_size": 32, **parameters})


def trees(**parameters):
    metadata = {"n_estimators": 15, "max_depth": 2, "learning_rate": 0.3, "n_jobs": 1, **parameters}
    return BoostClassifier(**metadata)


def hybrid(cnn, **parameters):
    return HybridClassifier(cnn, **{"boost": trees(), **parameters})


def loss(digits, proba):
    return log_loss(digits[2][1], proba, labels=NAMES)


@pytest.fixture(scope="module")
def residual(digits, cnn):
    """A fitted hybrid; do not change it."""
    return hybrid(cnn, mode="residual").fit(*digits[1])


def test_plain_is_the_pipeline(digits, cnn):
    found = hybrid(cnn).fit(*digits[1])
    pipeline = make_pipeline(CNNFeatures(FrozenEstimator(cnn)), trees()).fit(*digits[1])
    X = digits[2][0]
    np.testing.assert_array_equal(found.predict_proba(X), pipeline.predict_proba(X))
    np.testing.assert_array_equal(found.predict(X), pipeline.predict(X))
    np.testing.assert_array_equal(found.classes_, pipeline.classes_)


@pytest.mark.parametrize("mode", ["residual", "blend"])
@pytest.mark.parametrize("layer", ["fc1", ["flatten", "fc1"]])
def test_it_betters_its_softmax(digits, cnn, mode, layer):
    found = hybrid(cnn, mode=mode, layer=layer).fit(*digits[1])
    X = digits[2][0]
    assert loss(digits, found.predict_proba(X)) < loss(digits, found.predict_softmax(X))
    assert found.score(*digits[2]) >= cnn.score(*digits[2]) - 0.01


def test_a_residual_without_rounds_is_the_calibrated_softmax(digits, cnn):
    found = hybrid(cnn, mode="residual", boost=trees(n_estimators=1, learning_rate=1e-9)).fit(*digits[1])
    X = digits[2][0]
    expected = tempered(log_probabilities(cnn.predict_proba(X)), found.head_.temperature)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-5)
    np.testing.assert_allclose(found.predict_softmax(X), expected, atol=1e-6)


def test_views_count_where_rounds_and_temperature_are_chosen(digits, cnn):
    options = {"mode": "residual", "tta": "shifts", "boost": trees(n_estimators=2)}
    found = hybrid(cnn, **options).fit(*digits[0], validation_data=digits[1])
    X, names = digits[1]
    logs = [log_probabilities(cnn.predict_view_proba(view)) for view in views(X, "shifts")]
    codes = np.tile(np.searchsorted(found.classes_, names), len(logs))
    assert found.head_.temperature == pytest.approx(fit_temperature(np.concatenate(logs), codes), rel=1e-3)


def test_images_to_choose_on_may_be_given(digits, cnn):
    found = hybrid(cnn, mode="residual").fit(*digits[0], validation_data=digits[1])
    watched = found.head_.boost.evals_result_["validation"]["mlogloss"]
    assert watched[found.head_.boost.best_iteration_] == min(watched)
    X = digits[2][0]
    assert loss(digits, found.predict_proba(X)) <= loss(digits, found.predict_softmax(X)) + 0.02


@pytest.mark.parametrize("fit_on", ["held-out", "train"])
def test_a_network_is_not_trained_on_what_is_held_out(digits, monkeypatch, fit_on):
    seen, fitted = [], []
    train, grow = CNNClassifier.fit, BoostClassifier.fit

    def noted(self, X, y, **options):
        seen.append(X)
        return train(self, X, y, **options)

    def counted(self, X, y, **options):
        fitted.append(len(X))
        return grow(self, X, y, **options)

    monkeypatch.setattr(CNNClassifier, "fit", noted)
    monkeypatch.setattr(BoostClassifier, "fit", counted)
    X, y = digits[0]
    template = untrained(epochs=1)
    found = hybrid(template, mode="residual", holdout=0.2, fit_on=fit_on, views=2).fit(X, y)
    assert len(seen) == 1
    assert len(seen[0]) == pytest.approx(560, abs=3)
    assert not hasattr(template, "model_")
    rows = len(seen[0]) if fit_on == "train" else len(X) - len(seen[0])
    assert fitted[-1] == 2 * rows
    assert found.predict(digits[2][0]).shape == (497,)


def test_folds_ask_each_network_about_what_it_has_not_seen(digits, monkeypatch):
    asked = []
    train = CNNClassifier.fit

    def noted(self, X, y, **options):
        asked.append({image.tobytes() for image in X})
        return train(self, X, y, **options)

    monkeypatch.setattr(CNNClassifier, "fit", noted)
    X, y = digits[0]
    found = hybrid(untrained(), layer="output", mode="residual", folds=3).fit(X, y)
    assert len(asked) == len(found.networks_) == 3
    everything = {image.tobytes() for image in X}
    left_out = [everything - part for part in asked]
    assert set.union(*left_out) == everything
    assert sum(map(len, left_out)) == len(everything)
    mean = np.mean([log_probabilities(net.predict_proba(digits[2][0])) for net in found.networks_], axis=0)
    expected = tempered(mean, found.head_.temperature)
    np.testing.assert_allclose(found.predict_softmax(digits[2][0]), expected, atol=1e-5)


def test_an_ensemble_is_the_mean_of_its_networks(digits, cnn):
    other = untrained(epochs=2, random_state=1).fit(*digits[0])
    both = hybrid([cnn, other], mode="residual").fit(*digits[1])
    X = digits[2][0]
    mean = np.mean([log_probabilities(one.predict_proba(X)) for one in (cnn, other)], axis=0)
    expected = tempered(mean, both.head_.temperature)
    np.testing.assert_allclose(both.predict_softmax(X), expected, atol=1e-5)
    assert both.n_features_ == hybrid(cnn).fit(*digits[1]).n_features_
    assert loss(digits, both.predict_proba(X)) < loss(digits, both.predict_softmax(X))


@pytest.mark.parametrize("tta", ["flip", "shifts", "ten-crop"])
def test_predictions_are_means_over_views(digits, cnn, residual, tta):
    X = digits[2][0][:20]
    many = hybrid(cnn, mode="residual", tta=tta).fit(*digits[1])
    parts = [residual.predict_proba(view) for view in views(X, tta)]
    np.testing.assert_allclose(many.predict_proba(X), np.mean(parts, axis=0), atol=1e-6)
    np.testing.assert_allclose(many.predict_proba(X).sum(axis=1), 1, atol=1e-5)


def test_the_norm_is_one_more_feature(digits, cnn):
    without, with_norm = (hybrid(cnn, norm=norm).fit(*digits[1]) for norm in (False, True))
    assert with_norm.n_features_ == without.n_features_ + 1
    features = CNNFeatures(FrozenEstimator(cnn)).fit(None or digits[1][0]).transform(digits[2][0])
    found = with_norm.extractor_(digits[2][0])[0]
    np.testing.assert_allclose(found[:, -1], np.linalg.norm(features, axis=1), rtol=1e-5)


def test_views_are_other_looks_at_the_same_images(digits, cnn):
    augment = {"shift": 0.1, "rotation": 10}
    extractor = hybrid(cnn, views=3, augment=augment).fit(*digits[1]).extractor_
    seen = extractor.grown(digits[1][0], np.zeros(600, int), 3, augment)
    assert seen.features.shape[0] == 1800
    assert (seen.groups == np.tile(groups_of(digits[1][0]), 3)).all()
    first, second, third = np.split(seen.features, 3)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_views_of_float_images_are_those_of_whole_levels(digits, cnn):
    extractor = hybrid(cnn).fit(*digits[1]).extractor_
    X, codes = digits[1][0][:40], np.zeros(40, int)
    whole, floats = (extractor.grown(part, codes, 2, {"shift": 0.1}) for part in (X, X.astype(np.float32)))
    np.testing.assert_allclose(floats.features, whole.features, atol=1e-5)


def test_it_is_a_scikit_learn_estimator(digits, cnn, residual, toy_file):
    template = HybridClassifier(toy_file, layer=["flatten", "fc1"], mode="blend", views=2, boost=trees())
    again = clone(template)
    assert {k: str(v) for k, v in again.get_params().items()} == {
        k: str(v) for k, v in template.get_params().items()
    }
    copy = pickle.loads(pickle.dumps(residual))
    X = digits[2][0][:30]
    np.testing.assert_array_equal(copy.predict_proba(X), residual.predict_proba(X))
    search = GridSearchCV(
        HybridClassifier(FrozenEstimator(cnn), boost=trees(n_estimators=2)),
        {"mode": ["plain", "residual"]},
        cv=2,
    )
    assert search.fit(*digits[1]).best_score_ > 0.5


@pytest.mark.parametrize(
    ("parameters", "error", "complaint"),
    [
        ({"mode": "stack"}, ParameterError, "unknown mode='stack'; valid modes: plain, residual, blend"),
        ({"tta": "five"}, ParameterError, "tta='five' must be one of"),
        ({"layer": []}, ParameterError, "names no layer"),
        ({"layer": ["fc1", "fc1"]}, ParameterError, "names a layer twice"),
        ({"layer": "fc9"}, LayerError, "no layer 'fc9'"),
        ({"views": 0}, ParameterError, "views=0: input should be greater than or equal to 1"),
        ({"views": 3}, ParameterError, "views above 2, the image and its mirror image, need augment"),
        ({"views": 2, "augment": {"flop": 1}}, ParameterError, "did you mean 'flip'"),
        ({"holdout": 0.1}, ParameterError, "holdout is for a CNN that is not trained yet"),
        ({"folds": 3, "layer": "output"}, ParameterError, "folds is for a CNN that is not trained yet"),
        ({"fit_on": "test"}, ParameterError, "fit_on='test': input should be 'train', 'held-out' or 'both'"),
        ({"boost": 3}, ParameterError, "boost=3: give a BoostClassifier"),
    ],
)
def test_impossible_parameters_are_refused(digits, cnn, parameters, error, complaint):
    with pytest.raises(error, match=complaint):
        hybrid(cnn, **parameters).fit(*digits[1])


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"mode": "residual"}, "give holdout=0.1, folds=5 or validation_data"),
        ({"folds": 3, "layer": "output", "holdout": 0.1}, "holdout and folds each say which CNNs there are"),
        ({"folds": 3, "layer": "output", "views": 2}, "leave them out, or name layers"),
    ],
)
def test_plans_that_contradict_themselves_are_refused(digits, parameters, complaint):
    with pytest.raises(ParameterError, match=complaint):
        hybrid(untrained(), **parameters).fit(*digits[0])


def test_networks_that_do_not_go_together_are_refused(digits, cnn, toy_cnn):
    with pytest.raises(ModelError, match="network 1 knows the classes"):
        hybrid([cnn, toy_cnn]).fit(*digits[1])
    with pytest.raises(ModelError, match="network 1 of 2 is not trained"):
        hybrid([cnn, untrained()]).fit(*digits[1])
    with pytest.raises(ModelError, match="names no network"):
        hybrid([]).fit(*digits[1])
    with pytest.raises(ModelError, match="neither a path"):
        hybrid(3).fit(*digits[1])
    with pytest.raises(DataError, match="is none of the classes"):
        hybrid(toy_cnn).fit(*digits[1])
