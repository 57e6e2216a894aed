"""Every fitted CNN and hybrid becomes one graph with the same probabilities."""

from __future__ import annotations

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnboost import BoostClassifier, CNNClassifier, HybridClassifier
from cnnboost.cnn.inference import Inference
from cnnboost.deploy.graph import add_mean, add_views, cnn_graph, hybrid_graph, trunk_graph
from cnnboost.deploy.graph_builder import GraphBuilder
from cnnboost.deploy.graph_file import serialise
from cnnboost.errors import ModelError, ParameterError
from cnnboost.features.cut import Cut
from cnnboost.hybrid.modes import FittedMode
from cnnboost.images.views import TTA, mean_over_views, views

from .small_graph import compare, operations

VIEWS = list(TTA)
SHAPE = (8, 8, 1)


def same(hybrid, X, **limits):
    """See that a graph gives what its hybrid gives; return its operations."""
    graph = hybrid_graph(hybrid, X.shape[1:])
    compare(graph, X, hybrid.predict_proba(X), **{"jumps": 0.05, **limits})
    return operations(graph)


def network(shape, width, last, seed=0):
    """A model that does not state its pixels."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.Dense(width, activation=last),
        ]
    )


def images_of(shape, classes, n=240):
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = rng.integers(0, 120, (n, *shape)) + (y * 100 // classes)[:, None, None, None]
    return X.astype(np.uint8), y


class TestTrunk:
    @pytest.mark.parametrize(
        ("layer", "few", "parameters"),
        [
            ("input", None, {}),
            ("fc1", 9, {"classes": list(range(10))}),  # a class without rows
            ("output", 2, {"classes": [0, 1]}),
            ("fc1", None, {"n_estimators": 60, "learning_rate": 1.0, "early_stopping_rounds": 2}),
        ],
    )
    def test_plain_trees(self, toy_cnn, toy_images, layer, few, parameters):
        X, y = toy_images
        rows = y < (few or 10)
        trunk = Cut(toy_cnn.model_).trunk([layer])
        features = Inference(trunk, "raw")(X[rows])[0]
        boost = BoostClassifier(**{"n_estimators": 4, "max_depth": 2, "n_jobs": 1, **parameters})
        boost.fit(features, y[rows])
        assert boost.n_estimators_ < 60
        k = len(boost.classes_)
        graph = trunk_graph(trunk, boost.booster_, pixels="raw", shape=SHAPE, n_classes=k)
        (trees,) = [node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor"]
        (ids,) = [attribute.ints for attribute in trees.attribute if attribute.name == "nodes_treeids"]
        assert len(set(ids)) == k * boost.n_estimators_
        compare(graph, X[rows], boost.predict_proba(features))


class TestCnn:
    @pytest.mark.parametrize("tta", ["none", "shifts"])
    def test_views(self, toy_cnn, toy_images, tta):
        graph = cnn_graph(toy_cnn.model_, pixels="raw", kind="softmax", shape=SHAPE, tta=tta)
        compare(graph, toy_images[0], mean_over_views(toy_cnn.predict_proba, toy_images[0], tta))
        content = serialise(graph, {"classes": ["happy", "sädder"]})
        entries = onnxruntime.InferenceSession(content).get_modelmeta().custom_metadata_map
        assert json.loads(entries["cnnboost"]) == {"classes": ["happy", "sädder"]}
        assert not graph.graph.node[0].doc_string
        assert b"/tmp" not in content  # nothing of the file system


class TestHybrid:
    @pytest.mark.parametrize(
        ("mode", "tta"),
        [("plain", "flip"), ("residual", "none"), ("residual", "ten-crop"), ("blend", "shifts")],
    )
    def test_every_mode_and_all_views(self, hybrids, toy_images, mode, tta):
        same(hybrids[mode].set_params(tta=tta), toy_images[0])

    def test_whatever_is_on_the_images(self, hybrids):
        hybrid = hybrids["residual"].set_params(tta="flip")
        session = onnxruntime.InferenceSession(serialise(hybrid_graph(hybrid, SHAPE), {}))
        differences = []

        @settings(max_examples=60, deadline=None)
        @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), *map(st.just, SHAPE))))
        def run(X):
            found = session.run(["probabilities"], {"image": X})[0]
            assert np.isfinite(found).all()
            differences.append(np.abs(found - hybrid.predict_proba(X)).max(axis=1))

        run()
        # On an even image many features are equal, and where their value is a threshold, the image jumps to
        # the other side of it: a few may differ, and all others by no more than the last bits.
        off = np.concatenate(differences)
        assert np.median(off) < 1e-6
        assert np.mean(off < 1e-5) > 0.95

    def test_several_layers_and_their_norm(self, fit_hybrid, toy_images):
        hybrid = fit_hybrid(mode="blend", layer=["output", "fc1"], norm=True, tta="flip")
        assert hybrid.n_features_ > 10
        assert "ReduceL2" in same(hybrid, toy_images[0])

    def test_several_networks(self, toy_cnn, fit_hybrid, hybrids, toy_images):
        options = {"filters": [6], "dense": [7]}
        other = CNNClassifier("digits", epochs=1, batch_size=32, model_options=options, random_state=5)
        networks = [toy_cnn, other.fit(*toy_images)]
        X = toy_images[0][:200]
        two = fit_hybrid(networks, mode="residual", tta="flip")
        one = hybrids["residual"].set_params(tta="flip")
        # Neither views nor further networks repeat one; the other has one convolution.
        found = [same(hybrid, X).count("Conv") for hybrid in (one, two)]
        layers = [layer for layer in toy_cnn.model_.layers if isinstance(layer, keras.layers.Conv2D)]
        assert found == [len(layers), len(layers) + 1]
        assert np.abs(two.predict_proba(X) - one.predict_proba(X)).max() > 0.01
        # Plain trees use the first network alone.
        one, two = hybrids["plain"].set_params(tta="none"), fit_hybrid(networks)
        assert same(two, X) == same(one, X)

    def test_networks_that_expect_other_pixels(self, fit_hybrid):
        images = images_of(SHAPE, 3)
        networks = [
            CNNClassifier.from_model(network(SHAPE, 3, "softmax", seed), pixels=pixels)
            for seed, pixels in enumerate(("unit", "symmetric", "raw"))
        ]
        hybrid = fit_hybrid(networks, images, mode="residual", tta="flip")
        # Each network's scaling went into its own first convolution.
        found = same(hybrid, images[0])
        assert found.count("Conv") == 3
        assert "Mul" not in found

    def test_folds(self, fit_hybrid, toy_images):
        X, y = toy_images
        cnn = CNNClassifier("digits", epochs=1, model_options={"filters": [4], "dense": [8]}, random_state=0)
        hybrid = fit_hybrid(cnn, layer="output", folds=2, mode="residual", tta="flip")
        assert len(hybrid.networks_) == 2
        same(hybrid, X)
        # The features are the log-probabilities, also of plain trees.
        _, log_proba = hybrid.extractor_(X)
        head = FittedMode("plain", BoostClassifier(n_estimators=3, n_jobs=1).fit(log_proba, y))
        same(HybridClassifier.from_parts(hybrid.networks_, [], head), X)

    def test_without_rounds_zero_probabilities_count_as_in_the_library(self, toy_cnn, hybrids, toy_images):
        X, y = toy_images
        model = keras.models.clone_model(toy_cnn.model_)
        model.set_weights(toy_cnn.model_.get_weights())
        dense = [layer for layer in model.layers if layer.get_weights()][-1]
        dense.set_weights([200 * weights for weights in dense.get_weights()])
        cnn = CNNClassifier.from_model(model, classes=range(10), pixels=toy_cnn.pixels_)
        assert (cnn.predict_proba(X) == 0).any()
        features = np.zeros((len(X), hybrids["plain"].n_features_), np.float32)
        start = np.zeros((len(X), 10), np.float32)
        boost = BoostClassifier(n_estimators=0, n_jobs=1).fit(features, y, base_margin=start)
        hybrid = HybridClassifier.from_parts([cnn], "fc1", FittedMode("residual", boost, 20.0))
        # At least e^(-30 / 20) of the most probable class.
        assert hybrid.predict_proba(X).min() > 0.05
        assert "TreeEnsembleRegressor" not in same(hybrid, X, atol=1e-3)

    @pytest.mark.parametrize(
        ("mode", "last", "width"),
        [("residual", "softmax", 2), ("blend", None, 2), ("residual", "sigmoid", 1)],
    )
    def test_two_classes_and_every_kind_of_output(self, fit_hybrid, mode, last, width):
        images = images_of(SHAPE, 2)
        cnn = CNNClassifier.from_model(network(SHAPE, width, last), pixels="unit")
        hybrid = fit_hybrid(cnn, images, mode=mode, tta="flip")
        assert hybrid.predict_proba(images[0]).shape == (240, 2)
        same(hybrid, images[0])

    @pytest.mark.parametrize(
        ("pixels", "tta"), [("unit", "none"), ("caffe", "shifts"), ("torch", "ten-crop")]
    )
    def test_colours_and_images_that_are_not_square(self, fit_hybrid, pixels, tta):
        shape = (10, 15, 3)
        images = images_of(shape, 3)
        cnn = CNNClassifier.from_model(network(shape, 3, "softmax"), pixels=pixels)
        same(fit_hybrid(cnn, images, mode="residual", tta=tta), images[0])

    def test_what_does_not_fit_is_refused(self, hybrids, toy_cnn):
        plain = hybrids["plain"].set_params(tta="none")
        with pytest.raises(ModelError, match=r"the images are 9x8x1 .* the CNN takes 8x8x1"):
            hybrid_graph(plain, (9, 8, 1))
        head = FittedMode("residual", plain.head_.boost)
        with pytest.raises(ParameterError, match=r"mode='residual' does not go with trees .* fit the head"):
            hybrid_graph(HybridClassifier.from_parts([toy_cnn], "fc1", head), SHAPE)


class TestViews:
    @staticmethod
    def same(X, tta):
        builder = GraphBuilder(X.shape[1:])
        model = builder.model(add_views(builder, tta), 1)
        outputs = [("probabilities", onnx.TensorProto.FLOAT, ["views", *X.shape[1:]])]
        del model.graph.output[:], model.graph.node[-1]  # the labels
        model.graph.output.extend(onnx.helper.make_tensor_value_info(*output) for output in outputs)
        onnx.checker.check_model(model, full_check=True)
        found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": X})[0]
        assert found.dtype == np.float32
        found = found.reshape(len(X), TTA[tta], *X.shape[1:]).swapaxes(0, 1)
        atol = 1e-4 if tta == "ten-crop" else 0  # in 0..255
        np.testing.assert_allclose(found, np.stack(list(views(X, tta))), atol=atol, rtol=0)

    @settings(max_examples=30, deadline=None)
    @given(
        st.tuples(st.integers(1, 4), st.integers(3, 14), st.integers(3, 14), st.sampled_from([1, 3])).flatmap(
            lambda shape: hnp.arrays(np.uint8, shape)
        ),
        st.sampled_from(VIEWS),
    )
    def test_they_are_those_of_the_library(self, X, tta):
        self.same(X, tta)

    @pytest.mark.parametrize("tta", VIEWS)
    def test_a_large_batch_of_large_images(self, tta):
        self.same(np.random.default_rng(0).integers(0, 256, (64, 30, 52, 3), dtype=np.uint8), tta)

    @pytest.mark.parametrize("tta", VIEWS)
    def test_the_mean_is_over_the_views_of_each_image(self, tta):
        X = np.random.default_rng(0).integers(0, 256, (5, 12, 9, 1), dtype=np.uint8)
        builder = GraphBuilder(X.shape[1:])
        flat = builder.add("Flatten", [add_views(builder, tta)])
        model = builder.model(add_mean(builder, flat, tta, 12 * 9), 12 * 9)
        assert tta != "none" or operations(model) == ["Cast", "Flatten", "ArgMax"]
        found = onnxruntime.InferenceSession(model.SerializeToString()).run(["probabilities"], {"image": X})
        wanted = np.mean([view.reshape(5, -1) for view in views(X.astype(np.float64), tta)], axis=0)
        np.testing.assert_allclose(found[0], wanted, atol=1e-3)

    @pytest.mark.parametrize(
        ("tta", "words"), [("ten-crop", r"leaves nothing of 2x20 images"), ("ten", "'ten' must be one of")]
    )
    def test_impossible_ones_are_refused(self, tta, words):
        with pytest.raises(ParameterError, match=words):
            add_views(GraphBuilder((2, 20, 1)), tta)
