"""What is kept of a running training: its history, its best weights, and where it can go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from cnnboost.cnn.averaging import adopt_averages, averaged, averaged_validation
from cnnboost.cnn.checkpoint import Checkpoint, counters_of, set_counters
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.resizing import Stage
from cnnboost.cnn.seeding import reseed
from cnnboost.errors import TrainingError

log = logging.getLogger("cnnboost")


def checkpoint_callback(
    model: Any,
    options: TrainingOptions,
    stoppers: Sequence[Any],
    checkpoint: Checkpoint | None,
    batches: Callable[[int], Iterable[np.ndarray]],
) -> Any:
    """Build the callback that keeps finished epochs; its base class needs Keras, which is imported late."""
    import keras

    stopping = next((s for s in stoppers if isinstance(s, keras.callbacks.EarlyStopping)), None)
    averages = options.ema is not None

    class CheckpointCallback(keras.callbacks.Callback):
        """Keeps the history, the best weights and, with a checkpoint, each finished epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.validation = averaged_validation(batches)
            self.best_weights: Any = None
            self.raw: Any = None
            self.judged = self.fresh = True
            state = checkpoint.state() if checkpoint else None
            if state and state["epochs"] > options.epochs:
                state = None
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

        def counting(self, stage: Stage) -> list[Any]:
            """Return the callbacks that count the epochs of a stage: small images stop nothing."""
            return [watcher for watcher in stoppers if stage.full or watcher is not stopping]

        @contextmanager
        def going_on(self, stage: Stage) -> Iterator[None]:
            """Let a `fit` leave the weights as its last step did; Keras puts the averages in their place.

            Losses of images of different sizes are no better or worse than one another, so each stage counts
            anew, and only an epoch of full images can be the best.
            """
            self.judged, self.fresh = stage.full, self.done <= stage.start
            yield
            if self.raw is not None:
                model.set_weights(self.raw)

        def on_train_begin(self, logs: Any = None) -> None:
            # The other callbacks have just reset their counters; a stage that goes on gives them back.
            for watcher, counters in zip(stoppers, () if self.fresh else self.counters, strict=False):
                set_counters(watcher, counters)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            reseed(self.model, options.seed, epoch)
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs = {**(logs or {}), "seconds": time.perf_counter() - self.started}
            rate = float(model.optimizer.learning_rate)
            for name in ("loss", "val_loss"):
                if not np.isfinite(logs.get(name, 0.0)):
                    raise TrainingError(
                        f"the {name.replace('val_', 'validation ')} is {logs[name]} after epoch {epoch + 1}; "
                        f"lower the learning rate ({rate:g})"
                    )
            logs.setdefault("learning_rate", rate)
            for name, value in logs.items():
                self.record.setdefault(name, []).append(float(value))
            self.done, self.counters = epoch + 1, [counters_of(s) for s in stoppers]
            if averages:
                self.raw = [np.array(w) for w in model.get_weights()]
            best = self.judged and stopping is not None and stopping.wait == 0
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

    return CheckpointCallback()
