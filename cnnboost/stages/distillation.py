"""images -> teacher: what trained CNNs say about the training images, for a student to follow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from cnnboost.cnn.teacher import made_from, write_teacher
from cnnboost.errors import DataError, ParameterError
from cnnboost.files import file_digest
from cnnboost.hybrid.calibration import log_probabilities
from cnnboost.images import ImageSet, Split
from cnnboost.images.views import check_tta, mean_over_views
from cnnboost.locks import file_lock
from cnnboost.stages.job import Job
from cnnboost.stages.stage import Stage
from cnnboost.stages.training import Trained, train

log = logging.getLogger("cnnboost")

FORMAT = 1


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's file."""

    path: Path
    networks: tuple[Path, ...]
    tta: str
    images: int
    classes: tuple[str, ...]
    cached: bool


def distill(
    job: Job, models: Sequence[Path] = (), *, tta: str = "none", out: Path | None = None
) -> SoftTargets:
    """Bring the teacher's file for the training images of a recipe up to date.

    Log-probabilities are averaged over views and networks and brought back to a sum of 1 (the geometric mean
    of probabilities). A network that takes images of another size or other channels is given such; the file
    is for a student that takes them as the recipe states.
    """
    check_tta(tta)
    path = job.models_dir / "teacher.npz" if out is None else Path(out)
    if path.suffix != ".npz":
        raise ParameterError(f"out={str(path)!r}: the file of a teacher ends in .npz")
    followed = job.recipe.cnn.teacher
    if not models and followed is not None and path.resolve() == Path(followed).resolve():
        raise ParameterError(
            f"{path} is the teacher that the recipe's own CNN follows; name another file with --out, or "
            "other networks with --model"
        )
    jobs = [replace(job.needs(), model=model, classes=job.images.classes) for model in models] or [
        job.needs()
    ]
    networks = [(train(one), one.images) for one in jobs]
    for trained, images in networks:
        _check_same(job.images, images, trained)
    return Distillation(job, networks, path, tta).run()


class Distillation(Stage[SoftTargets]):
    """The file of a teacher for the training images of a recipe."""

    def __init__(self, job: Job, networks: list[tuple[Trained, ImageSet]], path: Path, tta: str) -> None:
        self.job, self.networks, self.path, self.tta, self.force = job, networks, path, tta, job.force

    def inputs(self) -> dict[str, Any]:
        """Return the networks, and the images as each of them sees them."""
        return {
            "format": FORMAT,
            "networks": [[file_digest(trained.path), trained.pixels] for trained, _ in self.networks],
            "seen": [images.train.digest for _, images in self.networks],
            "images": self.job.images.train.digest,
            "classes": self.job.images.classes,
            "tta": self.tta,
        }

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes away; the file may lie where no lock belongs."""
        return file_lock(self.job.models_dir / "teacher.lock", self.path)

    def recorded(self) -> str | None:
        """Return the digest in the file."""
        return made_from(self.path)

    def load(self) -> SoftTargets:
        """Describe the file on the disk."""
        train = self.job.images.train
        networks = tuple(trained.path for trained, _ in self.networks)
        return SoftTargets(self.path, networks, self.tta, len(train), train.classes, True)

    def build(self) -> SoftTargets:
        """Ask the networks, and write their mean."""
        log_proba = [
            _log_probabilities_of(self.job, trained, images.train, self.tta)
            for trained, images in self.networks
        ]
        mean = log_softmax(np.mean(log_proba, axis=0, dtype=np.float64), axis=1)
        write_teacher(self.path, mean, self.job.images.train.X, self.job.images.classes, self.made_from)
        return replace(self.load(), cached=False)


def _log_probabilities_of(job: Job, trained: Trained, split: Split, tta: str) -> np.ndarray:
    cnn = trained.cnn

    def predict(X: np.ndarray) -> np.ndarray:
        return log_probabilities(cnn.predict_view_proba(X))

    parts = []
    with job.progress(f"distill {trained.path.name}", "image") as report:
        for X in split.chunks():
            parts.append(mean_over_views(predict, X, tta))
            report(sum(map(len, parts)), len(split))
    return np.concatenate(parts)


def _check_same(wanted: ImageSet, seen: ImageSet, trained: Trained) -> None:
    """Refuse images that were read at another size and came out as other images."""
    if not np.array_equal(wanted.train.ids, seen.train.ids):
        raise DataError(
            f"{trained.path}: at the size that this network takes, {len(seen.train)} training images can be "
            f"read, and {len(wanted.train)} at the size of the recipe. `cnnboost inspect` names those that "
            "cannot; leave them out"
        )
