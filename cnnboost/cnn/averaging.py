"""Averages of weights over a training (EMA): scored after each epoch, and kept at the end.

Keras' optimisers keep the averages (`use_ema`) and write them over the model at the end of `fit`. What is
here is for the moments before: validation and the best epoch should see the averages, the next step must not.
Keras' own `SwapEMAWeights` swaps by adding and subtracting, which changes the last bits of the weights that
training goes on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def adopt_averages(model: Any) -> None:
    """Give a model its averaged weights; before the first step there are none, and nothing happens.

    Parameters
    ----------
    model : keras.Model
        Compiled with an optimiser that averages.
    """
    optimizer = model.optimizer
    if optimizer.built and int(optimizer.iterations):
        optimizer.finalize_variable_values(model.trainable_variables)
        # On JAX the model would share memory with the averages, and lose both when it gives its own away.
        _assign(model, _values(model))


@contextmanager
def averaged(model: Any) -> Iterator[None]:
    """Give a model its averaged weights for a while, and then exactly those that it had.

    Parameters
    ----------
    model : keras.Model
    """
    raw = _values(model)
    adopt_averages(model)
    try:
        yield
    finally:
        _assign(model, raw)


def averaged_validation() -> Any:
    """Build the callback that has validation score the averaged weights.

    Returns
    -------
    keras.callbacks.Callback
    """
    import keras

    class AveragedValidation(keras.callbacks.Callback):
        def on_test_begin(self, logs: Any = None) -> None:
            self.swap = averaged(self.model)
            self.swap.__enter__()

        def on_test_end(self, logs: Any = None) -> None:
            self.swap.__exit__(None, None, None)

    return AveragedValidation()


def _values(model: Any) -> list[np.ndarray]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.trainable_variables]


def _assign(model: Any, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
