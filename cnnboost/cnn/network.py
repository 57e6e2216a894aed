"""The network that a training starts from: a new one of an architecture, or a file's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn import architectures, model_file
from cnnboost.cnn.inputs import check_fits, check_pixels
from cnnboost.errors import ModelError


def network(
    source: str | os.PathLike[str] | Callable[..., Any],
    shape: tuple[int, int, int],
    n_classes: int,
    options: Mapping[str, Any] | None = None,
    pixels: str | None = None,
) -> tuple[Any, str, str]:
    """Build or read a network.

    Parameters
    ----------
    source : str, path or callable
        The name of an architecture, a builder function, or a Keras file.
    shape : tuple of int
        Height, width and channels of the images.
    n_classes : int
    options : mapping, optional
        Of the architecture.
    pixels : {"raw", "unit", "symmetric", "caffe", "torch"}, optional
        The range of pixels it expects, if that is stated.

    Returns
    -------
    model : keras.Model
        Uncompiled, or as its file has it.
    pixels : str
        The range of pixels it expects.
    kind : {"softmax", "logits", "sigmoid"}
        What its output is.

    Raises
    ------
    ModelError
        If the architecture is unknown, or the network fits neither the images nor the classes.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix:
        model = model_file.read_model(source)
        place = os.fspath(source)
        expected = model_file.resolve_pixels(model, pixels, place)
        kind = model_file.output_kind(model, place)
        width = 2 if kind == "sigmoid" else model.output_shape[-1]
        if width != n_classes:
            raise ModelError(f"{place}: the model tells {width} classes apart, the labels have {n_classes}")
        check_fits(np.empty((1, *shape), np.uint8), model.input_shape[1:])
        return model, expected, kind
    model = architectures.build(source, shape, n_classes, options)  # type: ignore[arg-type]
    model = model_file.check_model(model, repr(source))
    expected = check_pixels(pixels or model_file.pixels_of(model) or "raw", shape[-1])
    return model, expected, model_file.output_kind(model, repr(source))
