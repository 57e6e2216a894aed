"""Averages of weights over a training (EMA): scored after each epoch, and kept at the end.

Keras' optimisers keep the averages (`use_ema`) and write them over the model at the end of `fit`. What is
here is for the moments before: validation and the best epoch should see the averages, the next step must not.
Keras' own `SwapEMAWeights` swaps by adding and subtracting, which changes the last bits of the weights that
training goes on with.

The running statistics of batch normalisation belong to the weights of the last steps and not to their
average, which they can serve so badly that it recognises nothing. So they are measured for the average,
on training images, as Izmailov et al. do (2018, "Averaging Weights Leads to Wider Optima and Better
Generalization").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def adopt_averages(model: Any, batches: Iterable[np.ndarray] = ()) -> None:
    """Give a model its averaged weights; before the first step there are none, and nothing happens."""
    optimizer = model.optimizer
    if optimizer.built and int(optimizer.iterations):
        optimizer.finalize_variable_values(model.trainable_variables)
        # On JAX the model would share memory with the averages, and lose both when it gives its own away.
        _assign(model.trainable_variables, _values(model.trainable_variables))
        measure_statistics(model, batches)


def measure_statistics(model: Any, batches: Iterable[np.ndarray]) -> None:
    """Set the statistics of batch normalisation to their means over some batches."""
    normal = _normalisations(model)
    if not normal:
        return
    momenta = [layer.momentum for layer in normal]
    try:
        for k, x in enumerate(batches):
            for layer in normal:
                layer.momentum = k / (k + 1)
            model(x, training=True)
    finally:
        for layer, momentum in zip(normal, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def averaged(model: Any, batches: Iterable[np.ndarray] = ()) -> Iterator[None]:
    """Give a model its averaged weights for a while, and then exactly those that it had."""
    variables = [*model.trainable_variables, *_statistics(model)]
    raw = _values(variables)
    adopt_averages(model, batches)
    try:
        yield
    finally:
        _assign(variables, raw)


def _normalisations(model: Any) -> list[Any]:
    """Return the layers that normalise by batches, and train; Keras' frozen ones keep their statistics."""
    import keras

    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def _statistics(model: Any) -> list[Any]:
    return [v for layer in _normalisations(model) for v in (layer.moving_mean, layer.moving_variance)]


def _values(variables: list[Any]) -> list[np.ndarray]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
