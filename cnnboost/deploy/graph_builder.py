"""GraphBuilder: an ONNX graph under construction, from uint8 images to labels and probabilities.

A finished graph is simplified in ways that ONNX Runtime does not know. A single image takes about as long as
it takes to start thirty operations, and a pass over the pixels of a large batch costs as much as a tenth of
the whole CNN.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import ModelError, without_trace

if TYPE_CHECKING:
    import onnx

#: Operators of 2023; every ONNX Runtime since 1.14 knows them.
OPSET = 18
#: The version of `ai.onnx.ml` whose tree ensembles onnxmltools writes.
ML_OPSET = 3
IR_VERSION = 8
IMAGE, LABEL, PROBABILITIES = "image", "label", "probabilities"

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
_SCALINGS: dict[str, Callable[[Any, Any], Any]] = {
    "Mul": np.multiply,
    "Add": np.add,
    "Sub": np.subtract,
    "Div": np.divide,
}


class GraphBuilder:
    """Operations and constants of a graph whose input is `image`."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(int(size) for size in shape)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def add(self, operation: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        """Add an operation with one output; return the name of the output."""
        from onnx import helper

        output = name or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def float_image(self, image: str = IMAGE) -> str:
        """Add the conversion of uint8 pixels to float32."""
        return self.add("Cast", [image], to=1)

    def softmax(self, scores: str) -> str:
        """Add the softmax over the last axis."""
        return self.add("Softmax", [scores], axis=-1)

    def merge(self, graph: onnx.GraphProto) -> None:
        """Add all operations and constants of a graph, whose names must not occur here yet."""
        self._nodes.extend(graph.node)
        self._constants.update({constant.name: constant for constant in graph.initializer})

    def model(self, probabilities: str, n_classes: int) -> onnx.ModelProto:
        """Return the finished graph, whose outputs are the labels and the given probabilities."""
        from onnx import TensorProto, helper

        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [PROBABILITIES if name == probabilities else name for name in names]
        self.add("ArgMax", [PROBABILITIES], LABEL, axis=-1, keepdims=0)
        return self._finished(
            [
                helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["batch"]),
                helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", n_classes]),
            ]
        )

    def features(self, outputs: Sequence[str], widths: Sequence[int]) -> onnx.ModelProto:
        """Return the finished graph, whose outputs are features in the given order."""
        from onnx import TensorProto, helper

        named = [self.add("Identity", [name], f"features_{i}") for i, name in enumerate(outputs)]
        return self._finished(
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
                for name, width in zip(named, widths, strict=True)
            ]
        )

    def _finished(self, outputs: Sequence[Any]) -> onnx.ModelProto:
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "cnnboost",
            [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", *self.shape])],
            list(outputs),
            list(self._constants.values()),
        )
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(
            graph, opset_imports=versions, ir_version=IR_VERSION, producer_name="cnnboost"
        )


@contextlib.contextmanager
def converting(what: str, remedy: str) -> Iterator[None]:
    """Run a converter without its output, and say what it could not convert."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (OSError, MemoryError):  # a full disk says nothing about the model
        raise
    except Exception as error:
        lines = without_trace(error).splitlines()
        reason = lines[0] if lines else "no reason given"
        raise ModelError(f"{what}: {type(error).__name__}: {reason}; {remedy}") from error
    finally:
        logging.disable(level)


def users_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the operations that read each value."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def add_initializer(graph: onnx.GraphProto, name: str, value: Any, dtype: Any = np.float32) -> str:
    """Add a constant to a graph; return its name."""
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return name


def simplify(model: onnx.ModelProto, pixels: str) -> None:
    """Use fewer and cheaper operations for the same function; the graph is changed in place."""
    for node in [node for node in model.graph.node if pixels in node.input]:
        _fold_scaling(model.graph, pixels, node)
    _fix_shapes(model)
    _drop_unused(model.graph)


def _fold_scaling(graph: onnx.GraphProto, here: str, node: onnx.NodeProto) -> None:
    """Move the scaling of the pixels into the weights of a network's first convolution.

    `conv(a x + b)` is `conv'(x)` with weights `a w` and the bias raised by `b sum(w)`; what was padded with 0
    is padded with `-b / a` first. Where anything else is between pixels and convolution, the graph stays as
    it is.
    """
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in graph.initializer}
    users = users_of(graph)
    outputs = {value.name for value in graph.output}
    zero, one = 0.0, 1.0  # what becomes of pixels of these values
    scaling = []
    while node.op_type != "Conv":
        other = [name for name in node.input if name != here]
        if node.op_type in _SCALINGS and len(other) == 1 and other[0] in constants:
            value = numpy_helper.to_array(constants[other[0]])
            if value.size != 1 or (node.op_type in ("Sub", "Div") and node.input[0] != here):
                return
            zero, one = (_SCALINGS[node.op_type](pixel, float(value.reshape(()))) for pixel in (zero, one))
            scaling.append(node)
        elif node.op_type not in _MOVES or node.input[0] != here:
            return
        here = node.output[0]
        if here in outputs or len(users.get(here, [])) != 1:
            return
        node = users[here][0]
    if not scaling or node.input[0] != here or any(name not in constants for name in node.input[1:] if name):
        return
    scale, shift = one - zero, zero
    padding = _padding(node)
    if shift and (padding is None or not scale):
        return
    weights, *bias = (
        numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:] if name
    )
    raised = shift * weights.reshape(len(weights), -1).sum(axis=1) + (bias[0] if bias else 0)
    if shift and padding and any(padding):
        here = _padded(graph, node, here, padding, -shift / scale)
    # Under new names: another layer may share the weights.
    node.input[:] = [
        here,
        add_initializer(graph, f"{node.name}_scaled_weights", scale * weights),
        add_initializer(graph, f"{node.name}_scaled_bias", raised),
    ]
    for skipped in scaling:
        source = next(name for name in skipped.input if name not in constants)
        for user in graph.node:
            user.input[:] = [source if name == skipped.output[0] else name for name in user.input]
        graph.node.remove(skipped)


def _padding(convolution: onnx.NodeProto) -> list[int] | None:
    """Return by how much a convolution pads: before each axis, then after each. None: it depends."""
    padding: list[int] = []
    for attribute in convolution.attribute:
        if attribute.name == "pads":
            padding = list(attribute.ints)
        if attribute.name == "auto_pad" and attribute.s not in (b"", b"NOTSET", b"VALID"):
            return None
    return padding


def _padded(graph: onnx.GraphProto, node: onnx.NodeProto, here: str, padding: list[int], value: float) -> str:
    """Pad before a convolution, with another value than its own 0; return the name of the result."""
    from onnx import helper

    half = len(padding) // 2
    pads = [0, 0, *padding[:half], 0, 0, *padding[half:]]
    inputs = [
        here,
        add_initializer(graph, f"{node.name}_margins", pads, np.int64),
        add_initializer(graph, f"{node.name}_padding", value),
    ]
    padded = f"{node.name}_padded"
    pad = helper.make_node("Pad", inputs, [padded], name=f"{node.name}_pad")
    graph.node.insert(list(graph.node).index(node), pad)
    for attribute in [attribute for attribute in node.attribute if attribute.name == "pads"]:
        node.attribute.remove(attribute)
    return padded


def _fix_shapes(model: onnx.ModelProto) -> None:
    """Give a Reshape whose target shape is computed at run time a constant one, where it is known."""
    import onnx

    graph = model.graph
    constants = {constant.name for constant in graph.initializer}
    computed = [n for n in graph.node if n.op_type == "Reshape" and n.input[1] not in constants]
    if not computed:
        return
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes: dict[str, list[int]] = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
    for number, node in enumerate(computed):
        shape = shapes.get(node.output[0], [])
        # Reshape itself can work out a single -1.
        if shape.count(-1) == 1 and 0 not in shape:
            node.input[1] = add_initializer(graph, f"fixed_shape_{number}", shape, np.int64)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove operations and constants that no output needs."""
    needed = {value.name for value in graph.output}
    for i in reversed(range(len(graph.node))):
        if needed.isdisjoint(graph.node[i].output):
            del graph.node[i]
        else:
            needed.update(graph.node[i].input)
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in needed:
            del graph.initializer[i]
