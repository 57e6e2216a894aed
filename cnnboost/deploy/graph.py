"""CNN and hybrid as one ONNX graph each: uint8 images in, `label` and `probabilities` out.

Keras exports the networks, onnxmltools the trees. What is ours: the pixels' way in, the views, the output of
networks that end in plain scores or one sigmoid unit, the modes, and the metadata that travels along.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.cnn.graph import inference_model
from cnnboost.deploy.checksum import FACTS_KEY, add_checksum
from cnnboost.deploy.graph_builder import GraphBuilder
from cnnboost.deploy.head_graph import add_head, add_trees, uses
from cnnboost.deploy.network_graph import add_network, add_probabilities
from cnnboost.deploy.simplify import simplify
from cnnboost.deploy.view_graph import add_mean, add_views
from cnnboost.features.cut import Cut
from cnnboost.hybrid.temperature import log_probabilities

if TYPE_CHECKING:
    import onnx
    from xgboost import Booster

    from cnnboost.cnn import CNNClassifier
    from cnnboost.hybrid import HybridClassifier


def cnn_graph(
    model: Any, *, pixels: str, kind: str, shape: Sequence[int], tta: str = "none"
) -> onnx.ModelProto:
    """Export a CNN."""
    draft = GraphBuilder(shape)
    images = add_views(draft, tta)
    scores = add_network(draft, inference_model(model), images, pixels=pixels)[0]
    n_classes = 2 if kind == "sigmoid" else int(model.output_shape[-1])
    probabilities = add_probabilities(draft, scores, kind)
    return _finished(draft, images, add_mean(draft, probabilities, tta, n_classes), n_classes)


def hybrid_graph(hybrid: HybridClassifier, shape: Sequence[int]) -> onnx.ModelProto:
    """Export a fitted hybrid: its networks, its head in its mode, its views.

    Every network stands in the graph once, and looks at all views of all images in one pass.
    """
    looks, n_classes = hybrid.extractor_, len(hybrid.classes_)
    layers, networks = looks.layers, looks.networks
    sees_features, sees_softmax = uses(hybrid.head_)
    softmax_wanted = sees_softmax or not layers
    draft = GraphBuilder(shape)
    images = add_views(draft, hybrid.tta)
    cut = Cut(networks[0].model_)
    wanted = (layers if sees_features else []) + (["output"] if softmax_wanted else [])
    found = add_network(draft, cut.trunk(wanted), images, pixels=networks[0].pixels_)
    log_proba = features = None
    if softmax_wanted:
        log_proba = _log_probabilities(draft, networks, found.pop(), images)
    if sees_features:
        features = _side_by_side(draft, found, looks.norm) if layers else log_proba
    probabilities = add_head(draft, hybrid.head_, features, log_proba if sees_softmax else None)
    return _finished(draft, images, add_mean(draft, probabilities, hybrid.tta, n_classes), n_classes)


def trunk_graph(
    trunk: Any, booster: Booster, *, pixels: str, shape: Sequence[int], n_classes: int
) -> onnx.ModelProto:
    """Export a trunk and plain trees on its features, where there is no `HybridClassifier` around them."""
    draft = GraphBuilder(shape)
    images = add_views(draft, "none")
    features = add_network(draft, trunk, images, pixels=pixels)[0]
    margins = add_trees(draft, booster, features, int(trunk.output_shape[-1]))
    return _finished(draft, images, draft.softmax(margins), n_classes)


def serialise(model: onnx.ModelProto, metadata: Mapping[str, Any]) -> bytes:
    """Turn a graph into the content of a file, with metadata and checksum."""
    entry = model.metadata_props.add()
    entry.key, entry.value = FACTS_KEY, json.dumps(metadata, sort_keys=True)
    return add_checksum(model.SerializeToString(deterministic=True))


def _log_probabilities(
    draft: GraphBuilder, networks: Sequence[CNNClassifier], scores: str, images: str
) -> str:
    """Add the mean log-probabilities of networks; the scores of the first are there."""
    # What it makes of a zero is where it ends.
    lowest = log_probabilities(np.zeros((1, 1)))[0, 0]
    logs = []
    for number, network in enumerate(networks):
        if number:
            prefix = f"cnn{number + 1}/"
            model = inference_model(network.model_)
            scores = add_network(draft, model, images, pixels=network.pixels_, prefix=prefix)[0]
        log = draft.add("Log", [add_probabilities(draft, scores, network.output_kind_)])
        logs.append(draft.add("Max", [log, draft.constant(lowest)]))
    return logs[0] if len(logs) == 1 else draft.add("Mean", logs)


def _side_by_side(draft: GraphBuilder, parts: Sequence[str], norm: bool) -> str:
    features = parts[0] if len(parts) == 1 else draft.add("Concat", parts, axis=1)
    if not norm:
        return features
    length = draft.add("ReduceL2", [features, draft.constant([1], np.int64)])
    return draft.add("Concat", [features, length], axis=1)


def _finished(draft: GraphBuilder, images: str, probabilities: str, n_classes: int) -> onnx.ModelProto:
    """State the outputs, simplify, check."""
    import onnx

    draft.finish(probabilities, n_classes)
    model = draft.model()
    simplify(model, images)
    onnx.checker.check_model(model, full_check=True)
    return model
