"""Models of other precisions in float32, for what knows float32 only."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnboost.cnn.graph import Source, Step, Walk, assembled

_HALF = ("float16", "bfloat16")


def is_half(model: Any) -> bool:
    """Whether some layer of a model computes in float16 or bfloat16."""
    return any(layer.compute_dtype in _HALF for layer in model._flatten_layers())


def float32_model(model: Any) -> Any:
    """Return a model that computes in float32 what another one computes in float16, bfloat16 or float64.

    What comes out of each layer is rounded as the other one rounds it, and so are the weights: the two differ
    by single last bits of the lower precision.
    """
    import keras

    given = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    steps: list[Step] = []
    producer = {id(given): -1}
    outputs = keras.tree.flatten(Walk(steps, producer).model(model, given, ""))
    dtypes = {keras.backend.standardize_dtype(tensor.dtype) for tensor in (given, *(s.tensor for s in steps))}
    if not dtypes & {*_HALF, "float64"}:
        return model
    image = keras.Input(model.input_shape[1:], dtype="float32")
    values = {-1: _rounded(image, given.dtype)}
    clones: dict[int, Any] = {}
    results: list[Any] = []
    for i, step in enumerate(steps):
        if step.idle:
            values[i] = values[step.sources[0]]
            continue
        if not step.output:
            results = keras.tree.flatten(_called(step, values, clones))
        values[i] = _rounded(results[step.output or 0], step.tensor.dtype)
    return assembled(image, [values[producer[id(tensor)]] for tensor in outputs], model.name)


def _rounded(tensor: Any, dtype: str) -> Any:
    import keras

    if keras.backend.standardize_dtype(dtype) not in _HALF:
        return tensor
    return keras.ops.cast(keras.ops.cast(tensor, dtype), "float32")


def _called(step: Step, values: dict[int, Any], clones: dict[int, Any]) -> Any:
    """Call a layer's float32 clone on what the clones before it gave."""
    import keras

    def fill(leaf: Any) -> Any:
        if isinstance(leaf, Source):
            return values[leaf.step]
        is_array = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        return keras.ops.cast(leaf, "float32") if is_array and _is_other(leaf.dtype) else leaf

    args, kwargs = keras.tree.map_structure(fill, step.arguments)
    layer = step.layer
    if not isinstance(layer, keras.Layer):
        return args[0] if step.kind == "Cast" and _is_other(layer.dtype) else layer(*args, **kwargs)
    if id(layer) in clones:
        return clones[id(layer)](*args, **kwargs)
    clone = clones[id(layer)] = type(layer).from_config(_in_float32(layer.get_config()))
    found = clone(*args, **kwargs)
    weights = []
    for weight in layer.weights:
        array = weight.numpy()
        # Keras keeps some in full, such as the statistics of a BatchNormalization.
        if layer.compute_dtype in _HALF and weight._autocast:
            array = keras.ops.convert_to_numpy(_rounded(array, layer.compute_dtype))
        weights.append(array.astype(np.float32) if _is_other(array.dtype) else array)
    clone.set_weights(weights)
    return found


def _is_other(dtype: Any) -> bool:
    return str(dtype) in (*_HALF, "float64")


def _in_float32(config: Any) -> Any:
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(member) for member in config)
    if isinstance(config, dict):
        return {key: "float32" if key == "dtype" else _in_float32(of) for key, of in config.items()}
    return config
