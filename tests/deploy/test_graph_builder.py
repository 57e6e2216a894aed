"""Simplified graphs give what the original gave, with fewer operations."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cnnboost.deploy.graph_builder import simplify

from .small_graph import operations

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)
WEIGHTS = RNG.normal(size=(4, 1, 3, 3)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)


def node(operation, inputs, output, **attributes):
    return helper.make_node(operation, inputs.split(), [output], **attributes)


def graph(nodes, constants, shape, image=("n", 6, 6, 1)):
    """Build a graph from uint8 `image`, which begins with a cast to `float`, to `y`."""
    model = helper.make_model(
        helper.make_graph(
            [node("Cast", "image", "float", to=TensorProto.FLOAT), *nodes],
            "g",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, image)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def simplified(model, pixels="float"):
    """Simplify a graph, see that it gives the same, and return its operations."""
    before = run(model)
    simplify(model, pixels)
    scale = max(1, np.abs(before).max())
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-5 * scale)
    return operations(model)


def run(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    image = X if len(session.get_inputs()[0].shape) == 4 else X[:, :, 0]
    return session.run(None, {"image": image})[0]


def scaled(operation, value, *, pads=0, bias=True, reverse=False, second=None):
    """Build Cast, scaling, Transpose, Conv."""
    constants = {"by": np.float32(value), "w": WEIGHTS}
    nodes = [node(operation, "by float" if reverse else "float by", "scaled")]
    if second is not None:
        constants["shift"] = np.full((1, 1), second, np.float32)
        nodes.append(node("Add", "scaled shift", "shifted"))
    nodes.append(node("Transpose", nodes[-1].output[0], "nchw", perm=[0, 3, 1, 2]))
    if bias:
        constants["b"] = BIAS
    nodes.append(node("Conv", "nchw w b" if bias else "nchw w", "y", name="first", pads=[pads] * 4))
    size = 4 + 2 * pads
    return graph(nodes, constants, ["n", 4, size, size])


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
    # Zero padding comes after the shift: 0 there is another grey than 0 in the image.
    shifted = (second or 0) + {"Add": value, "Sub": -value}.get(operation, 0)
    assert simplified(model) == ["Cast", "Transpose", *(["Pad"] if shifted and pads else []), "Conv"]


FIRST = [node("Mul", "float by", "scaled"), node("Transpose", "scaled", "nchw", perm=[0, 3, 1, 2])]
HALF = {"by": np.float32(0.5), "w": WEIGHTS}


@pytest.mark.parametrize(
    ("model", "pixels", "expected"),
    [
        (scaled("Mul", 0.0, pads=1, second=-1), "float", ["Cast", "Mul", "Add", "Transpose", "Conv"]),
        (scaled("Sub", 3.0, reverse=True), "float", ["Cast", "Sub", "Transpose", "Conv"]),
        # The pixels are used twice.
        (
            graph(
                [*FIRST, node("Conv", "nchw w", "c", pads=[1] * 4), node("Add", "c nchw", "y")],
                HALF,
                ["n", 4, 6, 6],
            ),
            "float",
            ["Cast", "Mul", "Transpose", "Conv", "Add"],
        ),
        # Each of two networks has a scaling of its own.
        (
            graph(
                [
                    node("Transpose", "float", "nchw", perm=[0, 3, 1, 2]),
                    node("Identity", "nchw", "pixels"),
                    node("Mul", "pixels by", "first"),
                    node("Add", "pixels by", "second"),
                    node("Conv", "first w", "a", name="one"),
                    node("Conv", "second w", "b", name="two"),
                    node("Add", "a b", "y"),
                ],
                HALF,
                ["n", 4, 4, 4],
            ),
            "pixels",
            ["Cast", "Transpose", "Identity", "Conv", "Conv", "Add"],
        ),
        # Scaling by channel.
        (
            graph(
                [*FIRST, node("Conv", "nchw w", "y")],
                {"by": RNG.normal(size=(6, 1)).astype(np.float32), "w": WEIGHTS},
                ["n", 4, 4, 4],
            ),
            "float",
            ["Cast", "Mul", "Transpose", "Conv"],
        ),
        # Another layer shares the weights.
        (
            graph(
                [
                    *FIRST,
                    node("Conv", "nchw w", "c", name="one", pads=[1] * 4),
                    node("Conv", "c w", "y", name="two"),
                ],
                {"by": np.float32(0.1), "w": RNG.normal(size=(1, 1, 3, 3)).astype(np.float32)},
                ["n", 1, 4, 4],
            ),
            "float",
            ["Cast", "Transpose", "Conv", "Conv"],
        ),
        # A target shape that is computed from the batch at run time, as exporters write Flatten.
        (
            graph(
                [
                    node("Shape", "float", "shape"),
                    node("Gather", "shape zero", "n"),
                    node("Concat", "n rest", "target", axis=0),
                    node("Reshape", "float target", "flat"),
                    node("MatMul", "flat w", "y"),
                ],
                {
                    "zero": np.array([0]),
                    "rest": np.array([36]),
                    "w": RNG.normal(size=(36, 2)).astype(np.float32),
                },
                ["n", 2],
            ),
            "float",
            ["Cast", "Reshape", "MatMul"],
        ),
        # A target shape that is not known before run time.
        (
            graph(
                [
                    node("Shape", "float", "shape"),
                    node("Slice", "shape zero two", "target"),
                    node("Reshape", "float target", "y"),
                ],
                {"zero": np.array([0]), "two": np.array([2])},
                ["n", "m"],
                image=("n", "m", 1),
            ),
            "float",
            ["Cast", "Shape", "Slice", "Reshape"],
        ),
        # What no output needs.
        (
            graph(
                [
                    node("Relu", "float", "y"),
                    node("Add", "float c", "unused"),
                    node("Relu", "unused", "unused_too"),
                ],
                {"c": np.float32(1)},
                ["n", 6, 6, 1],
            ),
            "float",
            ["Cast", "Relu"],
        ),
    ],
    ids=["all-black", "reversed", "used-twice", "two-networks", "by-channel", "shared-weights",
         "known-shape", "unknown-shape", "unused"],
)  # fmt: skip
def test_what_is_simplified_and_what_is_not(model, pixels, expected):
    assert simplified(model, pixels) == expected
    used = {name for node in model.graph.node for name in node.input}
    assert {constant.name for constant in model.graph.initializer} <= used
