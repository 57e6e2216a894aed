"""A recipe on a few images, one epoch and a few rounds: the same line, to see that it works at all."""

from __future__ import annotations

from dataclasses import replace

from cnnboost.stages.job import Job

IMAGES, ROUNDS, RESAMPLES = 24, 5, 100
"""Images of each class and split; boosting rounds; bootstrap resamples."""


def smoke(job: Job) -> Job:
    """Shrink a job; its outputs go to folders of their own."""
    recipe = job.recipe
    small = recipe.model_copy(
        update={
            "name": f"{recipe.name}-smoke",
            "cnn": recipe.cnn.model_copy(update={"epochs": 1}),
            "boost": recipe.boost.model_copy(
                update={"n_estimators": min(ROUNDS, recipe.boost.n_estimators), "early_stopping_rounds": None}
            ),
            "evaluate": recipe.evaluate.model_copy(update={"resamples": RESAMPLES}),
        }
    )
    return replace(job, recipe=small, few=IMAGES)
