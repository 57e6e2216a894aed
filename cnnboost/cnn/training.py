"""Fitting a Keras model to images: the loop, its stopping rules, its resumption."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np

from cnnboost.cnn import losses
from cnnboost.cnn.averaging import adopt_averages, averaged, averaged_validation
from cnnboost.cnn.checkpoint import Checkpoint, counters_of, set_counters
from cnnboost.cnn.feed import Feed
from cnnboost.cnn.inputs import scale_pixels
from cnnboost.cnn.optimizers import build_optimizer
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError, TrainingError
from cnnboost.images.augment import DROPOUT, uniforms

log = logging.getLogger("cnnboost")

_RANDOM = "seed_generator_state"
"""How Keras names the variable from which a layer draws."""


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
        width = int(model.output_shape[-1])
        y = losses.targets(options, kind, codes, width)
        feed = Feed(X, codes, y, options, sample_weight, pixels)
        loss, accuracy = losses.loss_and_accuracy(options, kind)
        optimizer = build_optimizer(options, model, feed.steps)
        model.compile(optimizer=optimizer, loss=loss, weighted_metrics=[], metrics=[accuracy])
        watchers = _watchers(options, validation is not None)
        done, history = 0, {}
        state = checkpoint.state() if checkpoint else None
        if checkpoint and state:
            checkpoint.restore(model, state["weights"])
            done, history = state["epochs"], state["history"]
            log.info("training continues after epoch %d of %d (%s)", done, options.epochs, checkpoint.folder)
        keeper = _keeper(keras, model, options, watchers, history, checkpoint, state)
        finished = done >= options.epochs or any(
            counters.get("stopped_epoch") for counters in (state or {}).get("counters", [])
        )
        if not finished:
            with ExitStack() as stack:
                model.fit(
                    **_images(stack, feed, X, y, options, sample_weight, pixels, done),
                    epochs=options.epochs,
                    initial_epoch=done,
                    validation_data=_scaled(validation, options, kind, width, pixels),
                    validation_batch_size=max(256, options.batch_size),
                    callbacks=[
                        *([averaged_validation()] if options.ema is not None else []),
                        *watchers,
                        keeper,
                        *callbacks,
                    ],
                    verbose=0,
                )
        keeper.finish()
    return dict(keeper.record)


def _images(
    stack: ExitStack,
    feed: Feed,
    X: np.ndarray,
    y: np.ndarray,
    options: TrainingOptions,
    weight: np.ndarray | None,
    pixels: str,
    done: int,
) -> dict[str, Any]:
    """What Keras' `fit` takes its batches from."""
    if options.own_order:
        batches = stack.enter_context(feed.dataset(first=done * feed.steps))
        return {"x": batches, "steps_per_epoch": feed.steps, "shuffle": False}
    return {
        "x": X if pixels == "raw" else scale_pixels(X.astype(np.float32), pixels),
        "y": y,
        "batch_size": options.batch_size,
        "sample_weight": weight,
        "shuffle": True,
    }


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


def reseed(model: Any, seed: int, epoch: int) -> None:
    """Let what a model draws in an epoch (dropout) depend on the seed and the epoch alone.

    Parameters
    ----------
    model : keras.Model
    seed, epoch : int
    """
    weights = {id(variable) for variable in model.weights}
    states = [v for v in model.non_trainable_variables if id(v) not in weights and v.name.endswith(_RANDOM)]
    drawn = (uniforms(DROPOUT, seed, epoch, np.arange(len(states)), 2) * 2**31).astype(np.int64)
    for state, numbers in zip(states, drawn, strict=True):
        state.assign(numbers)


def _watchers(options: TrainingOptions, validated: bool) -> list[Any]:
    """Keras callbacks that stop the training or lower the learning rate."""
    import keras

    monitor = options.monitor or ("val_loss" if validated else "loss")
    if monitor.startswith("val_") and not validated:
        raise ParameterError(
            f"monitor={monitor!r}: there are no validation images; it can be loss or accuracy"
        )
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


def _scaled(
    data: tuple[np.ndarray, np.ndarray] | None, options: TrainingOptions, kind: str, width: int, pixels: str
) -> tuple[np.ndarray, np.ndarray] | None:
    if data is None:
        return None
    X, codes = data
    X = X if pixels == "raw" else scale_pixels(X.astype(np.float32), pixels)
    return X, losses.targets(options, kind, codes, width)


def _keeper(
    keras: Any,
    model: Any,
    options: TrainingOptions,
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
            if options.own_order:
                reseed(self.model, options.seed, epoch)
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
                with averaged(model) if options.ema is not None else nullcontext():
                    self.best_weights = [np.array(w) for w in model.get_weights()]

        def finish(self) -> None:
            """Leave the model with the weights that the stopping rule chose."""
            last = checkpoint.state() if checkpoint and stopping else None
            if checkpoint and last and last["best"]:
                checkpoint.restore(model, last["best"])
            elif self.best_weights is not None:
                model.set_weights(self.best_weights)
                return
            if options.ema is not None:
                adopt_averages(model)

    return Keeper()
