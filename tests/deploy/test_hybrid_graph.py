"""Every fitted hybrid becomes one graph with the same probabilities: modes, layers, networks, views."""

from __future__ import annotations

import keras
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier
from cnnboost.deploy.graph import cnn_graph, hybrid_graph, serialise
from cnnboost.errors import ModelError, ParameterError
from cnnboost.hybrid.modes import FittedMode
from cnnboost.images.views import TTA, mean_over_views

MODES = ["plain", "residual", "blend"]


def trees(**parameters):
    metadata = {"n_estimators": 4, "max_depth": 2, "learning_rate": 0.3, "n_jobs": 1, **parameters}
    return BoostClassifier(**metadata)


def fit(cnn, images, **parameters):
    return HybridClassifier(cnn, **{"boost": trees(), **parameters}).fit(*images)


def session(graph):
    return onnxruntime.InferenceSession(serialise(graph, {}))


def same(hybrid, X, run=None, atol=3e-6):
    """Compare; in a few views, a feature may lie on the other side of a threshold."""
    run = run or session(hybrid_graph(hybrid, X.shape[1:]))
    expected = hybrid.predict_proba(X)
    for batch in (1, 7, 64):
        labels, probabilities = run.run(["label", "probabilities"], {"image": X[:batch]})
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))
        off = np.abs(probabilities - expected[:batch]).max(axis=1) > atol
        assert off.mean() <= 0.05
        np.testing.assert_array_equal(labels[~off], expected[:batch].argmax(axis=1)[~off])


@pytest.fixture(scope="module")
def fitted(toy_cnn, toy_images):
    """A hybrid in each mode; set only their `tta`."""
    return {mode: fit(toy_cnn, toy_images, mode=mode) for mode in MODES}


def operations(graph):
    return [node.op_type for node in graph.graph.node]


@pytest.mark.parametrize("tta", list(TTA))
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_with_all_views(fitted, toy_images, mode, tta):
    same(fitted[mode].set_params(tta=tta), toy_images[0])


@pytest.mark.parametrize("tta", list(TTA))
def test_the_cnn_alone_with_all_views(toy_cnn, toy_images, tta):
    X = toy_images[0]
    graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=(8, 8, 1), tta=tta)
    expected = mean_over_views(toy_cnn.predict_proba, X, tta)
    for batch in (1, 7, 64):
        found = session(graph).run(["probabilities"], {"image": X[:batch]})[0]
        np.testing.assert_allclose(found, expected[:batch], atol=2e-6)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_whatever_is_on_the_images(fitted, tta):
    hybrid = fitted["residual"].set_params(tta=tta)
    run = session(hybrid_graph(hybrid, (8, 8, 1)))
    offs: list[np.ndarray] = []

    @settings(max_examples=100, deadline=None)
    @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), *(st.just(size) for size in (8, 8, 1)))))
    def compare(X):
        found = run.run(["probabilities"], {"image": X})[0]
        off = np.abs(found - hybrid.predict_proba(X)).max(axis=1)
        assert np.isfinite(found).all()
        offs.append(off)

    compare()
    # On an even image many features are the same number, and where that is a threshold, the image jumps to
    # the other side of it: so a few may differ, and all others by no more than the last bits.
    off = np.concatenate(offs)
    assert np.median(off) < 1e-6
    assert np.mean(off < 1e-5) > 0.95


def test_several_layers_and_their_norm(toy_cnn, toy_images):
    hybrid = fit(toy_cnn, toy_images, mode="blend", layer=["flatten", "output", "fc1"], norm=True, tta="flip")
    assert hybrid.n_features_ > 10
    same(hybrid, toy_images[0])


def test_the_norm_at_one_layer(toy_cnn, toy_images):
    hybrid = fit(toy_cnn, toy_images, norm=True)
    same(hybrid, toy_images[0])
    assert "ReduceL2" in operations(hybrid_graph(hybrid, (8, 8, 1)))


@pytest.fixture(scope="module")
def other_cnn(toy_images):
    """A network of another shape."""
    options = {"filters": [6], "dense": [7]}
    return CNNClassifier("digits", epochs=2, batch_size=32, model_options=options, random_state=5).fit(
        *toy_images
    )


def test_two_networks(toy_cnn, other_cnn, fitted, toy_images):
    X = toy_images[0]
    hybrid = fit([toy_cnn, other_cnn], toy_images, mode="residual")
    for tta in ("none", "shifts"):
        same(hybrid.set_params(tta=tta), X)
    alone = fitted["residual"].set_params(tta=tta)
    assert np.abs(hybrid.predict_proba(X) - alone.predict_proba(X)).max() > 0.01


def test_plain_trees_need_the_first_network_alone(toy_cnn, other_cnn, fitted, toy_images):
    two = fit([toy_cnn, other_cnn], toy_images)
    one = fitted["plain"].set_params(tta="none")
    same(two, toy_images[0])
    assert operations(hybrid_graph(two, (8, 8, 1))) == operations(hybrid_graph(one, (8, 8, 1)))


def test_folds(toy_images):
    X, y = toy_images
    cnn = CNNClassifier("digits", epochs=1, model_options={"filters": [4], "dense": [8]}, random_state=0)
    hybrid = fit(cnn, toy_images, layer="output", folds=2, mode="residual", tta="flip")
    assert len(hybrid.networks_) == 2
    same(hybrid, X)
    # The features are the log-probabilities, also of plain trees.
    _, log_proba = hybrid.extractor_(X)
    head = FittedMode("plain", trees().fit(log_proba, y))
    same(HybridClassifier.from_parts(hybrid.networks_, [], head), X)


def test_one_that_was_put_together(fitted, toy_cnn, toy_images):
    same(HybridClassifier.from_parts([toy_cnn], "fc1", fitted["blend"].head_, tta="flip"), toy_images[0])


def without_rounds(cnn, toy_images, temperature, **parameters):
    width = HybridClassifier(cnn, boost=trees(n_estimators=1)).fit(*toy_images).n_features_
    features, start = np.zeros((600, width), np.float32), np.zeros((600, 10), np.float32)
    boost = trees(n_estimators=0).fit(features, toy_images[1], base_margin=start)
    return HybridClassifier.from_parts([cnn], "fc1", FittedMode("residual", boost, temperature), **parameters)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_no_round_is_the_calibrated_softmax(toy_cnn, toy_images, tta):
    hybrid = without_rounds(toy_cnn, toy_images, 2.5, tta=tta)
    same(hybrid, toy_images[0])
    assert "TreeEnsembleRegressor" not in operations(hybrid_graph(hybrid, (8, 8, 1)))


def test_probabilities_of_zero_count_as_in_the_library(toy_cnn, toy_images):
    model = keras.models.clone_model(toy_cnn.model_)
    model.set_weights(toy_cnn.model_.get_weights())
    dense = [layer for layer in model.layers if layer.get_weights()][-1]
    dense.set_weights([200 * weights for weights in dense.get_weights()])
    cnn = CNNClassifier.from_model(model, classes=range(10), pixels=toy_cnn.pixels_)
    assert (cnn.predict_proba(toy_images[0]) == 0).any()
    hybrid = without_rounds(cnn, toy_images, 20.0)
    # e^(-30 / 20) of the most probable class, at least.
    assert hybrid.predict_proba(toy_images[0]).min() > 0.05
    same(hybrid, toy_images[0], atol=1e-3)


def network(shape, width, last, seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(width, activation=last),
        ]
    )


def images_of(shape, classes, n=240):
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = rng.integers(0, 120, (n, *shape)) + (y * 100 // classes)[:, None, None, None]
    return X.astype(np.uint8), y


@pytest.mark.parametrize("mode", ["residual", "blend"])
@pytest.mark.parametrize(("last", "width"), [("softmax", 2), (None, 2), ("sigmoid", 1)])
def test_two_classes_and_every_kind_of_output(mode, last, width):
    X, y = images_of((8, 8, 1), 2)
    cnn = CNNClassifier.from_model(network((8, 8, 1), width, last), pixels="unit")
    hybrid = fit(cnn, (X, y), mode=mode, tta="flip")
    assert hybrid.predict_proba(X).shape == (len(X), 2)
    same(hybrid, X)


@pytest.mark.parametrize("pixels", ["unit", "symmetric", "caffe", "torch"])
def test_colours_and_images_that_are_not_square(pixels):
    shape = (10, 15, 3)
    images = images_of(shape, 3)
    cnn = CNNClassifier.from_model(network(shape, 3, "softmax"), pixels=pixels)
    hybrid = fit(cnn, images, mode="residual")
    for tta in TTA:
        same(hybrid.set_params(tta=tta), images[0])


def test_networks_that_expect_other_pixels():
    images = images_of((8, 8, 1), 3)
    networks = [
        CNNClassifier.from_model(network((8, 8, 1), 3, "softmax", seed), pixels=pixels)
        for seed, pixels in enumerate(("unit", "symmetric", "raw"))
    ]
    hybrid = fit(networks, images, mode="residual", tta="flip")
    graph = hybrid_graph(hybrid, (8, 8, 1))
    same(hybrid, images[0], session(graph))
    # Each network's scaling went into its own first convolution.
    assert operations(graph).count("Conv") == 3
    assert "Mul" not in operations(graph)


def test_the_weights_and_the_network_stand_in_it_once(fitted):
    graphs = {
        tta: hybrid_graph(fitted["residual"].set_params(tta=tta), (8, 8, 1)) for tta in ("none", "shifts")
    }
    counts = {tta: operations(graph).count("Conv") for tta, graph in graphs.items()}
    assert counts["shifts"] == counts["none"] > 0
    sizes = {tta: len(serialise(graph, {})) for tta, graph in graphs.items()}
    assert sizes["shifts"] - sizes["none"] < 10 * 8 * 8 * 4 + 2000  # where each pixel of a view comes from


def test_images_that_do_not_fit_are_refused(fitted):
    hybrid = fitted["plain"].set_params(tta="none")
    with pytest.raises(ModelError, match=r"the images are 9x8x1 .* the CNN takes 8x8x1"):
        hybrid_graph(hybrid, (9, 8, 1))


def test_views_that_leave_nothing_are_refused():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((2, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    )
    X, y = images_of((2, 8, 1), 3)
    hybrid = fit(CNNClassifier.from_model(model, pixels="unit"), (X, y), layer="flatten")
    with pytest.raises(ParameterError, match=r"leaves nothing of 2x8 images; use 'flip'"):
        hybrid_graph(hybrid.set_params(tta="ten-crop"), (2, 8, 1))


def test_a_head_of_another_mode_is_refused(fitted, toy_cnn):
    head = FittedMode("residual", fitted["plain"].head_.boost)
    with pytest.raises(ParameterError, match=r"mode='residual' does not go with trees .* fit the head"):
        hybrid_graph(HybridClassifier.from_parts([toy_cnn], "fc1", head), (8, 8, 1))


def test_a_network_that_onnx_cannot_express_is_refused(toy_images):
    class Odd(keras.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), x.shape)

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            Odd(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    hybrid = fit(CNNClassifier.from_model(model, pixels="unit"), toy_images, layer="flatten")
    with pytest.raises(ModelError, match="cannot be expressed in ONNX"):
        hybrid_graph(hybrid, (8, 8, 1))
