"""Graphs that are made by hand, and functions that run and compare graphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from cnnboost.deploy.graph_builder import GraphBuilder
from cnnboost.deploy.graph_file import serialise

CLASSES = ["angry", "happy", "sad"]


def metadata_of(shape=(8, 8, 1), classes=tuple(CLASSES), **changed):
    """The metadata of such a graph."""
    return {
        "format": 1,
        "kind": "hybrid",
        "recipe": "toy",
        "classes": list(classes),
        "layer": "fc1",
        "mode": "plain",
        "rounds": 3,
        "pixels": "raw",
        "input": dict(zip(("height", "width", "channels"), shape, strict=True)),
        "native": {},
        **changed,
    }


#: What the manifest of its bundle states.
MANIFEST = {k: v for k, v in metadata_of().items() if k not in ("format", "kind", "native")} | {
    "versions": {}
}


def weights(shape=(8, 8, 1), k=3, seed=0):
    return np.random.default_rng(seed).normal(0, 0.01, (int(np.prod(shape)), k)).astype(np.float32)


def small_graph(shape=(8, 8, 1), k=3, seed=0) -> onnx.ModelProto:
    """A graph like an exported one: softmax over a random projection."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *shape])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", k]),
        ],
        [numpy_helper.from_array(weights(shape, k, seed), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def small_file(shape=(8, 8, 1), classes=tuple(CLASSES), seed=0, **changed) -> bytes:
    """The content of its file."""
    return serialise(small_graph(shape, len(classes), seed), metadata_of(shape, classes, **changed))


def expected(X, k=3, seed=0):
    """The probabilities, by NumPy."""
    logits = X.reshape(len(X), -1).astype(np.float64) @ weights(X.shape[1:], k, seed)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def part_graph(inputs, width, build):
    """A part of a graph by itself: float inputs of so many columns, and what `build(builder)` adds."""
    builder = GraphBuilder((1, 1, 1))
    model = builder.model(build(builder), width)
    del model.graph.input[:]
    for name, columns in inputs.items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]))
    onnx.checker.check_model(model, full_check=True)
    return model


def run_part(model, **values):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["probabilities"], values)[0]


def operations(model):
    return [node.op_type for node in model.graph.node]


def compare(graph, X, reference, *, atol=3e-6, jumps=0.0):
    """Compare a graph with probabilities in batches of several sizes.

    In a share `jumps` of the images a feature may lie on the other side of a threshold.
    """
    session = onnxruntime.InferenceSession(serialise(graph, {}))
    for batch in (1, 7, 256):
        labels, probabilities = session.run(["label", "probabilities"], {"image": X[:batch]})
        wanted = reference[:batch]
        assert (labels.shape, labels.dtype, probabilities.dtype) == ((len(wanted),), np.int64, np.float32)
        np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))
        off = np.abs(probabilities - wanted).max(axis=1) > atol
        assert off.mean() <= jumps
        np.testing.assert_array_equal(labels[~off], wanted.argmax(axis=1)[~off])
