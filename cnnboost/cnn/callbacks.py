"""Our Keras callbacks, and the averages of weights (EMA) that validation scores and that remain at the end.

The base class of a callback needs Keras, so this module is imported when a training begins.

Keras' optimisers keep the averages (`use_ema`) and write them over the model at the end of `fit`. What is
here is for the moments before: validation and the best epoch should see the averages, the next step must not.
Keras' own `SwapEMAWeights` swaps by adding and subtracting, which changes the last bits of the weights that
training goes on with.

The running statistics of batch normalisation belong to the weights of the last steps and not to their
average, which they can serve so badly that it recognises nothing. So they are measured for the average, on
training images, as Izmailov et al. do (2018, "Averaging Weights Leads to Wider Optima and Better
Generalization").
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from cnnboost.cnn.batches import Stage
from cnnboost.cnn.checkpoint import Checkpoint, counters_of, set_counters
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import TrainingError
from cnnboost.images.augment import DROPOUT, uniforms

log = logging.getLogger("cnnboost")

_SHARE = 0.1
"""Share of a training's time that its checkpoints may take; where epochs are short, not each is written."""
_RANDOM = "seed_generator_state"
"""How Keras names the variable from which a layer draws."""

Images = Callable[[int], Iterable[np.ndarray]]
"""Gives some images of an epoch, on which the statistics of averaged weights are measured."""


class AveragedValidation(keras.callbacks.Callback):
    """Has validation score the averaged weights."""

    def __init__(self, images: Images) -> None:
        super().__init__()
        self._images = images

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note whose images the statistics are measured on."""
        self._epoch = epoch

    def on_test_begin(self, logs: Any = None) -> None:
        """Put the averages in place."""
        self._swap = averaged(self.model, self._images(self._epoch))
        self._swap.__enter__()

    def on_test_end(self, logs: Any = None) -> None:
        """Put the weights back that training goes on with."""
        self._swap.__exit__(None, None, None)


class CheckpointCallback(keras.callbacks.Callback):
    """Keeps the history, the best weights and, with a checkpoint, finished epochs."""

    def __init__(
        self,
        network: Any,
        options: TrainingOptions,
        stoppers: Sequence[Any],
        checkpoint: Checkpoint | None,
        images: Images,
    ) -> None:
        super().__init__()
        self._network, self._options, self._images = network, options, images
        self._stoppers, self._checkpoint = stoppers, checkpoint
        early = (stopper for stopper in stoppers if isinstance(stopper, keras.callbacks.EarlyStopping))
        self._stopping = next(early, None)
        self._best_weights: Any = None
        self._last_weights: Any = None
        self._counted = self._fresh = True
        state = checkpoint.state() if checkpoint else None
        if state and state["epochs"] > options.epochs:
            state = None
        self.done: int = state["epochs"] if state else 0
        self._kept, self._due = self.done, 0.0
        self.record: dict[str, list[float]] = dict(state["history"]) if state else {}
        self._counters: list[dict[str, Any]] = state["counters"] if state else []
        if checkpoint and state:
            checkpoint.restore(network, state["weights"])
            log.info(
                "training continues after epoch %d of %d (%s)", self.done, options.epochs, checkpoint.folder
            )

    @property
    def stopped(self) -> bool:
        """Whether the stopping rule has ended the training."""
        return any(counters.get("stopped_epoch") for counters in self._counters)

    def counting(self, stage: Stage) -> list[Any]:
        """Return the callbacks that count the epochs of a stage: small images stop nothing."""
        return [stopper for stopper in self._stoppers if stage.full or stopper is not self._stopping]

    @contextmanager
    def going_on(self, stage: Stage) -> Iterator[None]:
        """Let a `fit` leave the weights as its last step did; Keras puts the averages in their place.

        Losses of images of different sizes are no better or worse than one another, so each stage counts
        from the start, and only an epoch of full images can be the best.
        """
        self._counted, self._fresh = stage.full, self.done <= stage.start
        yield
        if self._last_weights is not None:
            self._network.set_weights(self._last_weights)

    def on_train_begin(self, logs: Any = None) -> None:
        """Give the other callbacks their counters back, which they have just reset, if a stage goes on."""
        for stopper, counters in zip(self._stoppers, () if self._fresh else self._counters, strict=False):
            set_counters(stopper, counters)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Seed what is drawn in the epoch."""
        _reseed(self.model, self._options.seed, epoch)
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Record the epoch, and its weights if they are the best."""
        logs = {**(logs or {}), "seconds": time.perf_counter() - self._started}
        rate = float(self._network.optimizer.learning_rate)
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs.get(name, 0.0)):
                raise TrainingError(
                    f"the {name.replace('val_', 'validation ')} is {logs[name]} after epoch {epoch + 1}; "
                    f"lower the learning rate ({rate:g})"
                )
        logs.setdefault("learning_rate", rate)
        if self._options.validation_freq > 1 and "val_loss" in logs:
            logs["val_epoch"] = epoch + 1
        for name, value in logs.items():
            self.record.setdefault(name, []).append(float(value))
        self.done, self._counters = epoch + 1, [counters_of(stopper) for stopper in self._stoppers]
        averages = self._options.ema is not None
        if averages:
            self._last_weights = _weights(self._network)
        stopping = self._stopping
        best = stopping is not None and stopping.wait == 0 and self._counted and stopping.monitor in logs
        if self._checkpoint:
            last = self.done == self._options.epochs or self.stopped
            if best or last or time.perf_counter() >= self._due:
                self._keep(best)
        elif best:
            with averaged(self._network, self._images(epoch)) if averages else nullcontext():
                self._best_weights = _weights(self._network)

    def _keep(self, best: bool) -> None:
        """Write the epoch, and put off the next one until that has cost no more than its share."""
        assert self._checkpoint is not None
        began = time.perf_counter()
        self._checkpoint.save(self._network, self.done, self.record, self._counters, best)
        ended, self._kept = time.perf_counter(), self.done
        self._due = ended + (ended - began) * (1 / _SHARE - 1)

    def finish(self) -> None:
        """Leave the network with the weights that the stopping rule chose."""
        if self._checkpoint and self._kept < self.done:  # a callback has ended the training
            self._keep(best=False)
        if self._best_weights is not None:
            self._network.set_weights(self._best_weights)
            return
        epoch = max(0, self.done - 1)
        last = self._checkpoint.state() if self._checkpoint and self._stopping else None
        if self._checkpoint and last and last["best"]:
            self._checkpoint.restore(self._network, last["best"])
            # The averages of an epoch are measured on its images, as they were when it was scored.
            epoch = int(last["counters"][self._stoppers.index(self._stopping)]["best_epoch"])
        if self._options.ema is not None:
            adopt_averages(self._network, self._images(epoch))


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
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


def _statistics(model: Any) -> list[Any]:
    return [v for layer in _normalisations(model) for v in (layer.moving_mean, layer.moving_variance)]


def _values(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _weights(network: Any) -> list[np.ndarray]:
    return [np.array(weights) for weights in network.get_weights()]


def _reseed(model: Any, seed: int, epoch: int) -> None:
    """Let what a model draws in an epoch (dropout) depend on the seed and the epoch alone."""
    weights = {id(variable) for variable in model.weights}
    states = [v for v in model.non_trainable_variables if id(v) not in weights and v.name.endswith(_RANDOM)]
    drawn = (uniforms(DROPOUT, seed, epoch, np.arange(len(states)), 2) * 2**31).astype(np.int64)
    for state, numbers in zip(states, drawn, strict=True):
        state.assign(numbers)
