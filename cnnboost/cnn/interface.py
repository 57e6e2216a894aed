"""What a model takes, images with channels last, and what it gives, scores of classes."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np

from cnnboost.errors import ModelError

log = logging.getLogger("cnnboost")

_SMALLEST = 8
"""Pixels that an image is high and wide at least, where nothing but the number of values tells its size."""
_OF_TOKENS = {"Embedding", "TextVectorization", "StringLookup", "IntegerLookup", "Hashing"}


def check_model(model: Any, place: str) -> Any:
    """Return a model with a single input of images `(n, height, width, channels)`.

    Grey images as `(n, height, width)` and images as flat rows get a layer in front that makes them from
    images with channels; the weights are shared.
    """
    import keras

    if not isinstance(model, keras.Sequential) and not getattr(model, "inputs", None):
        raise ModelError(
            f"{place}: it is a subclass of keras.Model ({type(model).__name__}) with code of its own, whose "
            "layers cannot be walked; rebuild it as a functional or Sequential model"
        )
    inputs = getattr(model, "inputs", None) or []
    if not inputs:
        raise ModelError(
            f"{place}: the Sequential model was never built, its input shape is unknown; put "
            "keras.Input((height, width, channels)) first, or call "
            "model.build((None, height, width, channels))"
        )
    if len(inputs) != 1:
        named = ", ".join(f"{tensor.name} {tuple(tensor.shape[1:])}" for tensor in inputs)
        raise ModelError(
            f"{place}: the model has {len(inputs)} inputs ({named}); one input of images is needed"
        )
    (image,) = inputs
    if not isinstance(model, keras.Sequential) and not isinstance(model.input, keras.KerasTensor):
        # A list or dict of one.
        outputs = model.outputs
        model = keras.Model(image, outputs[0] if len(outputs) == 1 else outputs, name=model.name)
    shape = tuple(image.shape[1:])
    if len(shape) == 3:
        _check_channels_last(model, shape, place)
        return model
    size = _image_size(model, shape)
    if size is None:
        raise ModelError(
            f"{place}: the model takes {tuple(image.shape)}, not images (n, height, width, channels); if "
            "these are images in another form, put layers in front: keras.Sequential([keras.Input((height, "
            f"width, channels)), keras.layers.Reshape({shape}), model])"
        )
    log.info("%s takes %s: images of %s", place, shape, "x".join(map(str, size)))
    front = [keras.Input(size, dtype=image.dtype), keras.layers.Reshape(shape, name="from_images")]
    layers = model.layers if isinstance(model, keras.Sequential) else [model]
    return keras.Sequential([*front, *layers], name=model.name)


def _check_channels_last(model: Any, shape: tuple[int | None, ...], place: str) -> None:
    formats = {getattr(layer, "data_format", "") for layer in model.layers}
    if shape[2] not in (1, 3) and (shape[0] in (1, 3) or "channels_first" in formats):
        raise ModelError(
            f"{place}: the model takes {shape}, channels first, and images have them last; put a Permute in "
            "front: keras.Sequential([keras.Input((height, width, channels)), "
            "keras.layers.Permute((3, 1, 2)), model])"
        )


def _image_size(model: Any, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
    """Return the size of images that come without channels or as flat rows, where it is certain."""
    sizes = [size for size in shape if size is not None]
    if len(sizes) != len(shape) or {type(layer).__name__ for layer in model.layers} & _OF_TOKENS:
        return None
    if len(sizes) == 2 and min(sizes) >= _SMALLEST:
        return sizes[0], sizes[1], 1
    if len(sizes) == 1:
        for channels in (1, 3):
            side = math.isqrt(sizes[0] // channels)
            if side >= _SMALLEST and side * side * channels == sizes[0]:
                return side, side, channels
    return None


def output_kind(model: Any, place: str = "the model") -> str:
    """Say how the model's output becomes class probabilities."""
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[-1] is None:
        raise ModelError(f"{place}: the output is {shape}; one row of class scores (n, classes) is needed")
    last: Any = model.layers[-1]
    while getattr(last, "layers", None):
        last = last.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    if activation == "sigmoid" and shape[-1] == 1:
        return "sigmoid"
    if activation == "softmax":
        return "softmax"
    if activation in ("linear", "dense") and shape[-1] > 1:
        return "logits"
    raise ModelError(
        f"{place}: the last layer {last.name!r} ({activation}, width {shape[-1]}) gives no class "
        "probabilities; softmax, plain scores, or one sigmoid unit are understood"
    )


def probabilities(scores: np.ndarray, kind: str) -> np.ndarray:
    """Turn what a network gives into class probabilities."""
    if kind == "sigmoid":
        return np.concatenate([1 - scores, scores], axis=1)
    if kind == "logits":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
