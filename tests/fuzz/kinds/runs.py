"""What a training and a search leave behind: checkpoints, the record of a training, the trials."""

from __future__ import annotations

import gc
import shutil
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from random import Random

from cnnboost import stages
from cnnboost.cnn.checkpoint import Checkpoint, set_counters
from cnnboost.errors import ModelError, StoreError, TrainingError
from cnnboost.search import search
from tests.fuzz.archives import contradicting
from tests.fuzz.kind import Kind, MadeAnew, Sealed, digest, files_in
from tests.fuzz.originals import network, toy_job


class Checkpoints(Sealed):
    name, errors = "checkpoint", (TrainingError, StoreError)

    def prepare(self, scratch: Path) -> None:
        import keras

        self._model = network()
        self._model.compile("adam", "sparse_categorical_crossentropy")
        self._stopping = keras.callbacks.EarlyStopping(patience=2)
        super().prepare(scratch)

    @cached_property
    def inputs(self):
        kept = Checkpoint(self.originals / "checkpoint", "a run")
        counters = [{"wait": 0.0, "best": 0.5, "best_epoch": 1.0, "stopped_epoch": 0.0}]
        for epoch in (1, 2):
            kept.save(
                self._model, epoch, {"loss": [0.5] * epoch, "accuracy": [0.25] * epoch}, counters, epoch == 1
            )
        return [files_in(kept.folder)]

    def read(self, folder: Path) -> str:
        kept = Checkpoint(folder, "a run")
        state = kept.state()
        if state is None:
            raise MadeAnew
        kept.restore(self._model, state["weights"])
        restored = self._model.get_weights()
        for counters in state["counters"]:
            set_counters(self._stopping, counters)
        if state["best"]:
            kept.restore(self._model, state["best"])
        again = self._model.get_weights()
        return digest(
            state["epochs"],
            {k: list(v) for k, v in state["history"].items()},
            vars(self._stopping)["best"],
            *restored,
            *again,
        )


@contextmanager
def _no_training(what: str, unit: str):
    """The progress of a job whose network must not be trained here."""
    if what == "train":
        raise MadeAnew

    def report(done: int, total: int) -> None:
        if unit == "trial" and done < total:
            raise MadeAnew

    yield report


class Histories(Sealed):
    """A CNN that is up to date, and the record beside it."""

    name, errors, share = "history", (StoreError, ModelError), 1.5
    listed = True
    trained = True
    _count = 0

    @cached_property
    def inputs(self):
        stored = files_in(self.originals / "run" / "models" / "toy")
        return [{f"toy/{name}": stored[name] for name in ("history.json", "cnn.keras")}]

    def targets(self, files):
        return ["toy/history.json"] * 4 + ["toy/cnn.keras"]

    def read(self, folder: Path) -> str:
        import keras

        self._count += 1
        if self._count % 50 == 0:
            keras.backend.clear_session()
            gc.collect()
        trained = stages.train(toy_job(self.originals / "run", models=folder, progress=_no_training))
        return digest(trained.pixels, trained.classes, trained.history, *trained.model.get_weights())

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if not name.endswith(".json") and rng.random() < 0.3:
            return (*contradicting(rng, content), True)
        return super().change(rng, name, content, other)


class Studies(Kind):
    """The trials of a finished search."""

    name, errors, share = "study", (StoreError,), 2.0
    trained = True

    @cached_property
    def inputs(self):
        name = "toy/search/study.db"
        return [{name: (self.originals / "run" / "models" / name).read_bytes()}]

    def read(self, folder: Path) -> str:
        job = toy_job(
            self.originals / "run", models=folder, reports=folder / "reports", progress=_no_training
        )
        found = search(job)
        shutil.rmtree(folder / "reports")
        return digest(found.document["trials"], found.document["best"])
