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
    """Build or read a network."""
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
