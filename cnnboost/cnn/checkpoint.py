"""A training that was killed continues at the last epoch that was written.

Keras' own `BackupAndRestore` brings back weights and optimiser; it does not bring back the history, the
counters of early stopping and of the plateau schedule, or the best weights so far, and it writes weights and
epoch number as two files that a kill can separate. Here an epoch is finished when `state.json` is renamed
into place, and that file names everything that belongs to it.

A continued training gives the same numbers as an undisturbed one: what is drawn at random follows from seed
and epoch. Layers of one's own have to draw through a `keras.random.SeedGenerator` of theirs for it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cnnboost.cnn.model_file import keras_bytes, keras_reason
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.teacher import teacher_digest
from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError
from cnnboost.files import file_digest, write_bytes, write_json

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
        content = keras_bytes(model.save_weights, weights)
        write_bytes(self.folder / weights, content)
        sha256 = {weights: hashlib.sha256(content).hexdigest()}
        # Not that of a training that was to be longer, and starts over.
        previous = self._last["best"] if self._last.get("epochs", epochs) < epochs else None
        if previous and not best:
            sha256[previous] = self._last["sha256"][previous]
        self._last = {
            "format": FORMAT,
            "run": self.run,
            "epochs": epochs,
            "weights": weights,
            "best": weights if best else previous,
            "history": history,
            "counters": counters,
            "sha256": sha256,
        }
        write_json(self._state, self._last)
        # With a point before the name: what a kill left behind.
        for old in [*self.folder.glob("epoch-*.weights.h5"), *self.folder.glob(".epoch-*.h5")]:
            if old.name not in sha256:
                old.unlink()

    def restore(self, model: Any, weights: str) -> None:
        """Load weights, optimiser and random states of a recorded epoch."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(self.folder / weights)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"{self.folder / weights} cannot be loaded ({keras_reason(error)}); {_REMEDY}"
            ) from error


def counters_of(callback: Any) -> dict[str, Any]:
    """Return what a stopping or plateau callback has counted so far."""
    counted = {name: getattr(callback, name) for name in _COUNTERS if hasattr(callback, name)}
    return {name: None if value is None else float(value) for name, value in counted.items()}


def set_counters(callback: Any, counters: dict[str, Any]) -> None:
    """Give a callback back what `counters_of` returned."""
    for name, value in counters.items():
        whole = value is not None and name != "best"
        setattr(callback, name, int(value) if whole else value)


def run_parameters(parameters: Mapping[str, Any], options: TrainingOptions) -> dict[str, Any]:
    """Return the parameters of a classifier that make a training what it is."""
    # More epochs of the same run continue it, unless they change its epochs so far; the network itself says
    # what `model` was.
    apart = {"callbacks", "checkpoint", "model", "tta", *(() if options.planned else ("epochs",))}
    if options.teacher is None:
        apart |= {"teacher", "teacher_weight", "teacher_temperature"}
    if options.validation_freq == 1:  # trainings that began before there was a choice
        apart |= {"validation_freq"}
    chosen = {name: value for name, value in parameters.items() if name not in apart}
    return chosen if options.teacher is None else {**chosen, "teacher": teacher_digest(options.teacher)}


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
    """Describe a network with the names that Keras gives in a process where it is the first."""
    # Layers without a name are numbered through the whole process: a network that a notebook builds twice
    # would be another run's.
    names, count = {}, Counter[str]()
    for layer in model._flatten_layers():
        kind = re.sub(r"([a-z])([A-Z])|(?<=.)(?=[A-Z][a-z])", r"\1_\2", type(layer).__name__).lower()
        if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", layer.name):
            names[f'"{layer.name}"'] = f'"{kind}_{count[kind]}"' if count[kind] else f'"{kind}"'
            count[kind] += 1
    text: str = model.to_json()
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text) if names else text
