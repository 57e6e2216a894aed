"""A training that was killed continues at its last finished epoch.

Keras' own `BackupAndRestore` brings back weights and optimiser; it does not bring back the history, the
counters of early stopping and of the plateau schedule, or the best weights so far, and it writes weights and
epoch number as two files that a kill can separate. Here an epoch is finished when `state.json` is renamed
into place, and that file names everything that belongs to it.

A continued training gives the same numbers as an undisturbed one: what is drawn at random follows from seed
and epoch. Layers of one's own have to draw through a `keras.random.SeedGenerator` of theirs for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cnnboost.cnn.averaging import adopt_averages, averaged, averaged_validation
from cnnboost.cnn.batches import Stage
from cnnboost.cnn.model_file import keras_bytes, reason_of
from cnnboost.cnn.options import TrainingOptions
from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError, TrainingError
from cnnboost.files import file_digest, write_bytes, write_json
from cnnboost.images.augment import DROPOUT, uniforms

log = logging.getLogger("cnnboost")

FORMAT = 2
"""Since 2, the order of the images follows from seed and epoch in every training."""

_REMEDY = "remove the folder to train from the start"
_RANDOM = "seed_generator_state"
"""How Keras names the variable from which a layer draws."""
_COUNTERS = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


FileName = Annotated[str, Field(pattern=r"^epoch-\d+\.weights\.h5$")]


class State(Document):
    """A finished epoch."""

    format: int
    run: str
    epochs: Annotated[int, Field(ge=1)]
    weights: FileName
    best: FileName | None
    history: dict[str, list[float]]
    counters: list[dict[str, float | None]]
    sha256: dict[FileName, str]


class Checkpoint:
    """The folder where a running training keeps its last finished epoch."""

    def __init__(self, folder: str | os.PathLike[str], run: str) -> None:
        self.folder = Path(folder)
        self.run = run
        self._state = self.folder / "state.json"
        self._last: dict[str, Any] = {}

    def state(self) -> dict[str, Any] | None:
        """Return the last finished epoch of this run, or None."""
        if not self._state.is_file():
            return None
        state = read_document(self._state, State, _REMEDY, checksum=True)
        if state["run"] != self.run:
            return None
        for name in {state["weights"], state["best"]} - {None}:
            path = self.folder / name
            if not path.is_file():
                raise StoreError(f"{path} is missing; {_REMEDY}")
            if file_digest(path) != state["sha256"].get(name):
                raise StoreError(f"{path} was altered after it was written (checksum); {_REMEDY}")
        self._last = state
        return state

    def save(
        self,
        model: Any,
        epochs: int,
        history: dict[str, list[float]],
        counters: list[dict[str, Any]],
        best: bool,
    ) -> None:
        """Record a finished epoch."""
        weights = f"epoch-{epochs:04d}.weights.h5"
        # Not that of a training that was to be longer, and starts over.
        previous = self._last if self._last.get("epochs", 0) < epochs else {}
        content = keras_bytes(model.save_weights, weights)
        write_bytes(self.folder / weights, content)
        kept = {weights: hashlib.sha256(content).hexdigest()}
        best_one = weights if best else previous.get("best")
        if best_one:
            kept.setdefault(best_one, previous.get("sha256", {}).get(best_one))
        state = {
            "format": FORMAT,
            "run": self.run,
            "epochs": epochs,
            "weights": weights,
            "best": best_one,
            "history": history,
            "counters": counters,
            "sha256": kept,
        }
        write_json(self._state, state)
        self._last = state
        # With a point before the name: what a kill left behind.
        for old in [*self.folder.glob("epoch-*.weights.h5"), *self.folder.glob(".epoch-*.h5")]:
            if old.name not in kept:
                old.unlink()

    def restore(self, model: Any, weights: str) -> None:
        """Load weights, optimiser and random states of a recorded epoch."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(self.folder / weights)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"{self.folder / weights} cannot be loaded ({reason_of(error)}); {_REMEDY}"
            ) from error

    def clear(self) -> None:
        """Remove the folder: the training is finished, or another run's."""
        shutil.rmtree(self.folder, ignore_errors=True)


def counters_of(callback: Any) -> dict[str, Any]:
    """Return what a stopping or plateau callback has counted so far."""
    counted = {name: getattr(callback, name) for name in _COUNTERS if hasattr(callback, name)}
    return {name: None if value is None else float(value) for name, value in counted.items()}


def set_counters(callback: Any, counters: dict[str, Any]) -> None:
    """Give a callback back what `counters_of` returned."""
    for name, value in counters.items():
        whole = value is not None and name != "best"
        setattr(callback, name, int(value) if whole else value)


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
            self.counted = self.fresh = True
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
            return [stopper for stopper in stoppers if stage.full or stopper is not stopping]

        @contextmanager
        def going_on(self, stage: Stage) -> Iterator[None]:
            """Let a `fit` leave the weights as its last step did; Keras puts the averages in their place.

            Losses of images of different sizes are no better or worse than one another, so each stage counts
            anew, and only an epoch of full images can be the best.
            """
            self.counted, self.fresh = stage.full, self.done <= stage.start
            yield
            if self.raw is not None:
                model.set_weights(self.raw)

        def on_train_begin(self, logs: Any = None) -> None:
            # The other callbacks have just reset their counters; a stage that goes on gives them back.
            for stopper, counters in zip(stoppers, () if self.fresh else self.counters, strict=False):
                set_counters(stopper, counters)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            _reseed(self.model, options.seed, epoch)
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
            best = self.counted and stopping is not None and stopping.wait == 0
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


def _reseed(model: Any, seed: int, epoch: int) -> None:
    """Let what a model draws in an epoch (dropout) depend on the seed and the epoch alone."""
    weights = {id(variable) for variable in model.weights}
    states = [v for v in model.non_trainable_variables if id(v) not in weights and v.name.endswith(_RANDOM)]
    drawn = (uniforms(DROPOUT, seed, epoch, np.arange(len(states)), 2) * 2**31).astype(np.int64)
    for state, numbers in zip(states, drawn, strict=True):
        state.assign(numbers)


def run_digest(
    model: Any,
    X: np.ndarray,
    codes: np.ndarray,
    parameters: Mapping[str, Any],
    sample_weight: np.ndarray | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> str:
    """Hash everything that makes a training what it is."""
    digest = hashlib.sha256(_description(model).encode())
    for array in (X, codes):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr(sorted(parameters.items(), key=lambda item: item[0])).encode())
    # What was not given adds nothing, so that such runs are known by the digest that they always had.
    given = [("sample_weight", sample_weight), *(("validation", array) for array in validation or ())]
    for name, more in given:
        if more is not None:
            digest.update(f"{name} {more.dtype.str} {more.shape}".encode())
            digest.update(np.ascontiguousarray(more).data)
    return digest.hexdigest()


def _description(model: Any) -> str:
    """Describe a network with the names that Keras gives in a process where it is the first.

    Keras numbers layers without a name through the whole process, so that the same network, built twice in a
    notebook, would be another run's.
    """
    names, count = {}, Counter[str]()
    for layer in model._flatten_layers():
        kind = re.sub(r"([a-z])([A-Z])|(?<=.)(?=[A-Z][a-z])", r"\1_\2", type(layer).__name__).lower()
        if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", layer.name):
            names[f'"{layer.name}"'] = f'"{kind}_{count[kind]}"' if count[kind] else f'"{kind}"'
            count[kind] += 1
    text: str = model.to_json()
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text) if names else text
