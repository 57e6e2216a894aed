"""Every name that a recipe or a command states, checked before anything slow is done for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnboost.boost import resolve_device
from cnnboost.boost.params import check_parameters, check_with_xgboost, xgboost_parameters
from cnnboost.errors import RecipeError
from cnnboost.features.cut import Cut
from cnnboost.images.augment import Augmentation
from cnnboost.images.views import check_tta
from cnnboost.stages.job import Job
from cnnboost.stages.training import Training, untrained


def check_names(
    job: Job,
    layers: Sequence[str] = (),
    *,
    tta: str | None = None,
    device: str | None = None,
    heads: bool = True,
) -> None:
    """Refuse what is unknown, as long as nothing was trained for it.

    Where the CNN is still to be trained, its network is built, which takes no time, and its layers are asked.
    """
    recipe = job.recipe
    if tta is not None:
        check_tta(tta)
    if heads:
        resolve_device(device or recipe.boost.device)
        _check_boost(job)
        if recipe.hybrid.augment is not None:
            Augmentation.of(recipe.hybrid.augment)
    if job.model is None:
        _check_weights(job, "cnn", recipe.cnn.class_weight)
    if job.model is None and Training(job).is_current():
        return  # its layers are asked at once
    cut = Cut(untrained(job) if job.model is None else job.given)
    for layer in layers:
        cut.find(layer)


def _check_boost(job: Job) -> None:
    metadata = job.recipe.boost.model_dump()
    metadata["random_state"] = metadata.pop("seed")
    check_parameters(metadata)
    if metadata["xgb_params"]:
        wanted = xgboost_parameters(
            metadata, n_classes=len(job.images.classes), seed=0, device="cpu", n_threads=1
        )
        check_with_xgboost(wanted, metadata["xgb_params"], 1)
    _check_weights(job, "boost", job.recipe.boost.class_weight)
    _check_weights(job, "hybrid.boost", job.recipe.hybrid.boost.get("class_weight"))


def _check_weights(job: Job, table: str, weights: Any) -> None:
    known = job.images.classes
    unknown = [name for name in weights if name not in known] if isinstance(weights, Mapping) else []
    if unknown:
        raise RecipeError(
            f"[{table}] class_weight names an unknown class {unknown[0]!r}; the classes are "
            f"{', '.join(known)}"
        )
