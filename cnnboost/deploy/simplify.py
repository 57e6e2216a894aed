"""Fewer and cheaper operations for the same function: what ONNX Runtime does not do by itself.

A single image takes about as long as thirty of these operations cost to start, and a pass over the pixels of
a large batch costs as much as a tenth of the whole CNN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"}


def simplify(model: onnx.ModelProto, pixels: str) -> None:
    """Simplify a graph in place."""
    fold_scaling(model, pixels)
    fix_shapes(model)
    drop_unused(model)


def fold_scaling(model: onnx.ModelProto, pixels: str) -> None:
    """Move the scaling of the pixels into the weights of the first convolution of each network.

    `conv(a x + b)` is `conv'(x)` with weights `a w` and the bias raised by `b sum(w)`; what was padded with 0
    is padded with `-b / a` first. Where anything else stands between image and convolution, the graph stays
    as it is.
    """
    for node in [node for node in model.graph.node if pixels in node.input]:
        _fold(model.graph, pixels, node)


def _fold(graph: onnx.GraphProto, here: str, node: onnx.NodeProto) -> None:
    """Walk from the pixels along one of their users to a convolution, and fold what scales on the way."""
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
        if node.op_type in _MOVES and node.input[0] == here:
            pass
        elif node.op_type in ("Mul", "Add", "Sub", "Div") and len(other) == 1 and other[0] in constants:
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
        else:
            return
        here = node.output[0]
        if here in outputs or len(users.get(here, [])) != 1:
            return
        node = users[here][0]
    if not scaling or node.input[0] != here or node.input[1] not in constants:
        return
    margins = _margins(node)
    if shift and (margins is None or not scale):
        return
    weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
    has_bias = len(node.input) > 2 and node.input[2]
    if has_bias and node.input[2] not in constants:
        return
    bias = numpy_helper.to_array(constants[node.input[2]]) if has_bias else np.zeros(len(weights))
    bias = bias.astype(np.float64) + shift * weights.reshape(len(weights), -1).sum(axis=1)
    # Under names of their own: another layer may share the weights.
    names = [f"{node.name}_scaled_weights", f"{node.name}_scaled_bias"]
    for name, values in zip(names, (scale * weights, bias), strict=True):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    if shift and margins and any(margins):
        here = _padded(graph, node, here, margins, -shift / scale)
    node.input[:] = [here, *names]
    for skipped in scaling:
        source = next(name for name in skipped.input if name not in constants)
        _replace(graph, skipped.output[0], source)
        graph.node.remove(skipped)


def fix_shapes(model: onnx.ModelProto) -> None:
    """Give a Reshape whose target shape is computed at run time a constant one, where it is known."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {i.name for i in graph.initializer}
    wanted = [n for n in graph.node if n.op_type == "Reshape" and n.input[1] not in constants]
    if not wanted:
        return
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes: dict[str, list[int]] = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
    for number, node in enumerate(wanted):
        shape = shapes.get(node.output[0], [])
        # One -1 is what Reshape itself can work out.
        if shape.count(-1) != 1 or 0 in shape:
            continue
        name = f"fixed_shape_{number}"
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
        node.input[1] = name


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove operations and constants that no output needs."""
    graph = model.graph
    needed = Counter(value.name for value in graph.output)
    kept = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    initializers = [i for i in graph.initializer if i.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def _margins(node: Any) -> list[int] | None:
    """Return by how much a convolution pads: before each axis, then after each. None: it depends."""
    margins: list[int] = []
    for attribute in node.attribute:
        if attribute.name == "pads":
            margins = list(attribute.ints)
        if attribute.name == "auto_pad" and attribute.s not in (b"", b"NOTSET", b"VALID"):
            return None
    return margins


def _padded(graph: Any, node: Any, here: str, margins: Sequence[int], value: float) -> str:
    """Pad before a convolution, with another value than its own 0; return what holds the result."""
    from onnx import helper, numpy_helper

    half = len(margins) // 2
    pads = np.array([0, 0, *margins[:half], 0, 0, *margins[half:]], np.int64)
    names = [f"{node.name}_margins", f"{node.name}_padding", f"{node.name}_padded"]
    graph.initializer.append(numpy_helper.from_array(pads, names[0]))
    graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), names[1]))
    pad = helper.make_node("Pad", [here, *names[:2]], names[2:], name=f"{node.name}_pad")
    graph.node.insert(list(graph.node).index(node), pad)
    kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return names[2]


def _replace(graph: Any, name: str, by: str) -> None:
    for node in graph.node:
        node.input[:] = [by if used == name else used for used in node.input]
