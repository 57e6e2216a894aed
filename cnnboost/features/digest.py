"""The digest of a trunk: equal only where operations, wiring, constants and weights are equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnboost.cnn.graph import Source, Step, upstream
from cnnboost.errors import ModelError

# Of any layer; its weights are hashed themselves.
_NO_EFFECT = {"name", "trainable"}
# Of Keras' own layers: how weights begin and what training adds. A stranger's layer may use the same words
# for something else.
_NO_EFFECT_IN_KERAS = {
    "seed", "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer",
    "activity_regularizer", "kernel_constraint", "bias_constraint",
}  # fmt: skip


def trunk_digest(image: Any, steps: Sequence[Step], wanted: int) -> str:
    """Hash what a step computes from the images: no names, no places, no order of independent steps."""
    digests = {-1: _hash(["images", image.shape[1:], image.dtype])}
    for i in upstream(steps, wanted):
        step = steps[i]
        if step.idle:
            digests[i] = digests[step.sources[0]]
            continue
        digest = hashlib.sha256(_hash([_values(step.layer), step.arguments, step.output], digests).encode())
        for weight in getattr(step.layer, "weights", ()):
            if "seed_generator" not in weight.path:
                digest.update(_hash(weight).encode())
        digests[i] = digest.hexdigest()
    return digests[wanted]


def _hash(value: Any, digests: dict[int, str] | None = None) -> str:
    text = json.dumps(_plain(value, digests or {}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, digests: dict[int, str]) -> Any:
    """Express a value so that JSON keeps all its differences; tuples are lists, as in a model file."""
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(member, digests) for member in value]
    if isinstance(value, dict):
        return {"dict": [[str(key), _plain(value[key], digests)] for key in sorted(value, key=str)]}
    if isinstance(value, Source):
        return {"tensor": digests[value.step]}
    if isinstance(value, slice):
        return {"slice": _plain([value.start, value.stop, value.step], digests)}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array = np.ascontiguousarray(value.numpy() if hasattr(value, "numpy") else value)
        data = hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
        return {"array": [str(array.dtype), list(array.shape), data]}
    if hasattr(value, "get_config"):
        return {"object": _plain(_values(value), digests)}
    return {"other": [type(value).__name__, repr(value)]}


def _values(layer: Any) -> Any:
    """Return a layer's or operation's class, and its settings without what has no effect in inference."""
    import keras

    if isinstance(layer, keras.Operation) and not isinstance(layer, keras.Layer):
        blank = vars(keras.Operation(name="blank"))
        return [type(layer).__name__, {name: of for name, of in vars(layer).items() if name not in blank}]
    try:
        return _effective(keras.saving.serialize_keras_object(layer))
    except NotImplementedError as error:
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot say what it is made of, so features of it "
            "cannot be kept; give its class a get_config()"
        ) from error


def _effective(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_effective(member) for member in value]
    if not isinstance(value, dict):
        return value
    if "class_name" not in value or not isinstance(value.get("config"), dict):
        return {key: _effective(member) for key, member in value.items()}
    config, keras_own = value["config"], str(value.get("module", "")).startswith("keras")
    if keras_own and "trainable" not in config and "layers" not in config:
        dropped: set[str] = set()  # no layer: the name of a dtype policy is all it has
    else:
        dropped = _NO_EFFECT | (_NO_EFFECT_IN_KERAS if keras_own else set())
    kept = {key: _effective(member) for key, member in config.items() if key not in dropped}
    numbers = {
        member["config"]["name"]: number
        for number, member in enumerate(config.get("layers", ()))
        if isinstance(member, dict) and "name" in member.get("config", {})
    }
    return {
        "class": value.get("registered_name") or value["class_name"],
        "config": _renamed(kept, numbers) if numbers else kept,
    }


def _renamed(value: Any, numbers: dict[str, int]) -> Any:
    """Put numbers in place of the names by which the layers of a model inside a layer refer to each other."""
    if isinstance(value, (list, tuple)):
        return [_renamed(member, numbers) for member in value]
    if isinstance(value, dict):
        return {key: _renamed(member, numbers) for key, member in value.items()}
    return {"layer": numbers[value]} if isinstance(value, str) and value in numbers else value
