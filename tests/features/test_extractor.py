import pickle

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import (
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
)

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures
from cnnboost.cnn import inference
from cnnboost.cnn.architectures import build
from cnnboost.errors import FeatureError, LayerError, ModelError
from cnnboost.features.cut import Cut
from cnnboost.features.extractor import FEWEST_IMAGES, RecentFeatures


def pipeline(model, **boost):
    head = BoostClassifier(n_estimators=5, max_depth=2, **boost)
    return Pipeline([("features", CNNFeatures(model)), ("boost", head)])


def test_the_estimator_follows_scikit_learn(toy_file):
    check_no_attributes_set_in_init("CNNFeatures", CNNFeatures(str(toy_file)))
    check_parameters_default_constructible("CNNFeatures", CNNFeatures(str(toy_file)))


@pytest.mark.parametrize("kind", ["path", "model", "classifier", "frozen"])
def test_every_kind_of_model_gives_the_same_features(kind, toy_cnn, toy_file, toy_images):
    model = {
        "path": toy_file, "model": toy_cnn.model_, "classifier": toy_cnn, "frozen": FrozenEstimator(toy_cnn)
    }[kind]  # fmt: skip
    X = toy_images[0][:50]
    expected = np.asarray(Cut(toy_cnn.model_).trunk(["fc1"])(X.astype(np.float32), training=False))
    features = CNNFeatures(model, layer="fc1", image_shape=(8, 8)).fit_transform(X.reshape(50, -1))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected.reshape(50, 64), atol=1e-5)


def test_column_names(toy_file, toy_images):
    features = CNNFeatures(toy_file, layer="fc2").fit(toy_images[0])
    assert features.get_feature_names_out().tolist() == [f"fc2_{i}" for i in range(32)]
    frame = features.set_output(transform="pandas").transform(toy_images[0][:3])
    assert list(frame.columns) == features.get_feature_names_out().tolist()


def test_it_survives_pickle(toy_file, toy_images):
    features = CNNFeatures(toy_file).fit(toy_images[0])
    expected = features.transform(toy_images[0][:20])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(features)).transform(toy_images[0][:20]), expected
    )


def test_clone_copies_no_weights_and_round_trips(toy_file, toy_cnn):
    for given in (str(toy_file), FrozenEstimator(toy_cnn)):
        copied = clone(CNNFeatures(given, "flatten", pixels="raw", image_shape=(8, 8)))
        assert copied.get_params(deep=False) == {
            "model": given, "layer": "flatten", "pixels": "raw", "image_shape": (8, 8)
        }  # fmt: skip


def test_an_unfitted_cnn_is_trained_by_fit_and_left_unfitted(toy_images):
    cnn = CNNClassifier("digits", epochs=1)
    features = CNNFeatures(cnn).fit(*toy_images)
    assert not hasattr(cnn, "model_")
    assert features.transform(toy_images[0][:2]).shape == (2, 64)
    with pytest.raises(ModelError, match="no labels"):
        CNNFeatures(cnn).fit(toy_images[0])


def test_a_frozen_cnn_is_never_trained(toy_cnn, toy_images):
    before = [w.copy() for w in toy_cnn.model_.get_weights()]
    y = np.roll(toy_images[1], 1)
    cross_val_predict(pipeline(FrozenEstimator(toy_cnn)), toy_images[0][:200], y[:200], cv=2)
    for old, new in zip(before, toy_cnn.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_pipeline_learns_from_any_labels(toy_file, toy_images):
    y = np.array(["even", "odd"])[toy_images[1] % 2]
    fitted = pipeline(toy_file).fit(toy_images[0], y)
    assert fitted.classes_.tolist() == ["even", "odd"]
    assert fitted.score(toy_images[0], y) > 0.85
    other = make_pipeline(CNNFeatures(toy_file), LogisticRegression(max_iter=500)).fit(*toy_images)
    assert other.score(*toy_images) > 0.9


@pytest.mark.slow
def test_grid_search_in_two_processes_over_head_and_cut(toy_file, toy_images):
    grid = {"features__layer": ["fc1", "output"], "boost__max_depth": [1, 2]}
    search = GridSearchCV(pipeline(str(toy_file)), grid, cv=2, n_jobs=2).fit(
        toy_images[0][:200], toy_images[1][:200]
    )
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.6


def test_cross_validation_trains_a_cnn_for_each_fold(toy_images):
    X, y = toy_images[0][:200], toy_images[1][:200]
    proba = cross_val_predict(pipeline(CNNClassifier("digits", epochs=1)), X, y, cv=2, method="predict_proba")
    assert proba.shape == (200, 10)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_what_cannot_be_cut_is_named(toy_file, toy_images, tmp_path):
    X = toy_images[0]
    with pytest.raises(LayerError, match="'fc9'"):
        CNNFeatures(toy_file, layer="fc9").fit(X)
    with pytest.raises(ModelError, match="neither a path"):
        CNNFeatures(LogisticRegression()).fit(X)
    with pytest.raises(ModelError, match=r"nowhere\.keras"):
        CNNFeatures(tmp_path / "nowhere.keras").fit(X)
    with pytest.raises(ModelError, match="9x9x1"):
        CNNFeatures(toy_file).fit(X).transform(np.zeros((1, 9, 9), np.uint8))


def test_features_that_are_not_finite_are_refused(toy_images):
    image = keras.Input((8, 8, 1))
    total = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    model = keras.Model(image, keras.ops.log(total))
    X = toy_images[0][:6].copy()
    X[4] = 0
    with pytest.raises(FeatureError, match="image 4 "):
        CNNFeatures(model, layer=Cut(model).layers[-1].keras_name, pixels="raw").fit_transform(X)
    dense = keras.layers.Dense(2, kernel_initializer="ones", dtype="float16")
    model = keras.Model(image, dense(keras.layers.Flatten()(image * 100.0)))
    with pytest.raises(FeatureError, match=r"'output'.*half precision"):
        CNNFeatures(model, "output", pixels="raw").fit_transform(np.full((3, 8, 8, 1), 255, np.uint8))


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_features_are_float32_whatever_the_models_policy(policy):
    layers = keras.layers
    image = keras.Input((4, 4, 1))
    x = layers.Dense(6, "relu", dtype=policy)(layers.Flatten(dtype=policy)(image))
    model = keras.Model(image, layers.Dense(3, dtype=policy)(x))
    X = np.random.default_rng(0).integers(0, 256, (1200, 4, 4, 1)).astype(np.uint8)
    own = keras.ops.cast(keras.Model(image, x)(X.astype(np.float32), training=False), "float32")
    features = CNNFeatures(model, "fc1", pixels="raw").fit(X)
    for n in (1, 8, 512, 513, 1200):
        found = features.transform(X[:n])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, own[:n], rtol=2**-7 if "bfloat16" in policy else 2**-10)


def test_recent_features_are_copies_and_those_not_asked_for_longest_go_first():
    recent = RecentFeatures(400)
    for name in "abcd":
        mine = np.full(25, ord(name), np.float32)  # 100 bytes each
        recent.put(name, mine)
        mine += 1
    recent.get("a")[:] = 7
    assert recent.get("a")[0] == ord("a")
    recent.put("e", np.zeros(25, np.float32))
    assert recent.get("b") is None
    assert recent.get("a")[0] == ord("a")
    recent.put("large", np.zeros(26, np.float32))
    assert recent.get("large") is None


def test_copies_of_an_estimator_share_features_until_weights_or_images_change(monkeypatch):
    computed = []
    call = inference.Inference.__call__
    monkeypatch.setattr(
        inference.Inference, "__call__", lambda self, X: computed.append(len(X)) or call(self, X)
    )
    model = build("digits", (8, 8, 1), 10)
    X = np.random.default_rng(0).integers(0, 256, (FEWEST_IMAGES, 8, 8), np.uint8)
    features = CNNFeatures(model)
    first = features.fit_transform(X)
    np.testing.assert_array_equal(clone(features).fit_transform(X.copy()), first)
    assert computed == [FEWEST_IMAGES]
    for changed in ({"layer": "flatten"}, {"pixels": "symmetric"}):
        assert not np.array_equal(clone(features).set_params(**changed).fit_transform(X), first)
    for other in (255 - X, X.astype(np.float32), X.reshape(FEWEST_IMAGES, 8, 8, 1)[:, ::-1]):
        clone(features).fit_transform(other)
    model.set_weights([w * 2 for w in model.get_weights()])
    assert not np.array_equal(features.transform(X), first)
    assert computed == [FEWEST_IMAGES] * 7
