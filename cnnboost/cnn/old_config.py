"""Configurations that Keras 2 stored, rewritten as Keras 3 reads them. Nothing in them is executed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from cnnboost.cnn.old_ops import OP_LAYERS, as_operation, is_reference, node_of_layer
from cnnboost.errors import ModelError

# Arguments that Keras 3 no longer has, and the values at which they said nothing; ... is any value.
_GONE: dict[str, tuple[Any, ...]] = {
    "trainable": (...,),
    "time_major": (False,),
    "groups": (1,),
    "ragged": (False,),
    "implementation": (...,),
    "noise_shape": (None,),
    "constraint": (None,),
    "initializer": (...,),
    "regularizer": (...,),
    "query_shape": (...,),
    "key_shape": (...,),
    "value_shape": (...,),
}
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "softmax_v2": "softmax",
}
_OF_KERAS_1 = ("nb_filter", "output_dim", "border_mode", "subsample", "dim_ordering")


def rewrite(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model as Keras 3 reads it."""
    if stored.get("class_name") not in ("Model", "Functional", "Sequential"):
        raise ModelError(
            f"holds a model of the class {stored.get('class_name')!r}, whose code is not in it; rebuild "
            "the model in Python as a functional or Sequential model, load the weights and save it again"
        )
    return _rewritten(stored)


def _rewritten(stored: Mapping[str, Any]) -> dict[str, Any]:
    kind = _RENAMED.get(stored["class_name"], stored["class_name"])
    if kind in OP_LAYERS:
        return as_operation(stored)
    config = stored["config"]
    if isinstance(config, list):  # a Sequential of Keras before 2.2.3
        config = {"name": "sequential", "layers": config}
    config = {key: _plain(value) for key, value in config.items()}
    _check(kind, config)
    shape = config.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape is not None:
        config["batch_shape"] = shape
    if kind in ("Model", "Functional", "Sequential"):
        built = config.pop("build_input_shape", None)
        first = _first_shape(config["layers"]) or built
        config["layers"] = [_rewritten(layer) for layer in config["layers"]]
        if kind != "Sequential":
            _renumber(config)
        elif first and config["layers"][0]["class_name"] != "InputLayer":
            config["layers"].insert(0, _builtin("InputLayer", {"batch_shape": first}))
    for wrapped in ("layer", "backward_layer"):
        if isinstance(config.get(wrapped), Mapping):
            config[wrapped] = _rewritten(config[wrapped])
    if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    layer = _builtin(kind, config) or {**stored, "config": config}
    if "inbound_nodes" in stored:
        layer["name"] = stored.get("name", config.get("name"))
        layer["inbound_nodes"] = [node_of_layer(node) for node in stored["inbound_nodes"]]
    return layer


def _builtin(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a layer as Keras 3 stores its own; empty for a class that is not one of them."""
    import keras

    module = "keras.layers"
    if kind in ("Model", "Functional"):
        kind, module = "Functional", "keras.src.models.functional"
    elif kind == "Sequential":
        module = "keras"
    elif isinstance(getattr(keras.layers, kind, None), type):
        config = _known_arguments(getattr(keras.layers, kind), config)
    else:
        return {}
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _known_arguments(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the arguments that a class of Keras 3 no longer has, where they said nothing."""
    known = set(inspect.signature(kind).parameters)
    if "kwargs" in known:
        known |= {"name", "trainable", "dtype", "activity_regularizer"}
    kept = {}
    for key, value in config.items():
        neutral = _GONE.get(key, _GONE.get(key.rsplit("_", 1)[-1], ()))
        if key in known or (... not in neutral and value not in neutral):
            kept[key] = value
    return kept


def _renumber(config: dict[str, Any]) -> None:
    """Count the calls of nested models from 0: Keras 2 counted the one inside the nested model too."""
    calls = {
        layer["name"]: len(layer["inbound_nodes"])
        for layer in config["layers"]
        if layer["class_name"] in ("Functional", "Sequential")
    }
    references = [r for layer in config["layers"] for r in _references(layer["inbound_nodes"])]
    for key in ("input_layers", "output_layers"):
        references += _references(config[key])
    for name, count in calls.items():
        own = [reference for reference in references if reference[0] == name]
        if any(reference[1] >= count for reference in own):
            for reference in own:
                reference[1] -= 1
    for key in ("input_layers", "output_layers"):
        # Keras 3 would give a list where Keras 2 gave the one tensor.
        if len(config[key]) == 1 and isinstance(config[key][0], list):
            (config[key],) = config[key]


def _references(value: Any) -> list[list[Any]]:
    if is_reference(value):
        return [value]
    parts = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [reference for part in parts for reference in _references(part)]


def _plain(value: Any) -> Any:
    """Return a value of a layer's configuration in the words of Keras 3."""
    if isinstance(value, Mapping):
        if str(value.get("class_name", "")).startswith("Policy"):
            return value["config"]["name"]
        if value.get("class_name") == "function":
            return {**value, "config": _plain(value.get("config"))}
        return value
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def _check(kind: str, config: Mapping[str, Any]) -> None:
    name = config.get("name", kind)
    if kind == "Lambda":
        raise ModelError(
            f"holds Python code in its Lambda layer {name!r}, which is not run; rebuild the network with "
            "Keras' own layers in its place, load the weights and save it again"
        )
    for key in ("activation", "recurrent_activation"):
        function = config.get(key)
        function = function.get("config") if isinstance(function, Mapping) else function
        if function == "hard_sigmoid":
            raise ModelError(
                f"has the {key} 'hard_sigmoid' in its layer {name!r}: Keras 3 computes another function "
                "under that name than Keras 2 did, so the network would answer wrongly"
            )
    ancient = [key for key in _OF_KERAS_1 if key in config]
    if ancient and kind != "Embedding":
        raise ModelError(
            f"was written by Keras 1 (its layer {name!r} has {', '.join(ancient)}); load it with Keras 2.2 "
            "and save it from there"
        )


def _first_shape(layers: Any) -> Any:
    """Return the batch shape that the first layer of a list states, nested models opened."""
    layers = layers.get("layers", []) if isinstance(layers, Mapping) else layers
    if not layers:
        return None
    config = layers[0]["config"]
    if isinstance(config, list) or "layers" in config:
        return _first_shape(config)
    return config.get("batch_input_shape") or config.get("batch_shape")
