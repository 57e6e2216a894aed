from functools import cache

import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.stages.diagnostics import dead_units, symptoms, symptoms_of_failure


def network(shape, n_classes, bias=0.0, rescale=True):
    import keras

    image = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(image) if rescale else image
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(x)
    bias = keras.initializers.Constant(bias)
    x = keras.layers.Dense(6, bias_initializer=bias, name="hidden")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Dropout(0.4)(x)
    return keras.Model(image, keras.layers.Dense(n_classes, activation="softmax")(x))


@pytest.fixture(scope="module")
def fitted(toy_images):
    @cache
    def fit(**options):
        cnn = CNNClassifier(network, model_options=options, epochs=1, learning_rate=1e-9)
        return cnn.fit(toy_images[0][:40], toy_images[1][:40].astype(str))

    return fit


@pytest.fixture
def said(toy_images):
    def said(cnn, loss):
        seen = {"loss": loss, "accuracy": [0.1] * len(loss)}
        return symptoms(cnn, toy_images[0][:40], toy_images[1][:40].astype(str), seen)

    return said


def test_dead_units_are_counted_by_layer(fitted, toy_images):
    dead = dead_units(fitted(bias=-1e3), toy_images[0][:130])
    assert list(dead) == ["conv", "relu"]
    assert dead["relu"] == 1.0
    assert dead["conv"] < 0.8
    assert dead_units(fitted(bias=1e3), toy_images[0][:130])["relu"] == 0.0


def test_dead_relus_and_one_class_are_named(fitted, said):
    text = " | ".join(said(fitted(bias=-1e3), [2.3, 2.3]))
    assert "100% of the units of relu" in text
    assert "for 100.0% of the images" in text
    assert "dropout of up to 0.4" in text
    assert "Rescaling" not in text
    assert "raise" not in text, "a higher learning rate would kill more units"


def test_pixels_that_nobody_scales_are_named(fitted, said):
    assert any("begin the network with a Rescaling" in line for line in said(fitted(rescale=False), [2, 1]))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ([2.3, 2.29], "hardly moved: raise"),
        ([1.3, 2.0], "rose: lower"),
        ([9.0, 9.0], "guessing would give 2.303: lower"),
        ([2.3, 1.0], "still falls: allow more steps"),
        ([2.3, *[1.0] * 30], "has settled"),
    ],
)
def test_the_course_of_the_loss(fitted, said, loss, words):
    assert words in said(fitted(), loss)[0]
    assert "1e-09" in said(fitted(), loss)[0]


def test_a_training_that_broke_off():
    told = symptoms_of_failure(CNNClassifier(learning_rate=None), "the loss is nan after epoch 1")
    assert told[0] == "the loss is nan after epoch 1"
    assert "the optimiser has its own" in told[1]


def test_a_network_without_relus(toy_images):
    import keras

    def linear(shape, n_classes):
        image = keras.Input(shape)
        flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
        return keras.Model(image, keras.layers.Dense(n_classes, activation="softmax")(flat))

    cnn = CNNClassifier(linear, epochs=1).fit(toy_images[0][:40], toy_images[1][:40])
    assert dead_units(cnn, toy_images[0][:40]) == {}
    assert np.isfinite(cnn.predict_proba(toy_images[0][:2])).all()
