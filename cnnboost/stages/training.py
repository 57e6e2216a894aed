"""images -> CNN: the recipe's network, trained once."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnboost.cnn import CNNClassifier
from cnnboost.cnn.model_file import read_model
from cnnboost.cnn.optimizers import build_optimizer
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.teacher import teacher_digest
from cnnboost.cnn.training import seeded
from cnnboost.cnn.training_model import network
from cnnboost.config import Recipe
from cnnboost.documents import Document, read_document
from cnnboost.errors import ModelError, StoreError
from cnnboost.escape import counted
from cnnboost.files import file_digest, write_json
from cnnboost.images import ImageSet
from cnnboost.stages.feeding import Feeding
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.provenance import machine, versions
from cnnboost.stages.stage import Stage

log = logging.getLogger("cnnboost")

FORMAT = 1
"""Of what a CNN is made from; another one trains every CNN again."""

_PAUSE = 1.0
"""Seconds between two lines about epochs, the first and the last one apart."""
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
    remedy = f"put the file back, or train again: {job.command('train')} --force"
    metadata = read_document(path, History, remedy)
    if metadata["format"] >= _RECORD:
        read_document(path, History, remedy, checksum=True)
    return metadata


@dataclass(frozen=True)
class TrainedOn:
    """The images and the settings that a CNN comes from."""

    digest: str
    images: int
    train_digest: str
    train_images: int
    train_labels: str
    cnn: str
    data: str

    @classmethod
    def of(cls, recipe: Recipe, images: ImageSet) -> TrainedOn:
        """Describe a training."""
        return cls(
            digest=images.digest,
            images=len(images),
            train_digest=images.train.digest,
            train_images=len(images.train),
            train_labels=labelled_digest(images.train),
            cnn=recipe.digest("cnn"),
            data=recipe.digest("data"),
        )

    @classmethod
    def read(cls, record: dict[str, Any]) -> TrainedOn | None:
        """Read it from what `history.json` holds."""
        try:
            return cls(**record["trained_on"])
        except (KeyError, TypeError):
            return None


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
    _ = job.images
    return _given(job) if job.model is not None else Training(job).run()


class Training(Stage[Trained]):
    """The CNN of a recipe: `cnn.keras` and its record, `history.json`."""

    def __init__(self, job: Job) -> None:
        self.job, self.path, self.force = job, job.models_dir / "cnn.keras", job.force

    def inputs(self) -> dict[str, Any]:
        """Return the settings, the images that are trained on, and those that choose."""
        job = self.job
        return {
            **({} if self.teacher is None else {"teacher": self.teacher}),
            "format": FORMAT,
            "cnn": job.recipe.digest("cnn"),
            "train": labelled_digest(job.images.train),
            "chosen_on": labelled_digest(job.images.validation) if chosen_on_validation(job) else None,
        }

    @cached_property
    def teacher(self) -> str | None:
        """Digest of the teacher's file; a CNN that is trained needs the record of it alone."""
        teacher = _teacher(self.job)
        if teacher is None:
            return None
        known = None if Path(teacher).exists() else (self.record or {}).get("teacher")
        return known or teacher_digest(teacher)

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """What `history.json` holds."""
        return read_history(self.job)

    def recorded(self) -> str | None:
        """Return the digest in the record."""
        return self.record["made_from"] if self.record else None

    def load(self) -> Trained | None:
        """Read the CNN, and complete a record that an earlier version wrote."""
        record = self.record
        assert record is not None
        if file_digest(self.path) != record["model_sha256"]:
            log.warning("%s changed on disk since training; retraining", self.path)
            return None
        on, noted = TrainedOn.of(self.job.recipe, self.job.images), TrainedOn.read(record)
        if noted is None or noted.cnn != on.cnn or record.get("teacher") != self.teacher:
            # What it was made from is the same, so this is what it was trained on.
            record["trained_on"] = asdict(on if noted is None else replace(noted, cnn=on.cnn))
            record["teacher"] = self.teacher
            try:
                write_json(self.job.models_dir / "history.json", record)
            except StoreError as error:  # the CNN can be used; the record is updated next time
                log.info("%s", error)
        return trained_from(self.path, record)

    def build(self) -> Trained:
        """Train."""
        job, table = self.job, self.job.recipe.cnn
        untrained(job)  # what cannot be built is refused before training is announced
        images, epochs = counted(len(job.images.train), "image"), counted(table.epochs, "epoch")
        log.info("train %r on %s, %s", table.architecture, images, epochs)
        with job.progress("train", "epoch") as report:
            cnn = _fit(job, _epoch_report(report, table.epochs))
        # Until the record is there, the model counts for nothing; until then the checkpoint is kept too.
        record = job.models_dir / "history.json"
        record.unlink(missing_ok=True)
        cnn.save(self.path)
        metadata = {
            "format": _RECORD,
            "recipe": job.recipe.name,
            "made_from": self.made_from,
            "teacher": self.teacher,
            "trained_on": asdict(TrainedOn.of(job.recipe, job.images)),
            "model_sha256": file_digest(self.path),
            "classes": list(job.images.classes),
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
        return Trained(cnn.model_, cnn.pixels_, job.images.classes, self.path, metadata, False)


def trained_from(path: Path, record: dict[str, Any]) -> Trained:
    """Read a CNN that was trained here, with what its record says."""
    return Trained(read_model(path), record["pixels"], tuple(record["classes"]), path, record, True)


def estimator(job: Job) -> CNNClassifier:
    """Return the recipe's CNN, untrained."""
    table = job.recipe.cnn
    metadata = table.model_dump() | {"teacher": _teacher(job)}
    architecture, options, seed = (metadata.pop(key) for key in ("architecture", "options", "seed"))
    if not _choosing(job) or _may_choose(job):
        metadata["validation_fraction"] = 0.0
    return CNNClassifier(
        architecture, model_options=options, classes=job.images.classes, random_state=seed, **metadata
    )


def untrained(job: Job) -> Any:
    """Build the recipe's network as it is before training; what `[cnn]` states is checked on the way."""
    cnn = estimator(job)
    options = TrainingOptions.of(cnn.get_params(deep=False))
    with seeded(cnn.random_state):
        shape, n_classes = job.images.shape[1:], len(job.images.classes)
        model, _, _ = network(cnn.model, shape, n_classes, cnn.model_options)
    build_optimizer(options, model, steps=1)
    return model


def _fit(job: Job, callback: Any) -> CNNClassifier:
    images = job.images
    cnn = estimator(job).set_params(callbacks=[callback], checkpoint=job.models_dir / "checkpoint")
    # Where the validation split is the one that is scored, it may be watched, but nothing is chosen on it.
    watched = not cnn.validation_fraction and "validation" in images.split_names
    validation = (images.validation.X, images.validation.labels) if watched else None
    return cnn.fit(images.train.X, images.train.labels, validation_data=validation)


def chosen_on_validation(job: Job) -> bool:
    """Tell whether the images of validation choose the epoch or the learning rate of the CNN."""
    return _choosing(job) and _may_choose(job)


def _choosing(job: Job) -> bool:
    return job.recipe.cnn.early_stopping is not None or job.recipe.cnn.reduce_lr is not None


def _may_choose(job: Job) -> bool:
    """Tell whether there are images of validation, and others are scored."""
    return "validation" in job.images.split_names and job.scored_split != "validation"


def _teacher(job: Job) -> str | None:
    """The teacher's file, where there is one; it knows all training images, and not the first few of them."""
    if job.recipe.cnn.teacher is not None and job.few is not None:
        log.info("a few images are trained without the teacher %s", job.recipe.cnn.teacher)
        return None
    return job.recipe.cnn.teacher


def _given(job: Job) -> Trained:
    assert job.model is not None
    feeding = job.feeding
    return Trained(job.given, feeding.pixels, feeding.classes, Path(job.model), {}, True, feeding)


def _epoch_report(report: Callable[[int, int], None], epochs: int) -> Any:
    import keras

    started: list[tuple[int, float]] = []
    said = [-math.inf]

    def begun(epoch: int, logs: Any = None) -> None:
        if not started:  # a training that continues does not begin with the first
            started.append((epoch, time.perf_counter()))

    def finished(epoch: int, logs: dict[str, float]) -> None:
        report(epoch + 1, epochs)
        now = time.perf_counter()
        if now - said[0] < _PAUSE and epoch + 1 < epochs:
            return
        said[0] = now
        first, since = started[0]
        seconds = (now - since) / (epoch + 1 - first) * (epochs - epoch - 1)
        left = f", {timedelta(seconds=round(seconds))} left" if epoch + 1 < epochs else ""
        watched = f", validation {logs['val_accuracy']:.2%}" if "val_accuracy" in logs else ""
        log.info(
            "epoch %d of %d: loss %.4f, accuracy %s%s%s", epoch + 1, epochs, logs["loss"],
            f"{logs['accuracy']:.2%}", watched, left,
        )  # fmt: skip

    return keras.callbacks.LambdaCallback(on_epoch_begin=begun, on_epoch_end=finished)
