"""One graph from uint8 images to labels and probabilities, for every cut, output and range of pixels."""

from __future__ import annotations

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures
from cnnboost.cnn.inference import Inference
from cnnboost.deploy.checksum import verify_checksum
from cnnboost.deploy.graph import cnn_graph, serialise, trunk_graph
from cnnboost.errors import ModelError, ParameterError
from cnnboost.features.cut import Cut


def run(graph, X, metadata=None):
    session = onnxruntime.InferenceSession(serialise(graph, metadata or {}))
    return session.run(["label", "probabilities"], {"image": X})


def same(graph, X, reference, batches=(1, 7, 256), jumps=0.0):
    """Compare; in a share `jumps` of the images a feature may lie on the other side of a threshold."""
    for batch in batches:
        labels, probabilities = run(graph, X[:batch])
        assert labels.shape == (batch,)
        assert labels.dtype == np.int64
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))
        off = np.abs(probabilities - reference[:batch]).max(axis=1) > 2e-6
        assert off.mean() <= jumps
        np.testing.assert_array_equal(labels[~off], reference[:batch].argmax(axis=1)[~off])


def head(trunk, pixels, X, y, **parameters):
    features = Inference(trunk, pixels)(X)[0]
    boost = BoostClassifier(**{"n_estimators": 4, "max_depth": 2, "n_jobs": 1, **parameters}).fit(features, y)
    return boost, boost.predict_proba(features)


@pytest.mark.parametrize("layer", ["input", "flatten", "fc1", "fc2", "output"])
def test_every_layer(toy_cnn, toy_images, layer):
    X, y = toy_images
    trunk = Cut(toy_cnn.model_).trunk([layer])
    boost, reference = head(trunk, "raw", X, y)
    graph = trunk_graph(trunk, boost.booster_, pixels="raw", shape=(8, 8, 1), n_classes=10)
    same(graph, X, reference)


def test_an_early_stopped_head_keeps_its_rounds(toy_cnn, toy_images):
    X, y = toy_images
    trunk = Cut(toy_cnn.model_).trunk(["fc1"])
    boost, reference = head(
        trunk, "raw", X, y, n_estimators=60, learning_rate=1.0, early_stopping_rounds=2, max_depth=3
    )
    assert boost.n_estimators_ < 60
    graph = trunk_graph(trunk, boost.booster_, pixels="raw", shape=(8, 8, 1), n_classes=10)
    trees = next(node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor")
    ids = next(a.ints for a in trees.attribute if a.name == "nodes_treeids")
    assert len(set(ids)) == 10 * boost.n_estimators_
    same(graph, X, reference)


def test_a_class_without_rows_and_two_classes(toy_cnn, toy_images):
    X, y = toy_images
    trunk = Cut(toy_cnn.model_).trunk(["fc1"])
    for rows, classes in ((y < 9, range(10)), (y < 2, range(2))):
        boost, reference = head(trunk, "raw", X[rows], y[rows], classes=list(classes))
        graph = trunk_graph(trunk, boost.booster_, pixels="raw", shape=(8, 8, 1), n_classes=len(classes))
        same(graph, X[rows], reference, batches=(1, 100))


def foreign(padding="same", last="softmax", width=10, channels=1, nested=False):
    """Build a model that says nothing about its pixels, with batch normalisation and odd activations."""
    keras.utils.set_random_seed(0)
    body = [
        keras.layers.Conv2D(4, 3, padding=padding, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.LeakyReLU(),
        keras.layers.MaxPooling2D(),
        keras.layers.SeparableConv2D(6, 2, activation="elu"),
    ]
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5), keras.layers.ReLU()]
    top.append(keras.layers.Dense(width, activation=last))
    layers = [keras.Sequential(body, name="body"), *top] if nested else [*body, *top]
    return keras.Sequential([keras.Input((8, 8, channels)), *layers])


@pytest.mark.parametrize("pixels", ["raw", "unit", "symmetric"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_foreign_pixels(toy_images, pixels, padding):
    X, y = toy_images
    model = foreign(padding)
    cnn = CNNClassifier.from_model(model, classes=range(10), pixels=pixels)
    graph = cnn_graph(model, pixels=pixels, kind="softmax", shape=(8, 8, 1))
    same(graph, X, cnn.predict_proba(X))
    trunk = Cut(model).trunk(["fc1"])
    boost, reference = head(trunk, pixels, X, y)
    graph = trunk_graph(trunk, boost.booster_, pixels=pixels, shape=(8, 8, 1), n_classes=10)
    same(graph, X, reference, jumps=0.01)


@pytest.mark.parametrize("pixels", ["raw", "unit", "symmetric", "caffe", "torch"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_foreign_pixels_in_colour(toy_images, pixels, padding):
    X, y = toy_images
    X = np.concatenate([X, X // 2, 255 - X], axis=3)
    model = foreign(padding, channels=3)
    cnn = CNNClassifier.from_model(model, classes=range(10), pixels=pixels)
    same(cnn_graph(model, pixels=pixels, kind="softmax", shape=(8, 8, 3)), X, cnn.predict_proba(X))
    trunk = Cut(model).trunk(["fc1"])
    boost, reference = head(trunk, pixels, X, y)
    graph = trunk_graph(trunk, boost.booster_, pixels=pixels, shape=(8, 8, 3), n_classes=10)
    same(graph, X, reference, jumps=0.02)


@pytest.mark.parametrize("pixels", ["caffe", "torch"])
def test_scales_by_channel_refuse_grey_images(pixels):
    with pytest.raises(ParameterError, match="3 channels"):
        cnn_graph(foreign(), pixels=pixels, kind="softmax", shape=(8, 8, 1))


@pytest.mark.parametrize(
    ("kind", "last", "width"), [("softmax", "softmax", 10), ("logits", None, 10), ("sigmoid", "sigmoid", 1)]
)
def test_every_kind_of_output(toy_images, kind, last, width):
    X, _ = toy_images
    model = foreign(last=last, width=width)
    cnn = CNNClassifier.from_model(model, pixels="unit")
    assert cnn.output_kind_ == kind
    same(cnn_graph(model, pixels="unit", kind=kind, shape=(8, 8, 1)), X, cnn.predict_proba(X))


def test_colours_and_nested_models(toy_images):
    X = np.repeat(toy_images[0], 3, axis=3)
    model = foreign(channels=3, nested=True)
    trunk = Cut(model).trunk(["fc1"])
    boost, reference = head(trunk, "unit", X, toy_images[1])
    graph = trunk_graph(trunk, boost.booster_, pixels="unit", shape=(8, 8, 3), n_classes=10)
    same(graph, X, reference, jumps=0.01)


def test_facts_and_checksum_travel_along(toy_cnn, tmp_path):
    metadata = {"kind": "cnn", "classes": ["happy", "sädder"]}
    graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=(8, 8, 1))
    content = serialise(graph, metadata)
    verify_checksum(content, tmp_path / "cnn.onnx")
    found = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
    assert json.loads(found["cnnboost"]) == metadata
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def test_nothing_of_the_file_system_is_in_the_graph(toy_cnn, tmp_path):
    graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=(8, 8, 1))
    assert b"/tmp" not in serialise(graph, {})
    assert not graph.graph.node[0].doc_string


def test_a_network_that_onnx_cannot_express_is_refused():
    class Odd(keras.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.numpy_function(lambda a: a, [x], tf.float32)

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([keras.Input((8, 8, 1)), Odd(), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="cannot be expressed in ONNX"):
        cnn_graph(model, pixels="raw", kind="logits", shape=(8, 8, 1))


def normalised(layer):
    return keras.Sequential([keras.Input((8, 8, 1)), layer, keras.layers.Flatten(), keras.layers.Dense(3)])


def test_the_statistics_of_a_normalization_are_in_the_graph(toy_images):
    X = toy_images[0]
    learnt = keras.layers.Normalization()
    learnt.adapt(X.astype(np.float32))
    for layer in (learnt, keras.layers.Normalization(mean=[3.0], variance=[4.0])):
        model = normalised(layer)
        own = keras.ops.convert_to_numpy(keras.ops.softmax(model(X.astype(np.float32), training=False)))
        same(cnn_graph(model, pixels="raw", kind="logits", shape=(8, 8, 1)), X, own)
        assert keras.ops.is_tensor(layer.mean)


@pytest.mark.parametrize(
    ("groups", "options"), [(2, {"dilation_rate": 2}), (4, {"strides": 2, "padding": "same"})], ids=str
)
def test_convolutions_in_groups_are_in_the_graph(groups, options, toy_images):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 1)(image * 0.01)
    x = keras.layers.Conv2D(8, 3, groups=groups, **options)(x)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    X = toy_images[0].astype(np.float32)
    own = keras.ops.convert_to_numpy(keras.ops.softmax(model(X, training=False)))
    same(cnn_graph(model, pixels="raw", kind="logits", shape=(8, 8, 1)), toy_images[0], own)
    assert not any("convolution_op" in vars(layer) for layer in model.layers)


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_is_in_the_graph_in_both_its_forms(approximate, toy_images):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3)(image * 0.05)
    for _ in range(2):
        x = keras.ops.gelu(x, approximate=approximate)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    X = toy_images[0].astype(np.float32)
    own = keras.ops.convert_to_numpy(keras.ops.softmax(model(X, training=False)))
    same(cnn_graph(model, pixels="raw", kind="logits", shape=(8, 8, 1)), toy_images[0], own)


def test_zeros_around_negative_maps_take_part_in_their_maximum(toy_images):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(-900.0))(image)
    x = keras.layers.MaxPooling2D(3, strides=2)(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.Conv2D(4, 2, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x * 1e-3)))
    own = keras.ops.convert_to_numpy(
        keras.ops.softmax(model(toy_images[0].astype(np.float32), training=False))
    )
    same(cnn_graph(model, pixels="raw", kind="logits", shape=(8, 8, 1)), toy_images[0], own)


def test_constants_that_the_exporter_loses_are_named():
    class Shifted(keras.layers.Layer):
        def build(self, shape):
            self.shift = keras.ops.convert_to_tensor([3.0])

        def call(self, x):
            return x - self.shift

    with pytest.raises(ModelError, match=r"leaves out: .*shifted.*NumPy arrays"):
        cnn_graph(normalised(Shifted()), pixels="raw", kind="logits", shape=(8, 8, 1))


def test_features_of_the_estimators_are_those_of_the_graph(toy_cnn, toy_images):
    X, y = toy_images
    features = CNNFeatures(toy_cnn, layer="fc1").fit(X)
    boost = BoostClassifier(n_estimators=3, n_jobs=1).fit(features.transform(X), y)
    trunk = Cut(toy_cnn.model_).trunk(["fc1"])
    graph = trunk_graph(trunk, boost.booster_, pixels="raw", shape=(8, 8, 1), n_classes=10)
    same(graph, X, boost.predict_proba(features.transform(X)))
