import pickle
import random

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
)

from cnnboost import CNNClassifier
from cnnboost.cnn.architectures import build
from cnnboost.errors import DataError, ModelError, ParameterError, TrainingError
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.images.views import TTA, views

FAST = {"epochs": 1, "batch_size": 64}


def small(input_shape, n_classes):
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten()]
    return keras.Sequential([*stack, layers.Dense(8, "relu"), layers.Dense(n_classes, "softmax")])


def test_it_learns(toy_cnn, toy_images):
    X, y = toy_images
    assert toy_cnn.score(X, y) > 0.9
    assert toy_cnn.classes_.tolist() == list(range(10))
    assert set(toy_cnn.history_) == {"loss", "accuracy", "learning_rate", "seconds"}
    assert toy_cnn.input_shape_ == (8, 8, 1)
    proba = toy_cnn.predict_proba(X)
    assert (proba.shape, proba.dtype) == ((600, 10), np.float32)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(toy_cnn.predict(X), proba.argmax(axis=1))


def test_the_estimator_follows_scikit_learn():
    check_no_attributes_set_in_init("CNNClassifier", CNNClassifier())
    check_parameters_default_constructible("CNNClassifier", CNNClassifier())


def test_clone_round_trips_every_parameter():
    odd = {name: f"an odd {name}" for name in CNNClassifier().get_params()}
    assert clone(CNNClassifier(**odd)).get_params() == odd


def test_flat_rows_float_and_missing_channel_give_the_same(toy_cnn, toy_images):
    X = toy_images[0][:20]
    expected = toy_cnn.predict_proba(X)
    np.testing.assert_array_equal(toy_cnn.predict_proba(X[..., 0]), expected)
    np.testing.assert_allclose(toy_cnn.predict_proba(X.astype(float)), expected, atol=1e-6)
    flat = clone(toy_cnn).set_params(image_shape=(8, 8), **FAST).fit(X.reshape(20, -1), np.arange(20) % 2)
    assert flat.predict(X.reshape(20, -1)).shape == (20,)


@pytest.mark.parametrize("names", [["zero", "one", "two"], [-5, 100, 3]], ids=["strings", "gaps"])
def test_any_labels(toy_images, names):
    y = np.array(names)[toy_images[1] % len(names)]
    cnn = CNNClassifier(small, **FAST).fit(toy_images[0], y)
    assert cnn.classes_.tolist() == sorted(set(names))
    assert set(cnn.predict(toy_images[0])) <= set(names)


def test_a_stated_order_of_classes_is_kept_and_gives_absent_ones_a_column(toy_images):
    order = ["z", "y", "x", "w"]
    y = np.array(["x", "y", "z"])[toy_images[1] % 3]
    cnn = CNNClassifier(small, classes=order, epochs=8, learning_rate=0.01).fit(toy_images[0], y)
    assert cnn.classes_.tolist() == order
    assert cnn.predict_proba(toy_images[0]).shape == (600, 4)
    assert "w" not in set(cnn.predict(toy_images[0]))
    assert cnn.score(toy_images[0], y) > 0.5


def test_the_seed_decides_and_global_randomness_is_left_alone(toy_images):
    def fit(seed):
        return CNNClassifier(small, random_state=seed, **FAST).fit(*toy_images).predict_proba(toy_images[0])

    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    expected = np.random.rand(), random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    first = fit(0)
    assert (np.random.rand(), random.random()) == expected  # noqa: NPY002
    np.testing.assert_allclose(first, fit(0), atol=1e-6)
    assert not np.allclose(first, fit(1))


def test_the_plateau_lowers_the_learning_rate(toy_images):
    # Steps this small leave the loss where it is: a plateau from the second epoch on.
    cnn = CNNClassifier(
        small, epochs=5, learning_rate=1e-9, reduce_lr=1, reduce_lr_factor=0.1, min_learning_rate=1e-10
    )
    rates = cnn.fit(*toy_images).history_["learning_rate"]
    assert rates[0] == pytest.approx(1e-9)
    assert rates[-1] == pytest.approx(1e-10)


def test_validation_data_is_watched_not_trained_on(toy_images):
    X, y = toy_images
    plain = CNNClassifier(small, **FAST).fit(X[:400], y[:400])
    watched = CNNClassifier(small, **FAST).fit(X[:400], y[:400], validation_data=(X[400:], y[400:]))
    assert {"val_loss", "val_accuracy"} <= set(watched.history_)
    np.testing.assert_allclose(watched.predict_proba(X), plain.predict_proba(X), atol=1e-5)


def test_class_weights_are_sample_weights(toy_images):
    X, y = toy_images[0], toy_images[1] % 2
    by_class = CNNClassifier(small, class_weight={0: 1.0, 1: 5.0}, **FAST).fit(X, y)
    by_row = CNNClassifier(small, **FAST).fit(X, y, sample_weight=np.where(y, 5.0, 1.0))
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), atol=1e-5)
    with pytest.raises(ParameterError, match=r"class_weight names \[7\]"):
        CNNClassifier(small, class_weight={7: 1.0}, **FAST).fit(X, y)


def test_it_survives_pickle(toy_cnn, toy_images):
    toy_cnn.predict_proba(toy_images[0][:1])
    copy = pickle.loads(pickle.dumps(toy_cnn))
    np.testing.assert_array_equal(copy.predict_proba(toy_images[0]), toy_cnn.predict_proba(toy_images[0]))


class TestModelFiles:
    def test_a_file_is_taken_as_it_is(self, toy_file, toy_cnn, toy_images):
        loaded = CNNClassifier.load(toy_file, classes=[f"digit {i}" for i in range(10)])
        assert loaded.pixels_ == "raw"
        np.testing.assert_array_equal(
            loaded.predict_proba(toy_images[0]), toy_cnn.predict_proba(toy_images[0])
        )
        assert loaded.predict(toy_images[0])[0] == f"digit {toy_cnn.predict(toy_images[0])[0]}"

    def test_fit_continues_its_training(self, toy_file, toy_images):
        cnn = CNNClassifier(toy_file, epochs=1, learning_rate=1e-4).fit(*toy_images)
        assert cnn.history_["accuracy"][0] > 0.85

    def test_a_foreign_file_states_its_pixels(self, toy_images, tmp_path):
        image = keras.Input((8, 8, 1))
        model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(image)))
        model.save(tmp_path / "foreign.keras")
        X = toy_images[0][:6]
        for pixels, scaled in (("unit", X / 255), ("symmetric", X / 127.5 - 1), ("raw", X.astype(float))):
            loaded = CNNClassifier.load(tmp_path / "foreign.keras", pixels=pixels)
            logits = model.predict(scaled.astype(np.float32), verbose=0)
            expected = np.exp(logits - logits.max(axis=1, keepdims=True))
            np.testing.assert_allclose(
                loaded.predict_proba(X), expected / expected.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6
            )
        assert CNNClassifier.load(tmp_path / "foreign.keras").pixels_ == "unit"

    def test_one_sigmoid_unit_is_two_classes(self, toy_images, tmp_path):
        image = keras.Input((8, 8, 1))
        model = keras.Model(image, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(image)))
        model.save(tmp_path / "binary.keras")
        X, y = toy_images[0], np.where(toy_images[1] > 4, "high", "low")
        cnn = CNNClassifier(tmp_path / "binary.keras", epochs=3, learning_rate=0.01).fit(X, y)
        assert cnn.classes_.tolist() == ["high", "low"]
        assert cnn.predict_proba(X).shape == (600, 2)
        assert cnn.score(X, y) > 0.6

    def test_what_does_not_fit_is_named(self, toy_file, toy_images):
        with pytest.raises(ModelError, match="10 classes apart, 2 were named"):
            CNNClassifier.load(toy_file, classes=["a", "b"])
        with pytest.raises(ModelError, match="10 classes apart, the labels have 2"):
            CNNClassifier(toy_file).fit(toy_images[0], toy_images[1] % 2)
        with pytest.raises(ModelError, match=r"9x9x1.*8x8x1"):
            CNNClassifier(toy_file).fit(np.zeros((10, 9, 9), np.uint8), np.arange(10))
        with pytest.raises(ModelError, match=r"9x9x1.*8x8x1"):
            CNNClassifier.load(toy_file).predict(np.zeros((1, 9, 9), np.uint8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"pixels": "percent"}, "'percent'"),
        ({"monitor": "val_loss"}, "monitor='val_loss': there are no validation images"),
        ({"tta": "flips"}, "tta='flips' must be one of none, flip"),
    ],
)
def test_impossible_parameters_are_refused_before_training(toy_images, options, words):
    cnn = CNNClassifier(small, **{**FAST, **options})
    with pytest.raises(ParameterError, match=words):
        cnn.fit(*toy_images)
    assert not hasattr(cnn, "model_")


def test_a_training_that_diverges_is_named(toy_images):
    def linear(input_shape, n_classes):
        layers = keras.layers  # nothing but products, so that too long steps grow until they are no numbers
        dense = [layers.Dense(16), layers.Dense(16), layers.Dense(n_classes, "softmax")]
        return keras.Sequential([keras.Input(input_shape), layers.Flatten(), *dense])

    cnn = CNNClassifier(linear, **{**FAST, "optimizer": "sgd", "learning_rate": 1e4, "epochs": 4})
    with pytest.raises(TrainingError, match="lower the learning rate"):
        cnn.fit(*toy_images)


def test_images_and_labels_of_different_length(toy_images):
    with pytest.raises(DataError, match="600 images and 599 labels"):
        CNNClassifier(small).fit(toy_images[0], toy_images[1][:-1])
    with pytest.raises(DataError, match="sample_weight"):
        CNNClassifier(small).fit(*toy_images, sample_weight=[1.0])


@pytest.fixture
def seen(toy_cnn, toy_images):
    """Return the toy CNN as an estimator of its own, whose parameters a test may set, and images."""
    return CNNClassifier.from_model(toy_cnn.model_, classes=toy_cnn.classes_, pixels="raw"), toy_images[0][
        :40
    ]


@pytest.mark.parametrize("tta", [name for name in TTA if name != "none"])
def test_probabilities_are_the_mean_over_the_views(seen, tta):
    cnn, X = seen
    once = cnn.predict_proba(X)
    found = cnn.set_params(tta=tta).predict_proba(X)
    wanted = np.mean([cnn.predict_view_proba(view) for view in views(X, tta)], axis=0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(cnn.predict(X), cnn.classes_[found.argmax(axis=1)])
    assert np.abs(found - once).max() > 1e-3
    np.testing.assert_array_equal(cnn.predict_view_proba(X), once)


def test_white_and_nearly_black_images_have_views_like_any_other():
    cnn = CNNClassifier.from_model(build("linear", (48, 48, 1), 3))
    for tta in TTA:
        for level in (0, 1, 255):
            X = np.full((2, 48, 48, 1), level, np.uint8)
            X[0, 10:20, 10:20] = 0
            np.testing.assert_allclose(cnn.set_params(tta=tta).predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_the_views_of_a_hybrid_are_its_own(seen):
    cnn, X = seen
    other = CNNClassifier.from_model(cnn.model_, classes=cnn.classes_, pixels="raw")
    alone = FeatureExtractor([cnn, other], ["fc1"], norm=False)(X)
    other.set_params(tta="flip")
    for found, wanted in zip(FeatureExtractor([cnn, other], ["fc1"], norm=False)(X), alone, strict=True):
        np.testing.assert_array_equal(found, wanted)
