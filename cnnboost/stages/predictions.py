"""hybrid, images -> the probabilities that it is scored by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnnboost.cnn.inference import CHUNKS, Inference
from cnnboost.features.cut import Cut
from cnnboost.hybrid.crossfit import CrossFit
from cnnboost.hybrid.feature_extractor import FeatureExtractor
from cnnboost.hybrid.modes import HeadInputs
from cnnboost.images import Split
from cnnboost.images.views import views
from cnnboost.stages.hybrids import FOLDS, Hybrid, extractor_of, hybrid_boost
from cnnboost.stages.job import Job

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
    parts = [
        hybrid.head.boost.predict_proba(trunk(X[start : start + CHUNKS[-1]])[0])
        for start in range(0, len(X), CHUNKS[-1])
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Predictions:
    """What a hybrid is scored by on some images."""

    proba: np.ndarray
    heads: Sequence[tuple[NDArray[np.intp], FittedMode]] = ()

    @property
    def cross_fitted(self) -> bool:
        """Whether others than the hybrid's own head predicted."""
        return bool(self.heads)


def predictions_of(job: Job, hybrid: Hybrid, split: Split) -> Predictions:
    """Score images so that none decides anything about its own score."""
    if hybrid.head.details.get("chosen_on") != split.name:
        return Predictions(image_proba(hybrid, split.X))
    seed = job.recipe.compare.seed
    log.info("%s chose temperature and rounds too; its scores are cross-fitted", split.name)
    extractor = extractor_of(job, [trained.cnn for trained in hybrid.networks.trained], hybrid.head.layers)
    fit, grown_on = cross_fit(
        job, extractor, split, hybrid.networks.seen, tta=hybrid.tta, folds=FOLDS, seed=seed
    )
    boost = hybrid_boost(job, hybrid.head.mode, job.recipe.boost.seed, hybrid.device)
    found = fit.head(hybrid.head.mode, boost, grown_on)
    return Predictions(found.proba, found.heads)


def cross_fit(
    job: Job, extractor: FeatureExtractor, split: Split, train: Split, *, tta: str, folds: int, seed: int
) -> tuple[CrossFit, HeadInputs | None]:
    """Look at images that heads are to be cross-fitted on, as `[hybrid]` says."""
    metadata = job.recipe.hybrid

    def grown_on(part: Split) -> HeadInputs:
        return extractor.grown(np.asarray(part.X), part.y, metadata.views, metadata.augment, seed)

    on_train = metadata.fit_on == "train"
    images = np.asarray(split.X)
    scored = [HeadInputs(*extractor.all(view), split.y) for view in views(images, tta)]
    grown = None if on_train else grown_on(split)
    fit = CrossFit(scored, images, len(split.classes), folds=folds, seed=seed, grown=grown)
    return fit, grown_on(train) if on_train else None
