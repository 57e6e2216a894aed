"""A graph like an exported one, small enough to be made by hand: softmax over a random projection."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from cnnboost.deploy.graph import serialise
from cnnboost.deploy.graph_builder import GraphBuilder

CLASSES = ["angry", "happy", "sad"]


def facts_of(shape=(8, 8, 1), classes=tuple(CLASSES), **changed):
    """What such a graph says about itself."""
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


def weights(shape=(8, 8, 1), k=3, seed=0):
    return np.random.default_rng(seed).normal(0, 0.01, (int(np.prod(shape)), k)).astype(np.float32)


def small_graph(shape=(8, 8, 1), k=3, seed=0) -> onnx.ModelProto:
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
    """The content of a sealed file."""
    return serialise(small_graph(shape, len(classes), seed), facts_of(shape, classes, **changed))


def expected(X, k=3, seed=0):
    """The probabilities, by NumPy."""
    logits = X.reshape(len(X), -1).astype(np.float64) @ weights(X.shape[1:], k, seed)
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def part_graph(inputs, width, build):
    """A part of a graph by itself: float inputs of so many columns, and what `build(draft)` adds."""
    draft = GraphBuilder((1, 1, 1))
    draft.finish(build(draft), width)
    model = draft.model()
    del model.graph.input[:]
    for name, columns in inputs.items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]))
    onnx.checker.check_model(model, full_check=True)
    return model


def run_part(model, **values):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["probabilities"], values)[0]
