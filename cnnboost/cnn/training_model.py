"""The network that a training starts from, and the network as it is trained, where that differs.

A training model has the same layers and weights; it takes images of any size (progressive resizing), or
computes in bfloat16 while its weights stay float32 (mixed precision). The network that is kept is never
changed but in its weights: it takes images of its own size and computes in float32, whatever trained it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.cnn import architectures
from cnnboost.cnn.inputs import check_fits, check_pixels
from cnnboost.cnn.interface import check_model, output_kind
from cnnboost.cnn.model_file import read_model
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.preprocessing import pixels_of, resolve_pixels
from cnnboost.errors import ModelError, ParameterError


def network(
    source: str | os.PathLike[str] | Callable[..., Any],
    shape: tuple[int, int, int],
    n_classes: int,
    options: Mapping[str, Any] | None = None,
    pixels: str | None = None,
) -> tuple[Any, str, str]:
    """Build or read a network."""
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix:
        model = read_model(source)
        place = os.fspath(source)
        expected = resolve_pixels(model, pixels, place)
        kind = output_kind(model, place)
        width = 2 if kind == "sigmoid" else model.output_shape[-1]
        if width != n_classes:
            raise ModelError(f"{place}: the model tells {width} classes apart, the labels have {n_classes}")
        check_fits(np.empty((1, *shape), np.uint8), model.input_shape[1:])
        return model, expected, kind
    model = architectures.build(source, shape, n_classes, options)  # type: ignore[arg-type]
    model = check_model(model, repr(source))
    expected = check_pixels(pixels or pixels_of(model) or "raw", shape[-1])
    return model, expected, output_kind(model, repr(source))


def make_training_model(model: Any, options: TrainingOptions) -> Any:
    """Return the network to train."""
    import keras

    if not options.progressive_resizing and options.precision == "float32":
        return model
    _check_layers(model, options)
    size = (None, None) if options.progressive_resizing else model.input_shape[1:3]
    image = keras.Input((*size, model.input_shape[-1]), name="image")
    policy = keras.dtype_policies.get(
        "mixed_bfloat16" if options.precision == "bfloat16" else options.precision
    )
    output = _output_layers(model)

    def copy(layer: Any) -> Any:
        config = layer.get_config()
        # Probabilities and their logarithms want the digits that bfloat16 has not.
        if id(layer) not in output and "dtype" in config:
            config["dtype"] = policy
        return type(layer).from_config(config)

    try:
        copied = keras.models.clone_model(model, input_tensors=image, clone_function=copy, recursive=True)
        copied.set_weights(model.get_weights())
    # NotImplementedError is what Keras raises for a layer of one's own that does not say what made it.
    except (TypeError, ValueError, NotImplementedError) as error:
        hint = (
            ". Images of changing size need a network that ends in global pooling, such as 'vgg'"
            if options.progressive_resizing
            else ""
        )
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ParameterError(
            f"the network {model.name!r} cannot be trained with {_asked(options)}: "
            f"{lines[0] if lines else type(error).__name__}{hint}"
        ) from error
    for layer in copied._flatten_layers():
        # Beside its weights it holds what it computes with, and `set_weights` leaves that as it is.
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return copied


def _check_layers(model: Any, options: TrainingOptions) -> None:
    """Refuse networks whose layers cannot be told one from another, or are of one size of images."""
    import keras

    nested = [layer for layer in _flat(model) if isinstance(layer, keras.Model)]
    for one in (model, *nested):
        if not isinstance(one, keras.Sequential) and not hasattr(one, "input_shape"):
            raise ParameterError(
                f"{_asked(options)} needs a network made of layers; {one.name!r} is a class of its own"
            )
    if nested and options.progressive_resizing:
        raise ParameterError(
            f"progressive_resizing needs a network without networks inside; {nested[0].name!r} takes images "
            "of one size. Build the network from its layers"
        )


def _output_layers(model: Any) -> set[int]:
    """Return the ids of the layers from the last one that has weights on."""
    import keras

    layers = [layer for layer in _flat(model) if not isinstance(layer, keras.Model)]
    weighted = [place for place, layer in enumerate(layers) if layer.weights]
    return {id(layer) for layer in layers[weighted[-1] if weighted else 0 :]}


def _flat(model: Any) -> Iterator[Any]:
    """Yield the layers of a network in their order, a network among them before its own."""
    for layer in model.layers:
        yield layer
        yield from _flat(layer) if hasattr(layer, "layers") else ()


def _asked(options: TrainingOptions) -> str:
    asked = ["progressive_resizing"] if options.progressive_resizing else []
    asked += [f"precision={options.precision!r}"] if options.precision != "float32" else []
    return " and ".join(asked)
