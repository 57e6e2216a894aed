"""Fitting a Keras model to images: the loop, its stopping rules, its resumption."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cnnboost.cnn import losses
from cnnboost.cnn.batches import Batches, shrink
from cnnboost.cnn.checkpoint import Checkpoint
from cnnboost.cnn.inputs import scale_pixels
from cnnboost.cnn.optimizers import build_optimizer
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.softmax_regression import SoftmaxRegression
from cnnboost.cnn.training_model import make_training_model
from cnnboost.errors import ParameterError

log = logging.getLogger("cnnboost")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Keras, and give Python's and NumPy's global generators back as they were."""
    import keras

    # Keras draws from these two, so they are what has to be given back.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def train(
    model: Any,
    X: np.ndarray,
    codes: np.ndarray,
    options: TrainingOptions,
    *,
    kind: str,
    pixels: str,
    sample_weight: np.ndarray | None,
    soft_targets: np.ndarray | None,
    validation: tuple[np.ndarray, np.ndarray] | None,
    callbacks: Sequence[Any],
    checkpoint: Checkpoint | None,
) -> dict[str, list[float]]:
    """Train a model in place."""
    from cnnboost.cnn.callbacks import AveragedValidation, CheckpointCallback

    with seeded(options.seed):
        width = int(model.output_shape[-1])
        y = losses.targets(options, kind, codes, width, soft_targets)
        feed = Batches(X, codes, y, options, sample_weight, pixels)
        if validation is not None:
            validation = validation[0], losses.targets(options, kind, validation[1], width)
        trained = make_training_model(model, options)
        loss, accuracy = losses.loss_and_accuracy(options, kind)
        trained.compile(
            optimizer=build_optimizer(options, trained, feed.steps),
            loss=loss,
            weighted_metrics=[],
            metrics=[accuracy],
            steps_per_execution=_steps_at_once(options, feed.steps),
        )
        # Variables that are made inside of the first step have TensorFlow trace it twice.
        trained.optimizer.build(trained.trainable_variables)
        regression = SoftmaxRegression.of(trained, feed, options)
        stoppers = _stoppers(options, validation is not None)
        keeping = CheckpointCallback(trained, options, stoppers, checkpoint, feed.images)
        first = [AveragedValidation(feed.images)] if options.ema is not None else []
        for stage in feed.stages:
            if keeping.stopped or keeping.done >= stage.stop:
                continue
            told: dict[str, Any] = {
                "epochs": stage.stop,
                "initial_epoch": keeping.done,
                "validation_data": _scored(validation, stage.size, pixels),
                "validation_freq": options.validation_freq,
                "callbacks": [*first, *keeping.counting(stage), keeping, *callbacks],
            }
            if regression is not None:
                with keeping.going_on(stage):
                    regression.fit(**told)
            else:
                size = max(256, options.batch_size)
                told["validation_data"] = _in_batches(told["validation_data"], size)
                with feed.dataset(keeping.done * feed.steps) as batches, keeping.going_on(stage):
                    trained.fit(
                        batches,
                        steps_per_epoch=feed.steps,
                        shuffle=False,
                        validation_batch_size=size,
                        verbose=0,
                        **told,
                    )
            if trained.stop_training:
                break
        keeping.finish()
        if trained is not model:
            model.set_weights(trained.get_weights())
    return dict(keeping.record)


def _steps_at_once(options: TrainingOptions, steps: int) -> int:
    """Return how many steps run between two returns to Python."""
    # Keras runs so many even where the epoch has fewer left, as the batches have no end; the next epoch would
    # lack them.
    wanted = options.steps_per_execution
    fits = max(count for count in range(1, min(wanted, steps) + 1) if steps % count == 0)
    if fits < wanted:
        log.info(
            "steps_per_execution=%d does not divide the %d steps of an epoch; %d run at a time",
            wanted, steps, fits,
        )  # fmt: skip
    return fits


def _stoppers(options: TrainingOptions, validated: bool) -> list[Any]:
    """Keras callbacks that stop the training or lower the learning rate."""
    import keras

    monitor = options.monitor or ("val_loss" if validated else "loss")
    if monitor.startswith("val_") and not validated:
        raise ParameterError(
            f"monitor={monitor!r}: there are no validation images; it can be loss or accuracy"
        )

    class Scored:
        """Counts the epochs that have been scored; Keras' own would warn of all others."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if monitor in (logs or {}):
                super().on_epoch_end(epoch, logs)  # type: ignore[misc]

    class EarlyStopping(Scored, keras.callbacks.EarlyStopping): ...

    class ReduceLROnPlateau(Scored, keras.callbacks.ReduceLROnPlateau): ...

    stoppers: list[Any] = []
    if options.early_stopping is not None:
        stoppers.append(EarlyStopping(monitor, patience=options.early_stopping))
    if options.reduce_lr is not None:
        stoppers.append(
            ReduceLROnPlateau(
                monitor,
                factor=options.reduce_lr_factor,
                patience=options.reduce_lr,
                min_lr=options.min_learning_rate,
            )
        )
    if stoppers and monitor.startswith("val_") and options.validation_freq > options.epochs > 0:
        raise ParameterError(
            f"validation_freq={options.validation_freq}: of {options.epochs} epochs none is scored, and "
            f"monitor={monitor!r} watches the scores; give {options.epochs} or less"
        )
    return stoppers


def _scored(
    data: tuple[np.ndarray, np.ndarray] | None, size: tuple[int, int], pixels: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return validation images as a stage scores them, and their targets."""
    if data is None:
        return None
    X = shrink(data[0], size)
    return X if pixels == "raw" else scale_pixels(X.astype(np.float32), pixels), data[1]


def _in_batches(data: tuple[np.ndarray, np.ndarray] | None, size: int) -> Any:
    """Cut validation images into batches; Keras would have TensorFlow trace three functions for it."""
    import keras

    if data is None or keras.backend.backend() != "tensorflow":
        return data
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(data).batch(size)
