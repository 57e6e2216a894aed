"""Fewer and cheaper operations for the same function: what ONNX Runtime does not do by itself.

A single image takes about as long as it takes to start thirty of these operations, and a pass over the pixels
of a large batch costs as much as a tenth of the whole CNN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"}


def simplify(model: onnx.ModelProto, pixels: str) -> None:
    """Simplify a graph in place."""
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

    constants = {i.name: i for i in graph.initializer}
    users: dict[str, list[Any]] = {}
    for user in graph.node:
        for name in user.input:
            users.setdefault(name, []).append(user)
    outputs = {value.name for value in graph.output}
    scale, shift = 1.0, 0.0
    scaling = []
    while node.op_type != "Conv":
        other = [name for name in node.input if name != here]
        if node.op_type in ("Mul", "Add", "Sub", "Div") and len(other) == 1 and other[0] in constants:
            value = numpy_helper.to_array(constants[other[0]])
            if value.size != 1 or (node.op_type in ("Sub", "Div") and node.input[0] != here):
                return
            factor = float(value.reshape(()))
            if node.op_type in ("Mul", "Div"):
                factor = factor if node.op_type == "Mul" else 1 / factor
                scale, shift = scale * factor, shift * factor
            else:
                shift += factor if node.op_type == "Add" else -factor
            scaling.append(node)
        elif node.op_type not in _MOVES or node.input[0] != here:
            return
        here = node.output[0]
        if here in outputs or len(users.get(here, [])) != 1:
            return
        node = users[here][0]
    if not scaling or node.input[0] != here or any(name not in constants for name in node.input[1:] if name):
        return
    padding = _padding(node)
    if shift and (padding is None or not scale):
        return
    weights, *bias = (
        numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:] if name
    )
    raised = shift * weights.reshape(len(weights), -1).sum(axis=1) + (bias[0] if bias else 0)
    # Under new names: another layer may share the weights.
    names = [f"{node.name}_scaled_weights", f"{node.name}_scaled_bias"]
    for name, values in zip(names, (scale * weights, raised), strict=True):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    if shift and padding and any(padding):
        here = _padded(graph, node, here, padding, -shift / scale)
    node.input[:] = [here, *names]
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
    from onnx import helper, numpy_helper

    half = len(padding) // 2
    pads = np.array([0, 0, *padding[:half], 0, 0, *padding[half:]], np.int64)
    names = [f"{node.name}_margins", f"{node.name}_padding", f"{node.name}_padded"]
    graph.initializer.append(numpy_helper.from_array(pads, names[0]))
    graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), names[1]))
    pad = helper.make_node("Pad", [here, *names[:2]], names[2:], name=f"{node.name}_pad")
    graph.node.insert(list(graph.node).index(node), pad)
    for attribute in [attribute for attribute in node.attribute if attribute.name == "pads"]:
        node.attribute.remove(attribute)
    return names[2]


def _fix_shapes(model: onnx.ModelProto) -> None:
    """Give a Reshape whose target shape is computed at run time a constant one, where it is known."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {i.name for i in graph.initializer}
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
            name = f"fixed_shape_{number}"
            graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
            node.input[1] = name


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
