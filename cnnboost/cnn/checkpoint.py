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
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cnnboost.cnn.model_file import keras_bytes
from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError
from cnnboost.files import CHECKSUM, file_digest, parsed_json, write_bytes, write_json

log = logging.getLogger("cnnboost")

FORMAT = 2
"""Since 2, the order of the images follows from seed and epoch in every training."""

_REMEDY = "remove the folder to train from the start"
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
        self._last: dict[str, Any] = {}

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def state(self) -> dict[str, Any] | None:
        """Return the last finished epoch of this run, or None."""
        if not self._state.is_file():
            return None
        written = parsed_json(self._state, _REMEDY)
        if CHECKSUM not in written and "format" not in written:
            log.info("%s was written by an earlier version; the training starts over", self._state)
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
            raise StoreError(f"{self.folder / weights} cannot be loaded ({error}); {_REMEDY}") from error

    def clear(self) -> None:
        """Remove the folder: the training is finished, or another run's."""
        shutil.rmtree(self.folder, ignore_errors=True)


def counters_of(callback: Any) -> dict[str, Any]:
    """Return what a stopping or plateau callback has counted so far."""
    found = {name: getattr(callback, name) for name in _COUNTERS if hasattr(callback, name)}
    return {name: None if value is None else float(value) for name, value in found.items()}


def set_counters(callback: Any, counters: dict[str, Any]) -> None:
    """Give a callback back what `counters_of` returned."""
    for name, value in counters.items():
        whole = value is not None and name != "best"
        setattr(callback, name, int(value) if whole else value)


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
