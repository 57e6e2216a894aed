"""CNN and hybrid as one ONNX graph each: uint8 images in, `label` and `probabilities` out.

Keras exports the network, onnxmltools the trees, `onnx.compose` joins them. What is ours: the pixels' way
in, the output of networks that end in plain scores or one sigmoid unit, and the facts that travel along.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnboost.deploy.seal import FACTS_KEY, seal
from cnnboost.deploy.simplify import simplify
from cnnboost.deploy.thresholds import lower_thresholds
from cnnboost.errors import ModelError

if TYPE_CHECKING:
    import onnx
    from xgboost import Booster

#: Operators of 2023 and later; every ONNX Runtime since 1.14 knows them.
OPSET = 18
#: The version of `ai.onnx.ml` whose tree ensembles onnxmltools writes.
ML_OPSET = 3
#: What onnxmltools can be asked for; its trees use `ai.onnx.ml` alone.
_TREES_OPSET = 15
IR_VERSION = 8
IMAGE, LABEL, PROBABILITIES = "image", "label", "probabilities"
_SCALES = {"unit": (1 / 255, 0.0), "symmetric": (1 / 127.5, -1.0)}
_CNN, _HEAD = "cnn/", "head/"


def cnn_graph(model: Any, *, pixels: str, kind: str, shape: Sequence[int]) -> onnx.ModelProto:
    """Export a CNN.

    Parameters
    ----------
    model : keras.Model
        Images to class probabilities or scores.
    pixels : {"raw", "unit", "symmetric"}
        The range of pixels that it expects.
    kind : {"softmax", "logits", "sigmoid"}
        What its output is: probabilities, scores, or the probability of the second of two classes.
    shape : (height, width, channels)
        Of the images.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModelError
        If the model cannot be expressed in ONNX.
    """
    from onnx import helper

    graph = _network(model, pixels, shape)
    scores = graph.graph.output[0].name
    nodes = []
    if kind == "sigmoid":
        one = helper.make_tensor("one", 1, [1], [1.0])
        graph.graph.initializer.append(one)
        nodes.append(helper.make_node("Sub", ["one", scores], ["first"]))
        nodes.append(helper.make_node("Concat", ["first", scores], [PROBABILITIES], axis=-1))
    elif kind == "logits":
        nodes.append(helper.make_node("Softmax", [scores], [PROBABILITIES], axis=-1))
    else:
        nodes.append(helper.make_node("Identity", [scores], [PROBABILITIES]))
    nodes.append(helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=-1, keepdims=0))
    graph.graph.node.extend(nodes)
    width = 2 if kind == "sigmoid" else int(model.output_shape[-1])
    return _finish(graph, width)


def hybrid_graph(
    trunk: Any, booster: Booster, *, pixels: str, shape: Sequence[int], n_classes: int
) -> onnx.ModelProto:
    """Export a trunk and the trees on its features.

    Parameters
    ----------
    trunk : keras.Model
        Images to features `(n, d)`.
    booster : xgboost.Booster
        `multi:softprob` on these features, no more rounds than are to be used.
    pixels : {"raw", "unit", "symmetric"}
        The range of pixels that the trunk expects.
    shape : (height, width, channels)
        Of the images.
    n_classes : int
        Number of classes.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModelError
        If the trunk cannot be expressed in ONNX.
    """
    from onnx import compose

    graph = _network(trunk, pixels, shape)
    trees = _trees(booster, int(trunk.output_shape[-1]))
    # Both sides were written for the versions above, which is what joining demands.
    joined = compose.merge_models(
        graph,
        compose.add_prefix(trees, _HEAD),
        io_map=[(graph.graph.output[0].name, _HEAD + trees.graph.input[0].name)],
    )
    names = {_HEAD + LABEL: LABEL, _HEAD + PROBABILITIES: PROBABILITIES}
    for node in joined.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    return _finish(joined, n_classes)


def serialise(model: onnx.ModelProto, facts: Mapping[str, Any]) -> bytes:
    """Turn a graph into the content of a file, with facts and checksum.

    Parameters
    ----------
    model : onnx.ModelProto
    facts : mapping
        JSON-able; what the graph was made from.

    Returns
    -------
    bytes
    """
    entry = model.metadata_props.add()
    entry.key, entry.value = FACTS_KEY, json.dumps(facts, sort_keys=True)
    return seal(model.SerializeToString(deterministic=True))


def _network(model: Any, pixels: str, shape: Sequence[int]) -> onnx.ModelProto:
    """Export a Keras model with a cast and the scaling of the pixels before it."""
    import keras
    import onnx
    from onnx import compose, helper

    signature = [keras.InputSpec(shape=(None, *shape), dtype="float32")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        try:
            with _silence():
                model.export(
                    path, format="onnx", opset_version=OPSET, input_signature=signature, verbose=False
                )
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise ModelError(
                f"the network {model.name!r} cannot be expressed in ONNX: "
                f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}"
            ) from error
        network = onnx.load(path, load_external_data=False)
    lost = [value.name for value in network.graph.input[1:]]
    if lost:
        raise ModelError(
            f"the network {model.name!r} keeps constants that Keras' export to ONNX leaves out: "
            f"{', '.join(lost)}. Where a Normalization layer holds them, a Rescaling layer with scale and "
            "offset says the same"
        )
    del network.opset_import[:]
    network.opset_import.extend(_opsets())
    network.ir_version = IR_VERSION
    network = compose.add_prefix(network, _CNN)
    graph = network.graph
    # A Sequential that was exported keeps its batch axis under a generated name.
    target = graph.input[0].name
    nodes = [helper.make_node("Cast", [IMAGE], [f"{_CNN}float" if pixels in _SCALES else target], to=1)]
    if pixels in _SCALES:
        scale, shift = _SCALES[pixels]
        graph.initializer.append(helper.make_tensor(f"{_CNN}scale", 1, [], [scale]))
        graph.initializer.append(helper.make_tensor(f"{_CNN}shift", 1, [], [shift]))
        nodes.append(helper.make_node("Mul", [f"{_CNN}float", f"{_CNN}scale"], [f"{_CNN}scaled"]))
        nodes.append(helper.make_node("Add", [f"{_CNN}scaled", f"{_CNN}shift"], [target]))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(IMAGE, onnx.TensorProto.UINT8, ["batch", *shape]))
    return network


def _trees(booster: Booster, width: int) -> onnx.ModelProto:
    """Export the trees."""
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    with _silence():
        trees = onnxmltools.convert_xgboost(
            booster, initial_types=[("features", FloatTensorType([None, width]))], target_opset=_TREES_OPSET
        )
    lower_thresholds(trees)
    return _scores_as_margins(trees)


def _scores_as_margins(trees: onnx.ModelProto) -> onnx.ModelProto:
    """Turn the classifier into trees that give margins, with a softmax and an argmax behind them.

    ONNX Runtime takes a classifier of two classes for one with a single score and swaps them.
    """
    from onnx import helper

    (classifier,) = trees.graph.node
    facts = {a.name: helper.get_attribute_value(a) for a in classifier.attribute}
    renamed = {f"target_{name[6:]}": value for name, value in facts.items() if name.startswith("class_")}
    kept = {name: value for name, value in facts.items() if name.startswith(("nodes_", "base_"))}
    n_classes = len(facts["classlabels_int64s"])
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor",
            classifier.input,
            ["margins"],
            domain="ai.onnx.ml",
            n_targets=n_classes,
            **renamed,
            **kept,
        ),
        helper.make_node("Softmax", ["margins"], [PROBABILITIES], axis=-1),
        helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=-1, keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info(LABEL, 7, ["batch"]),
        helper.make_tensor_value_info(PROBABILITIES, 1, ["batch", n_classes]),
    ]
    graph = helper.make_graph(nodes, "trees", trees.graph.input, outputs)
    return helper.make_model(graph, opset_imports=_opsets(), ir_version=IR_VERSION)


def _opsets() -> list[Any]:
    from onnx import helper

    return [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]


def _finish(model: onnx.ModelProto, n_classes: int) -> onnx.ModelProto:
    """State the outputs, simplify, check."""
    import onnx
    from onnx import helper

    graph = model.graph
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(LABEL, onnx.TensorProto.INT64, ["batch"]))
    graph.output.append(
        helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, ["batch", n_classes])
    )
    graph.name = "cnnboost"
    model.producer_name = "cnnboost"
    # Shapes that the exporters noted down are not needed, and name dimensions that are gone.
    del graph.value_info[:]
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    return model


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporters' chatter from a user who asked for none of it."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "onnxmltools", "skl2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
