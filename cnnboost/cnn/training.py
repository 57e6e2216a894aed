"""Fitting a Keras model to images: the loop, its stopping rules, its resumption."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.cnn.checkpoint import Checkpoint, counters_of, set_counters
from cnnboost.cnn.inputs import scale_pixels
from cnnboost.errors import ParameterError, TrainingError

log = logging.getLogger("cnnboost")


@dataclass(frozen=True)
class TrainingOptions:
    """How a CNN is trained.

    Attributes
    ----------
    epochs : int
        Passes over the training images, at most.
    batch_size : int
        Images per step.
    optimizer : str or keras.optimizers.Optimizer
        Keras' name of the optimiser, or one that was built (a copy of it is used).
    learning_rate : float or None
        None keeps the optimiser's own.
    early_stopping : int or None
        Stop after so many epochs without a better `monitor`, and keep the best epoch's weights.
    reduce_lr : int or None
        Multiply the learning rate by `reduce_lr_factor` after so many epochs without a better `monitor`.
    reduce_lr_factor : float
    min_learning_rate : float
    monitor : str or None
        None: `val_loss` where there is validation data, else `loss`.
    seed : int
        Of the order of images and of dropout.

    Raises
    ------
    ParameterError
        If a value is impossible.
    """

    epochs: int = 50
    batch_size: int = 64
    optimizer: Any = "adam"
    learning_rate: float | None = 1e-3
    early_stopping: int | None = None
    reduce_lr: int | None = None
    reduce_lr_factor: float = 0.5
    min_learning_rate: float = 1e-7
    monitor: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("batch_size", 1), ("early_stopping", 0), ("reduce_lr", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, (int, np.integer)) or value < low):
                raise ParameterError(f"{name}={value!r} must be a whole number of at least {low}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ParameterError(f"learning_rate={self.learning_rate!r} must be above 0")


def train(
    model: Any,
    X: np.ndarray,
    codes: np.ndarray,
    options: TrainingOptions,
    *,
    kind: str = "softmax",
    pixels: str = "raw",
    sample_weight: np.ndarray | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    callbacks: Sequence[Any] = (),
    checkpoint: Checkpoint | None = None,
) -> dict[str, list[float]]:
    """Train a model in place.

    Parameters
    ----------
    model : keras.Model
        Its weights change.
    X : ndarray, (n, height, width, channels)
        Pixels in [0, 255].
    codes : ndarray of int, (n,)
        Column of the right class, 0..classes-1.
    options : TrainingOptions
    kind : {"softmax", "logits", "sigmoid"}
        What the model's output is.
    pixels : {"raw", "unit", "symmetric"}
        The range that the model expects of pixels.
    sample_weight : ndarray, (n,), optional
        Weight of each image in the loss.
    validation : tuple of ndarray, optional
        Images and codes that are scored after each epoch and never trained on.
    callbacks : sequence of keras.callbacks.Callback
        Run beside our own.
    checkpoint : Checkpoint, optional
        Where finished epochs are kept; a killed run continues from there and logs that it does.

    Returns
    -------
    dict of list of float
        One value per epoch for `loss`, `accuracy`, `learning_rate`, `seconds`, and `val_...` with validation
        data.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    ParameterError
        If the optimiser is unknown.
    """
    import keras

    with seeded(options.seed):
        _compile(model, options, kind)
        watchers = _watchers(options, validation is not None)
        done, history = 0, {}
        state = checkpoint.state() if checkpoint else None
        if checkpoint and state:
            checkpoint.restore(model, state["weights"])
            done, history = state["epochs"], state["history"]
            log.info("training continues after epoch %d of %d (%s)", done, options.epochs, checkpoint.folder)
        keeper = _keeper(keras, model, watchers, history, checkpoint, state)
        finished = done >= options.epochs or any(
            counters.get("stopped_epoch") for counters in (state or {}).get("counters", [])
        )
        if not finished:
            model.fit(
                X if pixels == "raw" else scale_pixels(X.astype(np.float32), pixels),
                codes,
                batch_size=options.batch_size,
                epochs=options.epochs,
                initial_epoch=done,
                sample_weight=sample_weight,
                validation_data=_scaled(validation, pixels),
                validation_batch_size=max(256, options.batch_size),
                callbacks=[*watchers, keeper, *callbacks],
                shuffle=True,
                verbose=0,
            )
        keeper.finish()
    return dict(keeper.record)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Keras, and give Python's and NumPy's global generators back as they were.

    Parameters
    ----------
    seed : int
    """
    import keras

    # Keras draws from these two, so they are what has to be given back.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _compile(model: Any, options: TrainingOptions, kind: str) -> None:
    import keras

    given = options.optimizer
    try:
        optimizer = (
            keras.optimizers.get(given)
            if isinstance(given, str)
            else type(given).from_config(given.get_config())
        )
    except ValueError as error:
        raise ParameterError(
            f"optimizer={given!r} is none that Keras has; its optimisers are adam, sgd, rmsprop, adamw, ..."
        ) from error
    if options.learning_rate is not None:
        optimizer.learning_rate = options.learning_rate
    if kind == "sigmoid":
        loss: Any = keras.losses.BinaryCrossentropy()
        accuracy: Any = keras.metrics.BinaryAccuracy(name="accuracy")
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=kind == "logits")
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer=optimizer, loss=loss, weighted_metrics=[], metrics=[accuracy])


def _watchers(options: TrainingOptions, validated: bool) -> list[Any]:
    """Keras callbacks that stop the training or lower the learning rate."""
    import keras

    monitor = options.monitor or ("val_loss" if validated else "loss")
    watchers: list[Any] = []
    if options.early_stopping is not None:
        watchers.append(keras.callbacks.EarlyStopping(monitor, patience=options.early_stopping))
    if options.reduce_lr is not None:
        watchers.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor,
                factor=options.reduce_lr_factor,
                patience=options.reduce_lr,
                min_lr=options.min_learning_rate,
            )
        )
    return watchers


def _scaled(data: tuple[np.ndarray, np.ndarray] | None, pixels: str) -> tuple[np.ndarray, np.ndarray] | None:
    if data is None or pixels == "raw":
        return data
    return scale_pixels(data[0].astype(np.float32), pixels), data[1]


def _keeper(
    keras: Any,
    model: Any,
    watchers: list[Any],
    history: dict[str, list[float]],
    checkpoint: Checkpoint | None,
    state: dict[str, Any] | None,
) -> Any:
    """Build the callback that records epochs; its base class needs Keras, which is imported late."""
    stopping = next((w for w in watchers if isinstance(w, keras.callbacks.EarlyStopping)), None)

    class Keeper(keras.callbacks.Callback):
        """Keeps the history, the best weights and, with a checkpoint, each finished epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.record = {name: list(values) for name, values in history.items()}
            self.best_weights: Any = None

        def on_train_begin(self, logs: Any = None) -> None:
            # The other callbacks have just reset their counters; a resumed run gives them back.
            for watcher, counters in zip(watchers, (state or {}).get("counters", []), strict=False):
                set_counters(watcher, counters)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs = {**(logs or {}), "seconds": time.perf_counter() - self.started}
            if not np.isfinite(logs.get("loss", 0.0)):
                raise TrainingError(
                    f"the loss is {logs['loss']} after epoch {epoch + 1}; lower the learning rate "
                    f"({float(model.optimizer.learning_rate):g})"
                )
            logs.setdefault("learning_rate", float(model.optimizer.learning_rate))
            for name, value in logs.items():
                self.record.setdefault(name, []).append(float(value))
            best = stopping is not None and stopping.wait == 0
            if checkpoint:
                checkpoint.save(model, epoch + 1, self.record, [counters_of(w) for w in watchers], best)
            elif best:
                self.best_weights = [np.array(w) for w in model.get_weights()]

        def finish(self) -> None:
            """Leave the model with the weights that the stopping rule chose."""
            if stopping is None:
                return
            last = checkpoint.state() if checkpoint else None
            if checkpoint and last and last["best"]:
                checkpoint.restore(model, last["best"])
            elif self.best_weights is not None:
                model.set_weights(self.best_weights)

    return Keeper()
