"""A graph in 8-bit integers says nearly the same as the exact one."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from cnnboost import Predictor
from cnnboost.cnn.training_model import network
from cnnboost.deploy.graph import cnn_graph
from cnnboost.deploy.int8 import int8_graph
from cnnboost.deploy.onnx import export_onnx
from cnnboost.errors import ModelError


@pytest.fixture(scope="module")
def graph(toy_cnn):
    return cnn_graph(toy_cnn.model_, pixels=toy_cnn.pixels_, kind=toy_cnn.output_kind_, shape=(8, 8, 1))


def run(model, X):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": X})[0]


def test_convolutions_become_integers_and_answers_stay(graph, toy_cnn, toy_images):
    X, y = toy_images
    before = graph.SerializeToString()
    found = int8_graph(graph, X[:100])
    assert graph.SerializeToString() == before
    assert int8_graph(graph, X[:100]).SerializeToString() == found.SerializeToString()
    types = {tensor.name: tensor.data_type for tensor in found.graph.initializer}
    feeds = {node.output[0]: node.input[0] for node in found.graph.node if node.op_type == "DequantizeLinear"}
    weights = [feeds[node.input[1]] for node in found.graph.node if node.op_type == "Conv"]
    assert weights
    assert {types[name] for name in weights} == {onnx.TensorProto.INT8}
    new = X[100:]
    exact, proba = run(graph, new), run(found, new)
    assert 0 < np.abs(proba - exact).max() < 0.2
    assert (proba.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.97
    assert abs((proba.argmax(axis=1) == y[100:]).mean() - toy_cnn.score(new, y[100:])) <= 0.02


def test_the_convolution_of_the_pixels_and_its_pooling_stay(toy_images):
    options = {"filters": [8, 16], "convolutions": [1, 1], "dense": [8], "dropout": 0.0}
    model, pixels, kind = network("vgg", (8, 8, 1), 10, options, None)
    exact = cnn_graph(model, pixels=pixels, kind=kind, shape=(8, 8, 1), tta="flip")
    X = toy_images[0]
    found = int8_graph(exact, X[:100])
    first, second = [node for node in found.graph.node if node.op_type == "Conv"]
    types = {tensor.name: tensor.data_type for tensor in found.graph.initializer}
    assert types[first.input[1]] == onnx.TensorProto.FLOAT
    assert second.input[1] not in types  # made of integers
    users = {name: node.op_type for node in found.graph.node for name in node.input}
    (pool,) = [node for node in found.graph.node if node.input[0] == first.output[0]]
    assert pool.op_type == "MaxPool"
    assert users[pool.output[0]] == "Relu"
    np.testing.assert_allclose(run(found, X), run(exact, X), atol=0.05)


def test_a_hybrid_keeps_its_trees_and_views(hybrids, toy_images, tmp_path):
    X, hybrid = toy_images[0], hybrids["residual"].set_params(tta="flip")
    path = export_onnx(hybrid, tmp_path / "fast.onnx", X, int8=True)
    predictor = Predictor.load(path)
    assert (predictor.kind, predictor.int8) == ("hybrid", True)
    assert "hybrid in int8" in repr(predictor)
    assert (predictor.predict(X) == hybrid.predict(X)).mean() >= 0.95
    exact = Predictor.load(export_onnx(hybrid, tmp_path / "exact.onnx", X))
    assert not exact.int8
    assert path.stat().st_size < (tmp_path / "exact.onnx").stat().st_size


def test_what_differs_too_much_is_not_written(toy_cnn, toy_images, tmp_path):
    X = toy_images[0]
    # On black images no activation has a range, so that whatever comes later is cut off.
    black = np.concatenate([np.zeros_like(X), X])
    with pytest.raises(ModelError, match=r"labels of [\d.]+% of 1200 images agree \(at least 95.0% req"):
        export_onnx(toy_cnn, tmp_path / "fast.onnx", black, int8=True)
    assert not list(tmp_path.iterdir())


def test_a_graph_without_convolutions_is_refused(graph, toy_images):
    bare = onnx.ModelProto()
    bare.CopyFrom(graph)
    kept = [node for node in bare.graph.node if node.op_type != "Conv"]
    del bare.graph.node[:]
    bare.graph.node.extend(kept)
    with pytest.raises(ModelError, match="the network has no convolution"):
        int8_graph(bare, toy_images[0], "the network")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_full_disk_is_not_blamed_on_the_graph(graph, toy_images, monkeypatch, error):
    def full(*args, **options):
        raise error

    monkeypatch.setattr(onnx, "load", full)
    with pytest.raises(type(error)) as raised:
        int8_graph(graph, toy_images[0][:20])
    assert raised.value is error
