"""Simplified graphs give what the original gave, with fewer operations."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cnnboost.deploy.simplify import simplify

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)
WEIGHTS = RNG.normal(size=(4, 1, 3, 3)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)


def graph(nodes, constants, output, shape):
    """Build a graph from uint8 `image` that begins with a cast to `float`."""
    cast = helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT)
    model = helper.make_model(
        helper.make_graph(
            [cast, *nodes],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 6, 6, 1])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"image": X})[0]


def operations(model):
    return [node.op_type for node in model.graph.node]


def scaled(operation, value, *, pads=0, bias=True, reverse=False, second=None):
    """Build Cast, scaling, Transpose, Conv."""
    values = {"by": np.float32(value), "w": WEIGHTS, "b": BIAS}
    inputs = ["by", "float"] if reverse else ["float", "by"]
    nodes = [helper.make_node(operation, inputs, ["scaled"])]
    here = "scaled"
    if second is not None:
        values["shift"] = np.full((1, 1), second, np.float32)
        nodes.append(helper.make_node("Add", [here, "shift"], ["shifted"]))
        here = "shifted"
    nodes.append(helper.make_node("Transpose", [here], ["nchw"], perm=[0, 3, 1, 2]))
    conv = ["nchw", "w", "b"] if bias else ["nchw", "w"]
    nodes.append(helper.make_node("Conv", conv, ["y"], name="first", pads=[pads] * 4))
    if not bias:
        del values["b"]
    size = 4 + 2 * pads
    return graph(nodes, values, "y", ["n", 4, size, size])


@settings(max_examples=40, deadline=None)
@given(
    operation=st.sampled_from(["Mul", "Div", "Add", "Sub"]),
    value=st.floats(0.01, 255).map(np.float32),
    second=st.none() | st.floats(-2, 2).map(np.float32),
    bias=st.booleans(),
    pads=st.sampled_from([0, 1]),
)
def test_scaling_moves_into_a_convolution(operation, value, second, bias, pads):
    model = scaled(operation, value, second=second, bias=bias, pads=pads)
    before = run(model)
    simplify(model, "float")
    # Zero padding comes after the shift: 0 there is another grey than 0 in the image.
    shifted = (second or 0) + {"Add": value, "Sub": -value}.get(operation, 0)
    assert operations(model) == ["Cast", "Transpose", *(["Pad"] if shifted and pads else []), "Conv"]
    scale = np.abs(before).max()
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-5 * max(scale, 1))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (scaled("Mul", 1 / 255, pads=1), ["Cast", "Transpose", "Conv"]),
        (scaled("Mul", 1 / 127.5, pads=1, second=-1), ["Cast", "Transpose", "Pad", "Conv"]),
        (scaled("Mul", 0.0, pads=1, second=-1), ["Cast", "Mul", "Add", "Transpose", "Conv"]),
        (scaled("Sub", 3.0, reverse=True), ["Cast", "Sub", "Transpose", "Conv"]),
    ],
)
def test_padding_and_order_count(model, expected):
    before = run(model)
    simplify(model, "float")
    assert operations(model) == expected
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-4)


def test_pixels_that_are_used_twice_stay(tmp_path):
    nodes = [
        helper.make_node("Mul", ["float", "by"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Add", ["c", "nchw"], ["y"]),
    ]
    model = graph(nodes, {"by": np.float32(0.5), "w": WEIGHTS}, "y", ["n", 4, 6, 6])
    before = run(model)
    simplify(model, "float")
    assert operations(model).count("Mul") == 1
    np.testing.assert_array_equal(run(model), before)


def test_each_network_has_its_scaling_folded():
    nodes = [
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Identity", ["nchw"], ["pixels"]),
        helper.make_node("Mul", ["pixels", "by"], ["first"]),
        helper.make_node("Add", ["pixels", "by"], ["second"]),
        helper.make_node("Conv", ["first", "w"], ["a"], name="one"),
        helper.make_node("Conv", ["second", "w"], ["b"], name="two"),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    model = graph(nodes, {"by": np.float32(0.5), "w": WEIGHTS}, "y", ["n", 4, 4, 4])
    before = run(model)
    simplify(model, "pixels")
    assert operations(model) == ["Cast", "Transpose", "Identity", "Conv", "Conv", "Add"]
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-3)


def test_scaling_by_channel_stays():
    nodes = [
        helper.make_node("Mul", ["float", "by"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w"], ["y"]),
    ]
    by = RNG.normal(size=(6, 1)).astype(np.float32)
    model = graph(nodes, {"by": by, "w": WEIGHTS}, "y", ["n", 4, 4, 4])
    before = run(model)
    simplify(model, "float")
    assert "Mul" in operations(model)
    np.testing.assert_array_equal(run(model), before)


def test_weights_that_another_layer_shares_stay_its_own():
    nodes = [
        helper.make_node("Mul", ["float", "by"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w"], ["c"], name="one", pads=[1] * 4),
        helper.make_node("Conv", ["c", "w"], ["y"], name="two"),
    ]
    w = RNG.normal(size=(1, 1, 3, 3)).astype(np.float32)
    model = graph(nodes, {"by": np.float32(0.1), "w": w}, "y", ["n", 1, 4, 4])
    before = run(model)
    simplify(model, "float")
    assert "Mul" not in operations(model)
    np.testing.assert_allclose(run(model), before, rtol=1e-4, atol=1e-4)


def flatten_by_hand():
    """Build what exporters write for Flatten: a target shape computed from the batch at run time."""
    nodes = [
        helper.make_node("Shape", ["float"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["float", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    values = {"zero": np.array([0]), "rest": np.array([36]), "w": RNG.normal(size=(36, 2)).astype(np.float32)}
    return graph(nodes, values, "y", ["n", 2])


def test_a_shape_that_is_known_is_not_computed():
    model = flatten_by_hand()
    before = run(model)
    simplify(model, "float")
    assert operations(model) == ["Cast", "Reshape", "MatMul"]
    assert {i.name for i in model.graph.initializer} == {"w", "fixed_shape_0"}
    np.testing.assert_array_equal(run(model), before)


def test_a_shape_that_is_not_known_stays():
    nodes = [
        helper.make_node("Shape", ["float"], ["shape"]),
        helper.make_node("Reshape", ["float", "target"], ["y"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["target"]),
    ]
    nodes = [nodes[0], nodes[2], nodes[1]]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Cast", ["image"], ["float"], to=1), *nodes],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "m", 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])],
            [numpy_helper.from_array(np.array([v]), k) for k, v in (("zero", 0), ("two", 2))],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    simplify(model, "float")
    assert operations(model) == ["Cast", "Shape", "Slice", "Reshape"]


def test_what_no_output_needs_goes():
    nodes = [
        helper.make_node("Relu", ["float"], ["y"]),
        helper.make_node("Add", ["float", "c"], ["unused"]),
        helper.make_node("Relu", ["unused"], ["unused_too"]),
    ]
    model = graph(nodes, {"c": np.float32(1)}, "y", ["n", 6, 6, 1])
    simplify(model, "float")
    assert operations(model) == ["Cast", "Relu"]
    assert not model.graph.initializer
