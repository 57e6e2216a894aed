"""A Keras model as a part of a graph: Keras exports it, the scaling of the pixels is put before it."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.cnn.graph import float32_model
from cnnboost.cnn.inputs import CAFFE_MEANS, TORCH_DEVIATIONS, TORCH_MEANS, check_fits, check_pixels
from cnnboost.deploy.graph_builder import OPSET, GraphBuilder, add_initializer, converting
from cnnboost.errors import ModelError

if TYPE_CHECKING:
    import onnx

_SCALES: dict[str, tuple[Any, Any]] = {
    "unit": (1 / 255, 0.0),
    "symmetric": (1 / 127.5, -1.0),
    "torch": (
        np.divide(1 / 255, TORCH_DEVIATIONS),
        np.negative(np.divide(TORCH_MEANS, TORCH_DEVIATIONS)),
    ),
}


def add_network(
    builder: GraphBuilder, model: Any, images: str, *, pixels: str, prefix: str = "cnn/"
) -> list[str]:
    """Add a Keras model to a graph; one of another precision in float32, rounded where it rounds."""
    from onnx import compose

    check_fits(np.empty((0, *builder.shape), np.uint8), tuple(model.input_shape[1:]))
    check_pixels(pixels, builder.shape[-1])
    network = compose.add_prefix(_exported(float32_model(model), builder.shape), prefix)
    # A Sequential that was exported keeps its batch axis under a generated name.
    entry = network.graph.input[0].name
    if pixels in _SCALES:
        scale, shift = (builder.constant(value) for value in _SCALES[pixels])
        builder.add("Add", [builder.add("Mul", [images, scale]), shift], entry)
    elif pixels == "caffe":
        reversed_channels = builder.constant([2, 1, 0], np.int64)
        bgr = builder.add("Gather", [images, reversed_channels], axis=-1)
        builder.add("Sub", [bgr, builder.constant(CAFFE_MEANS)], entry)
    else:
        for node in network.graph.node:
            node.input[:] = [images if name == entry else name for name in node.input]
    builder.merge(network.graph)
    return [value.name for value in network.graph.output]


def add_probabilities(builder: GraphBuilder, scores: str, kind: str) -> str:
    """Turn the outputs of a network into class probabilities."""
    if kind == "sigmoid":
        first = builder.add("Sub", [builder.constant([1.0]), scores])
        return builder.add("Concat", [first, scores], axis=-1)
    return builder.softmax(scores) if kind == "logits" else builder.add("Identity", [scores])


def _exported(model: Any, shape: tuple[int, ...]) -> onnx.ModelProto:
    import keras
    import onnx

    signature = [keras.InputSpec(shape=(None, *shape), dtype="float32")]
    what = f"the network {model.name!r} cannot be expressed in ONNX"
    with tempfile.TemporaryDirectory() as folder, converting(what, "use layers that Keras itself has"):
        path = Path(folder) / "network.onnx"
        with _expressible(model):
            model.export(path, format="onnx", opset_version=OPSET, input_signature=signature, verbose=False)
        network = onnx.load(path, load_external_data=False)
        _express_erfc(network.graph)
        # Operations without a counterpart in ONNX are exported all the same.
        onnx.checker.check_model(network)
    lost = [value.name for value in network.graph.input[1:]]
    if lost:
        raise ModelError(
            f"the network {model.name!r} keeps constants that Keras' export to ONNX leaves out: "
            f"{', '.join(lost)}. A layer that holds constants should hold them as NumPy arrays or "
            "numbers, not as tensors"
        )
    if len(network.functions):
        raise ModelError(f"the network {model.name!r} needs ONNX functions, which are not supported")
    _keep_padding(network.graph)
    return network


def _express_erfc(graph: onnx.GraphProto) -> None:
    """Replace erfc(x), which TensorFlow's GELU uses and ONNX does not know, with 1 - erf(x)."""
    from onnx import helper

    nodes = [node for node in graph.node if node.op_type == "Erfc"]
    one = add_initializer(graph, "one_of_erfc", 1) if nodes else ""
    for node in nodes:
        inner = f"{node.output[0]}/erf"
        place = list(graph.node).index(node)
        graph.node.remove(node)
        graph.node.insert(place, helper.make_node("Sub", [one, inner], node.output, node.name))
        graph.node.insert(place, helper.make_node("Erf", node.input, [inner], inner))


def _keep_padding(graph: onnx.GraphProto) -> None:
    """Pad with the smallest number above 0 before a maximum.

    ONNX Runtime merges a padding with 0 into the pooling, whose maximum leaves padding out: other values come
    out where all others are negative.
    """
    from onnx import numpy_helper

    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    constants = {constant.name: constant for constant in graph.initializer}
    for number, node in enumerate(graph.node):
        if node.op_type != "Pad" or node.output[0] not in pooled:
            continue
        value = node.input[2] if len(node.input) > 2 else ""
        if value not in constants or not numpy_helper.to_array(constants[value]).any():
            tiny = add_initializer(graph, f"padding_before_maximum_{number}", np.finfo(np.float32).tiny)
            node.input[:] = [*node.input[:2], tiny, *node.input[3:]]


@contextlib.contextmanager
def _expressible(model: Any) -> Iterator[None]:
    """Make some Keras layers compute the same for a while in a way that the exporters can express.

    What a Normalization holds as tensors is left out of the graph, and a grouped convolution becomes a
    function of TensorFlow's compiler.
    """
    import keras

    layers = list(model._flatten_layers())
    grouped = [layer for layer in layers if hasattr(layer, "convolution_op") and layer.groups > 1]
    statistics = [
        (layer, layer.mean, layer.variance)
        for layer in layers
        if isinstance(layer, keras.layers.Normalization)
    ]
    for layer, mean, variance in statistics:
        layer.mean, layer.variance = (keras.ops.convert_to_numpy(value) for value in (mean, variance))
    for layer in grouped:
        layer.convolution_op = functools.partial(_grouped_convolution, layer)
    try:
        yield
    finally:
        for layer in grouped:
            del layer.convolution_op
        for layer, mean, variance in statistics:
            layer.mean, layer.variance = mean, variance


def _grouped_convolution(layer: Any, inputs: Any, kernel: Any) -> Any:
    import keras

    ops = keras.ops
    options = {
        "strides": layer.strides, "padding": layer.padding, "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }  # fmt: skip
    *sizes, group_channels, filters = kernel.shape
    if group_channels == 1 and len(sizes) < 3:
        by_channel = ops.reshape(kernel, (*sizes, layer.groups, filters // layer.groups))
        return ops.depthwise_conv(inputs, by_channel, **options)
    axis = -1 if layer.data_format == "channels_last" else 1
    parts = zip(ops.split(inputs, layer.groups, axis), ops.split(kernel, layer.groups, axis=-1), strict=True)
    return ops.concatenate([ops.conv(part, weights, **options) for part, weights in parts], axis=axis)
