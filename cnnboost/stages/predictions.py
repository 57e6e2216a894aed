"""hybrid, images -> the probabilities that it is scored by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnnboost.cnn.inference import Inference
from cnnboost.features.cut import Cut
from cnnboost.holdout import groups_of
from cnnboost.hybrid.crossfit import BagFit, CrossFit
from cnnboost.hybrid.modes import FOLDS, HeadInputs
from cnnboost.images import Split
from cnnboost.images.pixels import CHUNKS
from cnnboost.images.views import views
from cnnboost.stages.hybrids import Hybrid, extractor_of, hybrid_boost
from cnnboost.stages.job import Job
from cnnboost.stages.networks import VALIDATION, WITH_VALIDATION, Member, Networks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cnnboost.hybrid.modes import FittedMode

log = logging.getLogger("cnnboost")


def image_proba(hybrid: Hybrid, X: np.ndarray) -> np.ndarray:
    """Give the probabilities of images."""
    if hybrid.head.mode != "plain" or hybrid.tta != "none":
        return hybrid.classifier.predict_proba(X)
    trained = hybrid.trained
    trunk = Inference(Cut(trained.model).trunk([hybrid.head.layer]), trained.pixels)
    step = CHUNKS[-1]
    parts = [
        hybrid.head.boost.predict_proba(trunk(X[start : start + step])[0]) for start in range(0, len(X), step)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Predictions:
    """What a hybrid is scored by on some images."""

    proba: np.ndarray
    heads: Sequence[tuple[NDArray[np.intp], Sequence[FittedMode]]] = ()

    @property
    def cross_fitted(self) -> bool:
        """Whether others than the hybrid's own head predicted."""
        return bool(self.heads)


def predictions_of(job: Job, hybrid: Hybrid, split: Split) -> Predictions:
    """Score images so that none decides anything about its own score."""
    chosen_on = hybrid.head.details.get("chosen_on")
    if chosen_on != split.name and (chosen_on, split.name) != (WITH_VALIDATION, VALIDATION):
        return Predictions(image_proba(hybrid, split.X))
    seed = job.recipe.compare.seed
    log.info("%s chose temperature and rounds too; its scores are cross-fitted", split.name)
    fit, grown_on = cross_fit(
        job, hybrid.networks, hybrid.head.layers, split, tta=hybrid.tta, folds=FOLDS, seed=seed
    )
    boost = hybrid_boost(job, hybrid.head.mode, job.recipe.boost.seed, hybrid.device)
    found = fit.head(hybrid.head.mode, boost, grown_on)
    return Predictions(found.proba, found.heads)


def cross_fit(
    job: Job, networks: Networks, layers: Sequence[str], split: Split, *, tta: str, folds: int, seed: int
) -> tuple[CrossFit | BagFit, HeadInputs | None]:
    """Look at images that heads are to be cross-fitted on, as `[hybrid]` says."""
    if networks.members:
        members = [
            _member_fit(job, member, layers, split, tta=tta, folds=folds, seed=seed)
            for member in networks.members
        ]
        return BagFit(members), None
    metadata = job.recipe.hybrid
    extractor = extractor_of(job, [trained.cnn for trained in networks.trained], layers)

    def grown_on(part: Split) -> HeadInputs:
        return extractor.grown(np.asarray(part.X), part.y, metadata.views, metadata.augment, seed)

    on_train = metadata.fit_on == "train"
    images = np.asarray(split.X)
    grown = None if on_train else grown_on(split)
    scored = [HeadInputs(*extractor.all(view), split.y) for view in views(images, tta)]
    fit = CrossFit(scored, images, len(split.classes), folds=folds, seed=seed, grown=grown, memory=job.memory)
    return fit, grown_on(networks.seen) if on_train else None


def _member_fit(
    job: Job, member: Member, layers: Sequence[str], split: Split, *, tta: str, folds: int, seed: int
) -> CrossFit:
    """Return the cross-fit of a member of a bagged hybrid; heads are fitted on the images of its fold too."""
    table, images = job.recipe.hybrid, np.asarray(split.X)
    extractor = extractor_of(member.job, [member.networks.trained[0].cnn], layers)
    # Of the images that are scored each fold is left out in turn; any others can be fitted on as they are.
    in_turn = table.fit_on == "both" and split.name == VALIDATION
    others = member.held if in_turn else member.networks.unseen
    assert others is not None
    groups = groups_of(np.concatenate([images, np.asarray(others.X)]))

    def grown_on(part: Split, numbers: NDArray[np.intp]) -> HeadInputs:
        found = extractor.grown(np.asarray(part.X), part.y, table.views, table.augment, seed)
        return found._replace(groups=np.tile(numbers, table.views))

    return CrossFit(
        [HeadInputs(*extractor.all(view), split.y) for view in views(images, tta)],
        images,
        len(split.classes),
        folds=folds if in_turn else 0,
        seed=seed,
        grown=grown_on(split, groups[: len(images)]) if in_turn else None,
        more=grown_on(others, groups[len(images) :]),
        groups=groups[: len(images)],
        memory=job.memory,
    )
