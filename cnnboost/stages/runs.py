"""One of several runs of a recipe: the same images, other seeds, files apart."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from cnnboost.stages.job import Job


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
    run = _Run(**{**metadata, "recipe": recipe.model_copy(update=tables)})
    # Decoded once for all runs; no seed that changes here has a part in it.
    run.__dict__["images"] = job.images
    return run
