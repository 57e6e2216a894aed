"""recipe -> the CNNs of its hybrid: one, an ensemble, or those that are trained on a part of the images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnnboost.errors import RecipeError
from cnnboost.holdout import folds_of, groups_of, hold_out_every_class
from cnnboost.hybrid.bag import announced, bag_folds
from cnnboost.hybrid.calibration import log_probabilities
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.images import Split
from cnnboost.stages.job import Job, run_of
from cnnboost.stages.training import Trained, train

log = logging.getLogger("cnnboost")

VALIDATION = "validation"
HELD_OUT = "train, held out"
WITH_VALIDATION = f"{HELD_OUT}, and {VALIDATION}"
"""What heads are fitted on that see images which their CNN was not trained on."""


@dataclass(frozen=True)
class Networks:
    """Trained CNNs, and which images each was trained on."""

    trained: list[Trained]
    seen: Split
    unseen: Split | None = None
    unseen_name: str = ""
    own: HeadInputs | None = None
    members: tuple[Member, ...] = ()
    """Of a bagged hybrid, each with a head of its own."""


@dataclass(frozen=True)
class Member:
    """The CNN of a fold, the job whose files it is among, and the images of the fold."""

    job: Job
    networks: Networks
    held: Split


def networks_of(job: Job, *, alone: bool = False) -> Networks:
    """Bring the CNNs of the recipe's hybrid up to date."""
    metadata = job.recipe.hybrid
    split = job.images.train
    validation = job.images.validation if "validation" in job.images.split_names else None
    several = [name for name in ("holdout", "folds") if getattr(metadata, name)]
    several += ["networks"] if metadata.networks > 1 else []
    if alone or not several:
        return Networks([train(job)], split, validation, VALIDATION)
    if job.model is not None:
        raise RecipeError(
            f"{job.model} is one trained CNN, and hybrid.{several[0]} wants others trained on a part of the "
            f"images or with other seeds: leave --model out, or hybrid.{several[0]}"
        )
    if metadata.networks > 1:
        trained = [train(run_of(job, number) if number else job) for number in range(metadata.networks)]
        return Networks(trained, split, validation, VALIDATION)
    if Path(job.recipe.cnn.architecture).suffix:
        log.warning(
            "[cnn] architecture = %r: trainings on a part of the images start from the weights of this file; "
            "if these were trained on the same images, no image is unseen, and heads learn little that holds "
            "elsewhere",
            job.recipe.cnn.architecture,
        )
    images, seed = np.asarray(split.X), job.recipe.compare.seed
    if metadata.holdout:
        rest, held = hold_out_every_class(
            images, split.y, fraction=metadata.holdout, seed=seed, classes=job.images.classes
        )
        part = _on(job, f"holdout-{metadata.holdout:g}-{seed}", split.rows[rest])
        return Networks([train(part)], part.images.train, job.images.select(split.rows[held]).train, HELD_OUT)
    if metadata.bagged:
        return _bag(job, split, validation)
    trained = []
    log_proba = np.empty((len(split), len(job.images.classes)), np.float32)
    groups = groups_of(images)
    parts = folds_of(split.y, groups, metadata.folds, seed, job.images.classes)
    for number, (rest, held) in announced(parts):
        trained.append(train(_fold(job, number, split.rows[rest])))
        log_proba[held] = log_probabilities(trained[-1].cnn.predict_proba(images[held]))
    return Networks(trained, split, own=HeadInputs(log_proba, log_proba, split.y, groups))


def _bag(job: Job, split: Split, validation: Split | None) -> Networks:
    """Train a CNN outside each fold, and say which images its head may be fitted on."""
    table, images = job.recipe.hybrid, np.asarray(split.X)
    more, name = np.empty(0, np.int64), HELD_OUT
    if table.fit_on == "both":
        if validation is None:
            raise RecipeError(
                "[hybrid] fit_on = 'both' fits heads on the images of validation too, and there are none: "
                "give data.validation_fraction, or fit_on = 'held-out'"
            )
        more, name = validation.rows, WITH_VALIDATION
    members = []
    parts = bag_folds(images, split.y, table.folds, job.recipe.compare.seed, job.images.classes)
    for number, (rest, held) in announced(parts):
        part = _fold(job, number, split.rows[rest])
        unseen = _together(job, np.concatenate([split.rows[held], more]))
        networks = Networks([train(part)], part.images.train, unseen, name)
        members.append(Member(part, networks, _together(job, split.rows[held])))
    trained = [member.networks.trained[0] for member in members]
    return Networks(trained, split, unseen_name=name, members=tuple(members))


def _together(job: Job, rows: np.ndarray) -> Split:
    """Return images of any splits as one."""
    images = job.images.select(np.sort(rows))
    return replace(images, splits=np.full(len(images), "train")).train


def _fold(job: Job, number: int, rows: np.ndarray) -> Job:
    """Return the job of the CNN that is trained outside a fold."""
    return _on(job, f"fold-{number}-of-{job.recipe.hybrid.folds}-{job.recipe.compare.seed}", rows)


def _on(job: Job, name: str, rows: Sequence[int] | np.ndarray) -> Job:
    """Return the job of a CNN that is trained on some of the training images; its files lie apart."""
    others = np.flatnonzero(~np.isin(np.arange(len(job.images)), job.images.train.rows))
    images = job.images.select(np.sort(np.concatenate([rows, others])))
    return job.with_images(images, models=job.models_dir / "parts" / name)
