"""Job: one recipe, its images, and the folders its outputs go to."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from cnnboost.cnn.model_file import read_model
from cnnboost.config import Recipe, changed
from cnnboost.errors import DataError, ModelError, ParameterError, RecipeError
from cnnboost.escape import counted, csv_cell
from cnnboost.files import digest_of, disk_error, write_bytes
from cnnboost.images import ImageSet, Split, load_images
from cnnboost.stages.feeding import Feeding, find_feeding
from cnnboost.urls import without_secrets

log = logging.getLogger("cnnboost")

MOST_DECODED = 32 << 30
"""Bytes of decoded images that are kept on the disk for a model file, unless `image_cache` says otherwise."""
SMOKE_IMAGES, SMOKE_ROUNDS, SMOKE_RESAMPLES = 24, 5, 100
"""Images of each class and split; boosting rounds; bootstrap resamples."""

_READ = ("source_images", "images", "given", "feeding")
"""What a job reads once."""

Report = Callable[[int, int], None]
ProgressOf = Callable[[str, str], AbstractContextManager[Report]]


@contextmanager
def no_progress(what: str, unit: str) -> Iterator[Report]:
    """Report progress to nobody."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Job:
    """One recipe with everything around it that is not part of the experiment."""

    recipe: Recipe
    data: str | os.PathLike[str] | None = None
    models: Path = Path("models")
    reports: Path = Path("reports")
    model: Path | None = None
    pixels: str | None = None
    classes: tuple[str, ...] | None = None
    force: bool = False
    on_bad: Literal["stop", "skip"] = "stop"
    few: int | None = None
    memory: str | int | None = None
    image_cache: bool | None = None
    client: Any = None
    """A `distributed.Client`: its workers extract, score and fit plain trees."""
    progress: ProgressOf = no_progress

    @property
    def models_dir(self) -> Path:
        """Folder of the recipe's CNN, features and heads."""
        return self.models / self.recipe.name

    @property
    def bundle_dir(self) -> Path:
        """Folder of the recipe's bundle, which holds a `cnn.keras` of its own.

        It is that of the recipe's CNN, unless the hybrid's networks are others, trained on a part of the
        images.
        """
        apart = self.recipe.hybrid.holdout or self.recipe.hybrid.folds
        return self.models_dir / "bundle" if apart else self.models_dir

    @property
    def reports_dir(self) -> Path:
        """Folder of the recipe's scores and figures."""
        return self.reports / self.recipe.name

    @property
    def source(self) -> str:
        """Where the images are."""
        source = self.data
        if source is None:
            source = self.recipe.source or os.environ.get("CNNBOOST_DATA") or None
        if source is None:
            raise DataError(
                f"recipe {self.recipe.name!r} needs images: give --data PATH (a folder of class folders, a "
                ".zip of it, fer2013.csv, .npz, ...) or set CNNBOOST_DATA"
            )
        return os.fspath(source)

    @property
    def source_shown(self) -> str:
        """Where the images are, for messages: without the password or signature of a URL."""
        return without_secrets(self.source)

    def command(self, name: str) -> str:
        """Write a command of this recipe, for a message."""
        return f"cnnboost {name} -r {self.recipe.name}"

    @cached_property
    def images(self) -> ImageSet:
        """The image set, as the recipe wants it, the classes in the order of the outputs of a given model."""
        images = self.source_images
        if self.model is not None:
            images = images.with_classes(self.feeding.classes)
        return images if self.few is None else _thin(images, self.few)

    def with_images(self, images: ImageSet, **changes: Any) -> Self:
        """Return the job with images that are decoded already, and some of its fields changed."""
        return replace(self, **changes).knowing(images=images)

    def knowing(self, **read: Any) -> Self:
        """Take what was read already for what the job would read: `images`, `given` and the like."""
        self.__dict__.update(read)
        return self

    @cached_property
    def feeding(self) -> Feeding:
        """How the model file that was given is fed and read."""
        assert self.model is not None
        images = self.source_images
        classes = images.classes if self.classes is None and self.recipe.data.classes else self.classes
        record = self.models_dir / "given.json"
        return find_feeding(self.given, Path(self.model), images, self.pixels, classes, record)

    @cached_property
    def source_images(self) -> ImageSet:
        """The image set with its own order of classes; decoded once, memory-mapped from then on."""
        wanted = self.recipe.data.model_dump(exclude={"source"})
        if self.model is not None:
            height, width, depth = self.given.input_shape[1:]
            if depth not in (1, 3, None):
                raise ModelError(
                    f"{self.model} takes images of {depth} channels; image files are read as grey (1) or "
                    "colour (3). In Python, CNNFeatures and HybridClassifier take arrays of any channels"
                )
            wanted |= {"size": (height, width)} if height and width else {}
            wanted |= {"channels": depth} if depth else {}
        images = self.load(**wanted, stream_above=self._stream_above())
        self.write_bad(images)
        return images

    def load(self, **wanted: Any) -> ImageSet:
        """Load images of the source, as the parameters of `load_images` say."""
        with self.progress("decode images", "image") as report:
            return load_images(self.source, **wanted, on_bad=self.on_bad, progress=report)

    def _stream_above(self) -> int | None:
        """Return the bytes of decoded images above which none are cached; None to cache all."""
        if self.image_cache is False and self.model is None:
            raise RecipeError(
                "--no-image-cache has images go through a network that is trained already: name it with "
                "--model FILE. A training goes over its images many times, and decodes them once for that"
            )
        if self.model is None or self.image_cache:
            return None
        return MOST_DECODED if self.image_cache is None else 0

    @cached_property
    def given(self) -> Any:
        """The Keras model of the file that was given, read once."""
        assert self.model is not None
        return read_model(self.model)

    @property
    def scored_split(self) -> str:
        """The split that is scored: what the recipe says, else test where there is one, else validation."""
        wanted = self.recipe.evaluate.split
        if wanted is None:
            return "test" if "test" in self.images.split_names else "validation"
        return self.images[wanted].name

    def refuse_cluster(self, what: str, remedy: str) -> None:
        """Refuse what is done on one machine only."""
        if self.client is not None:
            raise ParameterError(f"{what} is done on one machine; {remedy}, or leave --dask out")

    def needs(self) -> Job:
        """Return the job for what an arrow needs: brought up to date, but never redone by `force`."""
        if not self.force:
            return self
        read = {name: self.__dict__[name] for name in _READ if name in self.__dict__}
        return replace(self, force=False).knowing(**read)

    def write_bad(self, images: ImageSet) -> None:
        """Write the inputs that were left out to a file of the reports, or remove it if there are none."""
        path = self.reports_dir / "bad_inputs.csv"
        if not images.bad:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise disk_error(path, error) from error
            return
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["place", "reason"])
        writer.writerows([csv_cell(place), csv_cell(reason)] for place, reason in images.bad)
        write_bytes(path, table.getvalue().encode("utf-8", "surrogateescape"))
        log.warning("%s left out; see %s", counted(len(images.bad), "input was", "inputs were"), path)


def _thin(images: ImageSet, few: int) -> ImageSet:
    """Keep the first images of every class and split."""
    rows = []
    for name in images.split_names:
        split = images[name]
        for code in range(len(images.classes)):
            rows.append(split.rows[split.y == code][:few])
    return images.select(np.sort(np.concatenate(rows)))


def labelled_digest(split: Split) -> str:
    """Hash images and labels of a split."""
    return digest_of({"pixels": split.digest, "classes": split.classes, "labels": split.y.tolist()})


@dataclass(frozen=True)
class _Run(Job):
    """One of the runs: its CNN, features and heads go to a folder of its seed."""

    @property
    def models_dir(self) -> Path:
        return self.models / self.recipe.name / "repeats" / str(self.recipe.cnn.seed)


def run_of(job: Job, number: int) -> Job:
    """Return the job of one of several runs: seeds of `[cnn]` and `[boost]` so much higher, files apart."""
    recipe = job.recipe
    tables = {
        name: getattr(recipe, name).model_copy(update={"seed": getattr(recipe, name).seed + number})
        for name in ("cnn", "boost")
    }
    metadata = {field.name: getattr(job, field.name) for field in fields(Job)}
    # Decoded once for all runs; no seed that changes here has a part in it.
    return _Run(**metadata).with_images(job.images, recipe=recipe.model_copy(update=tables))


def smoke(job: Job) -> Job:
    """Shrink a job to a few images, one epoch and a few rounds; its outputs go to folders of their own."""
    boost = job.recipe.boost
    less = {
        "cnn.epochs": 1,
        "cnn.validation_freq": 1,
        "boost.n_estimators": min(SMOKE_ROUNDS, boost.n_estimators),
        "boost.early_stopping_rounds": None,
        "evaluate.resamples": SMOKE_RESAMPLES,
    }
    small = changed(job.recipe, less).model_copy(update={"name": f"{job.recipe.name}-smoke"})
    return replace(job, recipe=small, few=SMOKE_IMAGES)
