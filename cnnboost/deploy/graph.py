"""CNN and hybrid as one ONNX graph each: uint8 images in, `label` and `probabilities` out.

Keras exports the networks, `head_graph` the trees. Added here: the test-time views, and what the networks'
outputs become before the head sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.cnn.graph import inference_model
from cnnboost.deploy.graph_builder import IMAGE, GraphBuilder, simplify
from cnnboost.deploy.head_graph import add_head, add_trees, uses
from cnnboost.deploy.network_graph import add_network, add_probabilities
from cnnboost.features.cut import Cut
from cnnboost.hybrid.calibration import log_probabilities
from cnnboost.images.views import TTA, check_tta, views

if TYPE_CHECKING:
    import onnx
    from xgboost import Booster

    from cnnboost.cnn import CNNClassifier
    from cnnboost.hybrid import HybridClassifier


def cnn_graph(
    model: Any, *, pixels: str, kind: str, shape: Sequence[int], tta: str = "none"
) -> onnx.ModelProto:
    """Export a CNN."""
    builder = GraphBuilder(shape)
    images = add_views(builder, tta)
    scores = add_network(builder, inference_model(model), images, pixels=pixels)[0]
    n_classes = 2 if kind == "sigmoid" else int(model.output_shape[-1])
    return _finished(builder, images, add_probabilities(builder, scores, kind), n_classes, tta)


def hybrid_graph(hybrid: HybridClassifier, shape: Sequence[int]) -> onnx.ModelProto:
    """Export a fitted hybrid: its networks, its head in its mode, its views; of a bagged one all members.

    Each network occurs once in the graph, and gets all views of all images in one batch.
    """
    builder = GraphBuilder(shape)
    images = add_views(builder, hybrid.tta)
    members = hybrid.members_ or [hybrid]
    parts = [_add_hybrid(builder, member, images, number) for number, member in enumerate(members, 1)]
    probabilities = parts[0] if len(parts) == 1 else builder.add("Mean", parts)
    return _finished(builder, images, probabilities, len(hybrid.classes_), hybrid.tta)


def _add_hybrid(builder: GraphBuilder, hybrid: HybridClassifier, images: str, number: int) -> str:
    """Add networks and their one head to a graph; return the name of its probabilities."""
    extractor = hybrid.extractor_
    layers, networks = extractor.layers, extractor.networks
    uses_features, uses_softmax = uses(hybrid.head_)
    needs_softmax = uses_softmax or not layers
    outputs = (layers if uses_features else []) + (["output"] if needs_softmax else [])
    trunk = Cut(networks[0].model_).trunk(outputs)
    prefix = "cnn/" if number == 1 else f"cnn{number}/"
    parts = add_network(builder, trunk, images, pixels=networks[0].pixels_, prefix=prefix)
    log_proba = features = None
    if needs_softmax:
        log_proba = _log_probabilities(builder, networks, parts.pop(), images)
    if uses_features:
        features = _concatenated(builder, parts, extractor.norm) if layers else log_proba
    return add_head(builder, hybrid.head_, features, log_proba if uses_softmax else None)


def trunk_graph(
    trunk: Any, booster: Booster, *, pixels: str, shape: Sequence[int], n_classes: int
) -> onnx.ModelProto:
    """Export a trunk and plain trees on its features; the network needs no probabilities for that."""
    builder = GraphBuilder(shape)
    images = builder.float_image()
    features = add_network(builder, trunk, images, pixels=pixels)[0]
    margins = add_trees(builder, booster, features, int(trunk.output_shape[-1]))
    return _finished(builder, images, builder.softmax(margins), n_classes)


def add_views(builder: GraphBuilder, tta: str) -> str:
    """Add the test-time views of the images, as float32: one batch with all views of all images.

    `cnnboost.images.views` defines them, and the graph is derived from it: a view that moves pixels from what
    it does to their indices, one that interpolates from what it does to single bright rows and columns.

    One batch is faster than one for each view: two views of a single image took 0.24 ms against 0.28 ms, ten
    views 1.09 ms against 1.33 ms (recipe `oslo`, one thread).
    """
    if TTA[check_tta(tta)] == 1:
        return builder.float_image()
    height, width, channels = builder.shape
    indices = np.arange(height * width, dtype=np.int32).reshape(1, height, width, 1)
    moved = np.concatenate(list(views(indices, tta)))
    as_batch = builder.constant([-1, *builder.shape], np.int64)
    if moved.dtype == indices.dtype:
        flat = builder.add("Reshape", [IMAGE, builder.constant([-1, height * width, channels], np.int64)])
        viewed = builder.add("Gather", [flat, builder.constant(moved[..., 0], np.int32)], axis=1)
        return builder.float_image(builder.add("Reshape", [viewed, as_batch]))
    down, across = _interpolation(height, tta, 1), _interpolation(width, tta, 2)
    planes = builder.add("Transpose", [builder.float_image()], perm=[0, 3, 1, 2])
    planes = builder.add("Unsqueeze", [planes, builder.constant([1], np.int64)])
    planes = builder.add("MatMul", [builder.constant(down[:, None]), planes])
    planes = builder.add("MatMul", [planes, builder.constant(across.transpose(0, 2, 1)[:, None])])
    viewed = builder.add("Transpose", [planes], perm=[0, 1, 3, 4, 2])
    return builder.add("Reshape", [viewed, as_batch])


def add_mean(builder: GraphBuilder, probabilities: str, tta: str, n_classes: int) -> str:
    """Add the mean of the probabilities over the views of each image."""
    if TTA[tta] == 1:
        return probabilities
    by_image = builder.constant([-1, TTA[tta], n_classes], np.int64)
    by_view = builder.add("Reshape", [probabilities, by_image])
    return builder.add("ReduceMean", [by_view, builder.constant([1], np.int64)], keepdims=0)


def _interpolation(size: int, tta: str, axis: int) -> np.ndarray:
    """Return matrices `(k, size, size)`: what each view makes of a column (axis 1) or row (axis 2) of pixels.

    Columns and rows are interpolated one after the other, so strips of three pixels suffice, of which every
    crop leaves one. In strip i, pixel i is bright.
    """
    strips = np.repeat(np.eye(size, dtype=np.float32)[:, :, None, None], 3, axis=2).swapaxes(1, axis)
    results = [view.swapaxes(1, axis)[:, :, 1, 0] for view in views(strips, tta)]
    return np.stack(results).transpose(0, 2, 1)


def _log_probabilities(
    builder: GraphBuilder, networks: Sequence[CNNClassifier], scores: str, images: str
) -> str:
    """Add the mean log-probabilities of networks; `scores` are those of the first."""
    lowest = builder.constant(log_probabilities(np.zeros((1, 1)))[0, 0])
    logs = []
    for number, network in enumerate(networks):
        if number:
            model = inference_model(network.model_)
            prefix = f"cnn{number + 1}/"
            scores = add_network(builder, model, images, pixels=network.pixels_, prefix=prefix)[0]
        log = builder.add("Log", [add_probabilities(builder, scores, network.output_kind_)])
        logs.append(builder.add("Max", [log, lowest]))
    return logs[0] if len(logs) == 1 else builder.add("Mean", logs)


def _concatenated(builder: GraphBuilder, parts: Sequence[str], norm: bool) -> str:
    features = parts[0] if len(parts) == 1 else builder.add("Concat", parts, axis=1)
    if not norm:
        return features
    length = builder.add("ReduceL2", [features, builder.constant([1], np.int64)])
    return builder.add("Concat", [features, length], axis=1)


def _finished(
    builder: GraphBuilder, images: str, probabilities: str, n_classes: int, tta: str = "none"
) -> onnx.ModelProto:
    import onnx

    model = builder.model(add_mean(builder, probabilities, tta, n_classes), n_classes)
    simplify(model, images)
    onnx.checker.check_model(model, full_check=True)
    return model
