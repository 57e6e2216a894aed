"""A Keras model as a part of a graph: Keras exports it, the scaling of the pixels goes before it."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.cnn.graph import float32_model
from cnnboost.cnn.inputs import CAFFE_MEANS, TORCH_DEVIATIONS, TORCH_MEANS, check_fits, check_pixels
from cnnboost.deploy.graph_builder import OPSET, GraphBuilder
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
#: Of float32 in ONNX.
FLOAT = 1


def add_network(
    draft: GraphBuilder, model: Any, images: str, *, pixels: str, prefix: str = "cnn/"
) -> list[str]:
    """Add a Keras model to a graph; one of another precision in float32, rounded where it rounds."""
    from onnx import compose

    check_fits(np.empty((0, *draft.shape), np.uint8), tuple(model.input_shape[1:]))
    network = compose.add_prefix(_exported(float32_model(model), draft.shape), prefix)
    # A Sequential that was exported keeps its batch axis under a generated name.
    entry = network.graph.input[0].name
    check_pixels(pixels, draft.shape[-1])
    if pixels in _SCALES:
        scale, shift = (draft.constant(value) for value in _SCALES[pixels])
        draft.add("Add", [draft.add("Mul", [images, scale]), shift], entry)
    elif pixels == "caffe":
        turned = draft.add("Gather", [images, draft.constant([2, 1, 0], np.int64)], axis=-1)
        draft.add("Sub", [turned, draft.constant(CAFFE_MEANS)], entry)
    else:
        for node in network.graph.node:
            node.input[:] = [images if name == entry else name for name in node.input]
    draft.take_in(network.graph)
    return [value.name for value in network.graph.output]


def add_probabilities(draft: GraphBuilder, scores: str, kind: str) -> str:
    """Turn what a network gives into class probabilities."""
    if kind == "sigmoid":
        first = draft.add("Sub", [draft.constant([1.0]), scores])
        return draft.add("Concat", [first, scores], axis=-1)
    return draft.softmax(scores) if kind == "logits" else draft.add("Identity", [scores])


def _exported(model: Any, shape: tuple[int, ...]) -> onnx.ModelProto:
    import keras
    import onnx

    signature = [keras.InputSpec(shape=(None, *shape), dtype="float32")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        try:
            with silence(), _expressible(model):
                model.export(
                    path, format="onnx", opset_version=OPSET, input_signature=signature, verbose=False
                )
            network = onnx.load(path, load_external_data=False)
            _express_erfc(network.graph)
            # An operation that has no counterpart is written down all the same.
            onnx.checker.check_model(network)
        except (OSError, MemoryError):  # a full disk says nothing about the network
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelError(
                f"the network {model.name!r} cannot be expressed in ONNX: "
                f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}; use layers that "
                "Keras itself has"
            ) from error
    lost = [value.name for value in network.graph.input[1:]]
    if lost:
        raise ModelError(
            f"the network {model.name!r} keeps constants that Keras' export to ONNX leaves out: "
            f"{', '.join(lost)}. A layer that holds constants should hold them as NumPy arrays or "
            "numbers, not as tensors"
        )
    _keep_padding(network.graph)
    if len(network.functions):
        raise ModelError(f"the network {model.name!r} needs functions of its own, which are not joined")
    return network


def _express_erfc(graph: onnx.GraphProto) -> None:
    """Write 1 - erf(x) for erfc(x), of which TensorFlow makes its GELU and which ONNX does not know."""
    from onnx import helper, numpy_helper

    name = "one_of_erfc"
    found = [node for node in graph.node if node.op_type == "Erfc"]
    for node in found:
        inner = f"{node.output[0]}/erf"
        place = list(graph.node).index(node)
        graph.node.remove(node)
        graph.node.insert(place, helper.make_node("Sub", [name, inner], node.output, node.name))
        graph.node.insert(place, helper.make_node("Erf", node.input, [inner], inner))
    if found:
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), name))


def _keep_padding(graph: onnx.GraphProto) -> None:
    """Pad with the smallest number above 0 before a maximum.

    ONNX Runtime takes a padding with 0 for one of the pooling itself, whose maximum leaves padding out: other
    values come out where all others are negative.
    """
    from onnx import numpy_helper

    name = "padding_before_maximum"
    pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
    constants = {constant.name: constant for constant in graph.initializer}
    for node in graph.node:
        if node.op_type != "Pad" or node.output[0] not in pooled:
            continue
        value = node.input[2] if len(node.input) > 2 else ""
        if value in constants and numpy_helper.to_array(constants[value]).any():
            continue
        node.input[:] = [*node.input[:2], name, *node.input[3:]]
        if name not in constants:
            constants[name] = numpy_helper.from_array(np.array(np.finfo(np.float32).tiny), name)
            graph.initializer.append(constants[name])


@contextlib.contextmanager
def _expressible(model: Any) -> Iterator[None]:
    """Make some of Keras' own layers compute the same for a while in a way that the exporters can express.

    What a Normalization holds as tensors is left out of the graph, and a convolution in groups becomes a
    function of TensorFlow's compiler.
    """
    import keras

    layers = list(model._flatten_layers())
    grouped = [layer for layer in layers if hasattr(layer, "convolution_op") and layer.groups > 1]
    normal = [layer for layer in layers if isinstance(layer, keras.layers.Normalization)]
    kept = [(layer, layer.mean, layer.variance) for layer in normal]
    for layer, mean, variance in kept:
        layer.mean, layer.variance = (keras.ops.convert_to_numpy(value) for value in (mean, variance))
    for layer in grouped:
        layer.convolution_op = functools.partial(_convolution_in_groups, layer)
    try:
        yield
    finally:
        for layer in grouped:
            del layer.convolution_op
        for layer, mean, variance in kept:
            layer.mean, layer.variance = mean, variance


def _convolution_in_groups(layer: Any, inputs: Any, kernel: Any) -> Any:
    import keras

    ops = keras.ops
    how = {
        "strides": layer.strides, "padding": layer.padding, "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }  # fmt: skip
    *sizes, of_group, filters = kernel.shape
    if of_group == 1 and len(sizes) < 3:
        by_channel = ops.reshape(kernel, (*sizes, layer.groups, filters // layer.groups))
        return ops.depthwise_conv(inputs, by_channel, **how)
    axis = -1 if layer.data_format == "channels_last" else 1
    parts = zip(ops.split(inputs, layer.groups, axis), ops.split(kernel, layer.groups, axis=-1), strict=True)
    return ops.concatenate([ops.conv(part, weights, **how) for part, weights in parts], axis=axis)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the exporters' chatter from a user who asked for none of it."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "onnxmltools", "skl2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
