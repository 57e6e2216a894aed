"""images -> CNN: the recipe's network, trained once."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.cnn.optimizers import build_optimizer
from cnnboost.cnn.teacher import teacher_digest
from cnnboost.cnn.training import seeded
from cnnboost.cnn.training_model import network
from cnnboost.documents import Document, read_document
from cnnboost.errors import ModelError, StoreError
from cnnboost.files import digest_of, file_digest, write_json
from cnnboost.images import ImageSet
from cnnboost.locks import file_lock
from cnnboost.stages.feeding import Feeding
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.provenance import machine, versions
from cnnboost.stages.trained_on import TrainedOn

log = logging.getLogger("cnnboost")

FORMAT = 1
"""Of what a CNN is made from; another one trains every CNN again."""

_RECORD = 2
"""Of `history.json`; since 2 it carries a checksum."""


class History(Document):
    """`history.json`: what a CNN was trained from, and how that went."""

    format: int
    made_from: str
    model_sha256: str
    classes: list[str]
    pixels: str
    input_shape: list[int]
    parameters: int
    seed: int
    fit_seconds: float
    history: dict[str, list[float]]
    trained_on: dict[str, str | int] | None = None
    teacher: str | None = None
    versions: dict[str, str]


def read_history(job: Job) -> dict[str, Any] | None:
    """Read the record of the recipe's CNN."""
    path = job.models_dir / "history.json"
    if not path.is_file():
        return None
    remedy = f"put the file back, or train again: cnnboost train -r {job.recipe.name} --force"
    metadata = read_document(path, History, remedy)
    if metadata["format"] >= _RECORD:
        read_document(path, History, remedy, checksum=True)
    return metadata


@dataclass(frozen=True)
class Trained:
    """A trained CNN and its files."""

    model: Any
    pixels: str
    classes: tuple[str, ...]
    path: Path
    metadata: dict[str, Any]
    cached: bool
    feeding: Feeding | None = None

    @property
    def history(self) -> dict[str, list[float]]:
        """Loss, accuracy, ... by epoch; empty for a model file that was given."""
        return dict(self.metadata.get("history", {}))

    @cached_property
    def cnn(self) -> CNNClassifier:
        """The model as a classifier over class names."""
        if self.feeding is not None and not self.feeding.ordered:
            self.feeding.require()
        return CNNClassifier.from_model(
            self.model, classes=self.classes, pixels=self.pixels, place=str(self.path)
        )

    @cached_property
    def no_softmax(self) -> str:
        """Why a model file that was given has no probabilities of these classes; empty where it has some."""
        if self.metadata:  # our own CNN always has
            return ""
        try:
            _ = self.cnn
        except ModelError as error:
            return str(error)
        return ""

    def check_softmax(self, what: str) -> None:
        """Refuse what is made of the CNN's class probabilities where it gives none."""
        if self.no_softmax:
            raise ModelError(
                f"{what} is made of the CNN's class probabilities, and it gives none of these classes: "
                f"{self.no_softmax}. Plain trees on images as they are need none: --mode plain --tta none"
            )


def train(job: Job) -> Trained:
    """Train the recipe's CNN, or take what is there: up to date, or the model file that was given."""
    images = job.images
    if job.model is not None:
        return _given(job)
    made_from = _made_from(job, images)
    path, record = job.models_dir / "cnn.keras", job.models_dir / "history.json"
    on = TrainedOn.of(job.recipe, images)
    with file_lock(job.models_dir / "cnn.lock", path):
        there = None if job.force else _load_cached(job, path, record, made_from, on)
        return there or _train(job, images, made_from, path, record, on)


def _load_cached(job: Job, path: Path, record: Path, made_from: str, on: TrainedOn) -> Trained | None:
    """Return the CNN on disk if it is the one that is wanted."""
    metadata = read_history(job)
    if not metadata or metadata.get("made_from") != made_from or not path.is_file():
        return None
    if file_digest(path) != metadata["model_sha256"]:
        log.warning("%s changed on disk since training; retraining", path)
        return None
    noted, teacher = TrainedOn.read(metadata), _teacher_digest(job)
    if noted is None or noted.cnn != on.cnn or metadata.get("teacher") != teacher:
        # An earlier version wrote it, which noted less, or where the teacher's file lay. What it was made
        # from is the same, so this is what it was trained on.
        metadata["trained_on"] = (on if noted is None else replace(noted, cnn=on.cnn)).to_dict()
        metadata["teacher"] = teacher
        try:
            write_json(record, metadata)
        except StoreError as error:  # the CNN can be used; the record is updated next time
            log.info("%s", error)
    log.info("%s is up to date", path)
    return Trained(read_model(path), metadata["pixels"], tuple(metadata["classes"]), path, metadata, True)


def _train(job: Job, images: ImageSet, made_from: str, path: Path, record: Path, on: TrainedOn) -> Trained:
    untrained(job)  # what cannot be built is refused before training is announced
    table = job.recipe.cnn
    log.info("train %r on %d images, %d epochs", table.architecture, len(images.train), table.epochs)
    with job.progress("train", "epoch") as report:
        cnn = _fit(job, images, _epoch_report(report, table.epochs))
    # Until the record is there, the model counts for nothing; until then the checkpoint is kept too.
    record.unlink(missing_ok=True)
    cnn.save(path)
    metadata = {
        "format": _RECORD,
        "recipe": job.recipe.name,
        "made_from": made_from,
        "teacher": _teacher_digest(job),
        "trained_on": on.to_dict(),
        "model_sha256": file_digest(path),
        "classes": list(images.classes),
        "pixels": cnn.pixels_,
        "input_shape": list(cnn.input_shape_),
        "parameters": int(cnn.model_.count_params()),
        "seed": table.seed,
        "fit_seconds": round(sum(cnn.history_["seconds"]), 3),
        "history": cnn.history_,
        "machine": machine(),
        "versions": versions(),
    }
    write_json(record, metadata)
    shutil.rmtree(job.models_dir / "checkpoint", ignore_errors=True)
    return Trained(cnn.model_, cnn.pixels_, images.classes, path, metadata, False)


def estimator(job: Job) -> CNNClassifier:
    """Return the recipe's CNN, untrained."""
    table = job.recipe.cnn
    choosing = table.early_stopping is not None or table.reduce_lr is not None
    metadata = table.model_dump() | {"teacher": _teacher(job)}
    architecture, options, seed = (metadata.pop(key) for key in ("architecture", "options", "seed"))
    if not choosing or _chooses_on_validation(job):
        metadata["validation_fraction"] = 0.0
    return CNNClassifier(
        architecture, model_options=options, classes=job.images.classes, random_state=seed, **metadata
    )


def untrained(job: Job) -> Any:
    """Build the recipe's network as it is before training; what `[cnn]` states is checked on the way."""
    cnn = estimator(job)
    options = cnn._options()
    with seeded(cnn.random_state):
        shape, n_classes = job.images.shape[1:], len(job.images.classes)
        model, _, _ = network(cnn.model, shape, n_classes, cnn.model_options)
    build_optimizer(options, model, steps=1)
    return model


def is_trained(job: Job) -> bool:
    """Say whether the recipe's CNN is there as the recipe and the images want it."""
    metadata = read_history(job) or {}
    return (job.models_dir / "cnn.keras").is_file() and metadata.get("made_from") == _made_from(
        job, job.images
    )


def _fit(job: Job, images: ImageSet, callback: Any) -> CNNClassifier:
    cnn = estimator(job).set_params(callbacks=[callback], checkpoint=job.models_dir / "checkpoint")
    # Where the validation split is the one that is scored, it may be watched, but nothing is chosen on it.
    watched = not cnn.validation_fraction and "validation" in images.split_names
    validation = (images.validation.X, images.validation.labels) if watched else None
    return cnn.fit(images.train.X, images.train.labels, validation_data=validation)


def _chooses_on_validation(job: Job) -> bool:
    return "validation" in job.images.split_names and job.scored_split != "validation"


def _teacher(job: Job) -> str | None:
    """The teacher's file, where there is one; it knows all training images, and not the first few of them."""
    if job.recipe.cnn.teacher is not None and job.few is not None:
        log.info("a few images are trained without the teacher %s", job.recipe.cnn.teacher)
        return None
    return job.recipe.cnn.teacher


def _teacher_digest(job: Job) -> str | None:
    """Hash what the teacher says; a CNN that is trained needs its file no more, only the record of it."""
    teacher = _teacher(job)
    if teacher is None:
        return None
    known = None if Path(teacher).exists() else (read_history(job) or {}).get("teacher")
    return known or teacher_digest(teacher)


def _made_from(job: Job, images: ImageSet) -> str:
    choosing = job.recipe.cnn.early_stopping is not None or job.recipe.cnn.reduce_lr is not None
    teacher = _teacher_digest(job)
    return digest_of(
        {
            **({} if teacher is None else {"teacher": teacher}),
            "format": FORMAT,
            "cnn": job.recipe.digest("cnn"),
            "train": labelled_digest(images.train),
            "chosen_on": labelled_digest(images.validation)
            if choosing and _chooses_on_validation(job)
            else None,
        }
    )


def _given(job: Job) -> Trained:
    assert job.model is not None
    feeding = job.feeding
    return Trained(job.given, feeding.pixels, feeding.classes, Path(job.model), {}, True, feeding)


def _epoch_report(report: Callable[[int, int], None], epochs: int) -> Any:
    import keras

    started: list[tuple[int, float]] = []

    def begun(epoch: int, logs: Any = None) -> None:
        if not started:  # a training that continues does not begin with the first
            started.append((epoch, time.perf_counter()))

    def finished(epoch: int, logs: dict[str, float]) -> None:
        report(epoch + 1, epochs)
        first, since = started[0]
        seconds = (time.perf_counter() - since) / (epoch + 1 - first) * (epochs - epoch - 1)
        left = f", {timedelta(seconds=round(seconds))} left" if epoch + 1 < epochs else ""
        watched = f", validation {logs['val_accuracy']:.2%}" if "val_accuracy" in logs else ""
        log.info(
            "epoch %d of %d: loss %.4f, accuracy %s%s%s", epoch + 1, epochs, logs["loss"],
            f"{logs['accuracy']:.2%}", watched, left,
        )  # fmt: skip

    return keras.callbacks.LambdaCallback(on_epoch_begin=begun, on_epoch_end=finished)
