"""Trial: one version of a recipe, walked through the line and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnboost.config import Recipe, Search, changed
from cnnboost.errors import DataError
from cnnboost.files import digest_of
from cnnboost.images import ImageSet
from cnnboost.metrics.scores import score
from cnnboost.stages import Job, extract, fit_boost, train
from cnnboost.stages.job import labelled_digest

_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True)
class Judged:
    """What a trial is worth."""

    value: float
    interval: tuple[float, float] | None
    history: dict[str, list[float]] | None


def inner_job(job: Job, metadata: Search, recipe: Recipe, folder: Path) -> Job:
    """Return the job of the trials: it has a part of the train split, and some of that is for judging."""
    recipe = recipe.model_copy(
        update={"evaluate": recipe.evaluate.model_copy(update={"split": "validation"})}
    )
    outer = job if recipe.data == job.recipe.data else replace(job, recipe=recipe)
    inner = replace(job, recipe=recipe, models=folder, force=False)
    inner.__dict__["images"] = _inner_images(outer.images, metadata)
    return inner


def _inner_images(images: ImageSet, metadata: Search) -> ImageSet:
    images = images.select(images.train.rows)
    if metadata.part < 1:
        try:
            # Of the two sides of a split class by class, the one that is left for fitting.
            rows = images.with_validation(1 - metadata.part, metadata.seed).train.rows
        except DataError:
            raise DataError(
                f"{images.source}: part = {metadata.part:g} of {len(images)} train images does not leave one "
                "of each class; give a larger part"
            ) from None
        images = images.select(rows)
    return images.with_validation(metadata.fraction, metadata.seed)


def judge(job: Job, metadata: Search, values: Mapping[str, Any]) -> Judged:
    """Walk the line with some values and judge what comes out on the validation split."""
    recipe = changed(job.recipe, values)
    images = job.images
    # A CNN has a folder of its own; heads on it share that.
    facts_of_cnn = {"cnn": recipe.digest("data", "cnn"), "train": labelled_digest(images.train)}
    trial = replace(job, recipe=recipe.model_copy(update={"name": digest_of(facts_of_cnn)[:16]}))
    trial.__dict__["images"] = images
    trained = train(trial)
    split = images.validation
    if metadata.target == "cnn":
        probabilities = trained.cnn.predict_proba(split.X)
    else:
        found = extract(trial, [metadata.target], ["train", "validation"], trained=trained)
        head = fit_boost(trial, metadata.target, features=found["train"])
        probabilities = head.boost.predict_proba(found["validation"].stored[metadata.target].X)
    confidence = recipe.evaluate.confidence
    scores = score(split.y, probabilities, split.classes, confidence=confidence, n_resamples=100)
    estimate = getattr(scores, metadata.metric)
    return Judged(
        value=float(estimate.value),
        interval=estimate.interval if metadata.metric == "accuracy" else None,
        history=_curves(trained.history) if metadata.target == "cnn" else None,
    )


def _curves(history: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [float(value) for value in history[name]] for name in _CURVES if name in history}
