"""The CNNs that a hybrid is made of, and the images that each of them has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnnboost.errors import RecipeError
from cnnboost.holdout import folds_of, groups_of, hold_out_every_class
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.hybrid.temperature import log_probabilities
from cnnboost.images import Split
from cnnboost.stages.job import Job
from cnnboost.stages.runs import run_of
from cnnboost.stages.training import Trained, train


@dataclass(frozen=True)
class Networks:
    """Trained CNNs, and which images are whose."""

    trained: list[Trained]
    seen: Split
    unseen: Split | None = None
    unseen_name: str = ""
    own: HeadInputs | None = None


def networks_of(job: Job, *, alone: bool = False) -> Networks:
    """Bring the CNNs of the recipe's hybrid up to date."""
    metadata = job.recipe.hybrid
    split = job.images.train
    validation = job.images.validation if "validation" in job.images.split_names else None
    several = [name for name in ("holdout", "folds") if getattr(metadata, name)]
    several += ["networks"] if metadata.networks > 1 else []
    if alone or not several:
        return Networks([train(job)], split, validation, "validation")
    if job.model is not None:
        raise RecipeError(
            f"{job.model} is one trained CNN, and hybrid.{several[0]} wants others trained on a part of the "
            f"images or with other seeds: leave --model out, or hybrid.{several[0]}"
        )
    if metadata.networks > 1:
        trained = [train(run_of(job, number) if number else job) for number in range(metadata.networks)]
        return Networks(trained, split, validation, "validation")
    images, seed = np.asarray(split.X), job.recipe.compare.seed
    if metadata.holdout:
        rest, held = hold_out_every_class(
            images, split.y, fraction=metadata.holdout, seed=seed, classes=job.images.classes
        )
        part = _on(job, f"holdout-{metadata.holdout:g}-{seed}", split.rows[rest])
        return Networks(
            [train(part)], part.images.train, job.images.select(split.rows[held]).train, "train, held out"
        )
    trained = []
    log_proba = np.empty((len(split), len(job.images.classes)), np.float32)
    groups = groups_of(images)
    parts = folds_of(split.y, groups, metadata.folds, seed, job.images.classes)
    for number, (rest, held) in enumerate(parts):
        trained.append(train(_on(job, f"fold-{number}-of-{metadata.folds}-{seed}", split.rows[rest])))
        log_proba[held] = log_probabilities(trained[-1].cnn.predict_proba(images[held]))
    return Networks(trained, split, own=HeadInputs(log_proba, log_proba, split.y, groups))


def _on(job: Job, name: str, rows: Sequence[int] | np.ndarray) -> Job:
    """Return the job of a CNN that is trained on some of the training images; its files lie apart."""
    others = np.flatnonzero(~np.isin(np.arange(len(job.images)), job.images.train.rows))
    part = replace(job, models=job.models_dir / "parts" / name)
    # What is replaced in a job has no part in the images, which are decoded once for all.
    part.__dict__["images"] = job.images.select(np.sort(np.concatenate([rows, others])))
    return part
