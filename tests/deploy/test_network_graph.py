"""A Keras model in a graph: all pixels, outputs and layers that need help to be expressed in ONNX."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.deploy.graph import cnn_graph
from cnnboost.errors import ModelError, ParameterError

from .small_graph import compare

layers = keras.layers
SHAPE = (8, 8, 1)


def model_of(*parts, shape=SHAPE, classes=3, last=None):
    keras.utils.set_random_seed(0)
    top = [layers.Flatten(), layers.Dense(classes, activation=last)]
    return keras.Sequential([keras.Input(shape), *parts, *top])


def same(model, X):
    """Compare a network that gives logits with Keras itself."""
    own = keras.ops.softmax(model(X.astype(np.float32), training=False))
    graph = cnn_graph(model, pixels="raw", kind="logits", shape=X.shape[1:])
    compare(graph, X, keras.ops.convert_to_numpy(own))


@pytest.mark.parametrize(
    ("pixels", "padding"),
    [("raw", "same"), ("unit", "same"), ("symmetric", "same"), ("symmetric", "valid"), ("caffe", "same"),
     ("torch", "valid")],
)  # fmt: skip
def test_every_range_of_pixels(toy_images, pixels, padding):
    X = np.concatenate([toy_images[0], toy_images[0] // 2, 255 - toy_images[0]], axis=3)
    # Scores of the same size whatever that of the pixels: the last bits of large ones count for more.
    spread = 0.2 / (255 if pixels in ("raw", "caffe") else 1)
    small = keras.initializers.RandomNormal(stddev=spread, seed=0)
    body = [
        layers.Conv2D(4, 3, padding=padding, use_bias=False, kernel_initializer=small),
        layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.MaxPooling2D(),
        layers.SeparableConv2D(6, 2, activation="elu"),
    ]
    nested = keras.Sequential(body, name="body")
    model = model_of(nested, shape=(8, 8, 3), classes=10, last="softmax")
    cnn = CNNClassifier.from_model(model, classes=range(10), pixels=pixels)
    graph = cnn_graph(model, pixels=pixels, kind="softmax", shape=(8, 8, 3))
    compare(graph, X, cnn.predict_proba(X))


@pytest.mark.parametrize("pixels", ["caffe", "torch"])
def test_scales_by_channel_refuse_grey_images(pixels):
    with pytest.raises(ParameterError, match="3 channels"):
        cnn_graph(model_of(), pixels=pixels, kind="logits", shape=SHAPE)


@pytest.mark.parametrize(
    ("kind", "last", "classes"),
    [("softmax", "softmax", 10), ("logits", None, 10), ("sigmoid", "sigmoid", 1)],
)
def test_every_kind_of_output(toy_images, kind, last, classes):
    model = model_of(classes=classes, last=last)
    cnn = CNNClassifier.from_model(model, pixels="unit")
    assert cnn.output_kind_ == kind
    graph = cnn_graph(model, pixels="unit", kind=kind, shape=SHAPE)
    compare(graph, toy_images[0], cnn.predict_proba(toy_images[0]))


def gelu(approximate):
    return layers.Lambda(lambda x: keras.ops.gelu(x * 0.05, approximate=approximate))


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [layers.Normalization(mean=[3.0], variance=[4.0])],
        lambda: [layers.Rescaling(0.01), layers.Conv2D(4, 1), layers.Conv2D(8, 3, groups=2, dilation_rate=2)],
        lambda: [
            layers.Rescaling(0.01),
            layers.Conv2D(4, 1),
            layers.Conv2D(8, 3, groups=4, strides=2, padding="same"),
        ],
        # Both forms, one of them twice.
        lambda: [layers.Conv2D(4, 3), gelu(False), gelu(False)],
        lambda: [layers.Conv2D(4, 3), gelu(True)],
        # Zeros around negative maps take part in their maximum.
        lambda: [
            layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(-900.0)),
            layers.ZeroPadding2D(1),
            layers.MaxPooling2D(3, strides=2),
            layers.Conv2D(4, 2, activation="relu"),
            layers.Rescaling(1e-3),
        ],
    ],
    ids=["statistics", "groups-dilated", "groups-of-one", "gelu", "gelu-approximate", "padding"],
)
def test_layers_that_the_exporters_do_not_know(parts, toy_images):
    model = model_of(*parts())
    same(model, toy_images[0])
    assert not any("convolution_op" in vars(layer) for layer in model.layers)


def test_statistics_that_were_learnt_stay_tensors(toy_images):
    layer = layers.Normalization()
    layer.adapt(toy_images[0].astype(np.float32))
    same(model_of(layer), toy_images[0])
    assert keras.ops.is_tensor(layer.mean)


class Odd(layers.Layer):
    """A layer that ONNX cannot express."""

    def call(self, x):
        import tensorflow as tf

        return tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), x.shape)

    def compute_output_shape(self, shape):
        return shape


class Shifted(layers.Layer):
    """A layer with a constant that the exporter loses."""

    def build(self, shape):
        self.shift = keras.ops.convert_to_tensor([3.0])

    def call(self, x):
        return x - self.shift


@pytest.mark.parametrize(
    ("layer", "words"),
    [(Odd, "cannot be expressed in ONNX"), (Shifted, r"leaves out: .*shifted.*NumPy arrays")],
)
def test_what_cannot_be_exported_is_refused(layer, words):
    with pytest.raises(ModelError, match=words):
        cnn_graph(model_of(layer()), pixels="raw", kind="logits", shape=SHAPE)
