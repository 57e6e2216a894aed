"""What is kept of a running training: its history, its best weights, and where it can go on."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from cnnboost.cnn.averaging import adopt_averages, averaged, averaged_validation
from cnnboost.cnn.checkpoint import Checkpoint, counters_of, set_counters
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import TrainingError
from cnnboost.images.augment import DROPOUT, uniforms

log = logging.getLogger("cnnboost")

_RANDOM = "seed_generator_state"
"""How Keras names the variable from which a layer draws."""


def epoch_keeper(
    model: Any,
    options: TrainingOptions,
    stoppers: Sequence[Any],
    checkpoint: Checkpoint | None,
    batches: Callable[[int], Iterable[np.ndarray]],
) -> Any:
    """Build the callback that keeps finished epochs; its base class needs Keras, which is imported late.

    Parameters
    ----------
    model : keras.Model
        Compiled; a checkpoint's weights are loaded into it.
    options : TrainingOptions
    stoppers : sequence of keras.callbacks.Callback
        Callbacks that count epochs; a continued run gives them their counts back.
    checkpoint : Checkpoint or None
    batches : callable
        Training images of an epoch, which it is given.

    Returns
    -------
    keras.callbacks.Callback
        With `record` (the history), `done` (epochs finished), `stopped` (by a rule), `validation` (the
        callback that has validation score averaged weights), `going_on` and `finish`.
    """
    import keras

    stopping = next((s for s in stoppers if isinstance(s, keras.callbacks.EarlyStopping)), None)
    averages = options.ema is not None

    class Keeper(keras.callbacks.Callback):
        """Keeps the history, the best weights and, with a checkpoint, each finished epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.validation = averaged_validation(batches)
            self.best_weights: Any = None
            self.raw: Any = None
            state = checkpoint.state() if checkpoint else None
            self.done: int = state["epochs"] if state else 0
            self.record: dict[str, list[float]] = dict(state["history"]) if state else {}
            self.counters: list[dict[str, Any]] = state["counters"] if state else []
            if checkpoint and state:
                checkpoint.restore(model, state["weights"])
                log.info(
                    "training continues after epoch %d of %d (%s)",
                    self.done, options.epochs, checkpoint.folder,
                )  # fmt: skip

        @property
        def stopped(self) -> bool:
            return any(counters.get("stopped_epoch") for counters in self.counters)

        @contextmanager
        def going_on(self) -> Iterator[None]:
            """Let a `fit` leave the weights as its last step did; Keras puts the averages in their place."""
            yield
            if self.raw is not None:
                model.set_weights(self.raw)

        def on_train_begin(self, logs: Any = None) -> None:
            # The other callbacks have just reset their counters; a run that goes on gives them back.
            for watcher, counters in zip(stoppers, self.counters, strict=False):
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
            self.done, self.counters = epoch + 1, [counters_of(s) for s in stoppers]
            if averages:
                self.raw = [np.array(w) for w in model.get_weights()]
            best = stopping is not None and stopping.wait == 0
            if checkpoint:
                checkpoint.save(model, self.done, self.record, self.counters, best)
            elif best:
                with averaged(model, batches(epoch)) if averages else nullcontext():
                    self.best_weights = [np.array(w) for w in model.get_weights()]

        def finish(self) -> None:
            """Leave the model with the weights that the stopping rule chose."""
            last = checkpoint.state() if checkpoint and stopping else None
            epoch = max(0, self.done - 1)
            if checkpoint and last and last["best"]:
                checkpoint.restore(model, last["best"])
                # The averages of an epoch are measured on its images, as they were when it was scored.
                epoch = int(last["counters"][stoppers.index(stopping)]["best_epoch"])
            elif self.best_weights is not None:
                model.set_weights(self.best_weights)
                return
            if averages:
                adopt_averages(model, batches(epoch))

    return Keeper()


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
