"""Keras model files: read safely, written whole, and asked what they expect of pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnnboost.cnn.image_input import check_model
from cnnboost.cnn.inputs import check_pixels
from cnnboost.cnn.model_loader import load_model
from cnnboost.cnn.preprocessing import find_scales
from cnnboost.errors import ModelError
from cnnboost.files import write_bytes


def read_model(path: str | os.PathLike[str]) -> Any:
    """Load a `.keras` file, or an `.h5` file of Keras 2, for inference or further training."""
    return check_model(load_model(Path(path)), os.fspath(path))


def write_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write a model whole or not at all."""
    return write_bytes(path, keras_bytes(model.save, "model.keras"))


class _Named(io.BytesIO):
    """A file in memory with a name, by whose ending Keras chooses the format."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def keras_bytes(save: Callable[[Any], object], name: str) -> memoryview:
    """Return what Keras would write to a file.

    HDF5 ends the process where a disk is full; in memory there is none.
    """
    file = _Named(name)
    save(file)
    return file.getbuffer()


def pixels_of(model: Any) -> str | None:
    """Say what scale of pixels the model expects, where its layers tell."""
    scales = find_scales(model)
    return next(iter(scales)) if len(scales) == 1 else None


def resolve_pixels(model: Any, pixels: str | None, place: str = "the model") -> str:
    """Settle the scale of pixels that a trained model is given."""
    if pixels is None:
        scales = find_scales(model)
        if len(scales) > 1:
            told = ", ".join(f"{layer!r} expects {scale}" for scale, layer in scales.items())
            raise ModelError(
                f"{place}: its layers disagree on the pixels they expect ({told}); "
                "say which: pixels= or --pixels"
            )
        pixels = next(iter(scales), "unit")
    if pixels != "raw" and "int" in str(model.inputs[0].dtype):
        raise ModelError(
            f"{place}: it takes whole numbers ({model.inputs[0].dtype}), so pixels={pixels!r} would be "
            "rounded; leave it out, or say raw"
        )
    return check_pixels(pixels, model.input_shape[-1])


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
