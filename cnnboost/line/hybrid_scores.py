"""hybrid, images -> the probabilities that it is scored by."""

from __future__ import annotations

import logging

import numpy as np

from cnnboost.cnn.inference import CHUNKS, Inference
from cnnboost.features.cut import Cut
from cnnboost.hybrid.crossfit import CrossFit
from cnnboost.hybrid.modes import Seen
from cnnboost.images import Split
from cnnboost.images.views import views
from cnnboost.line.hybrids import FOLDS, Hybrid, eyes_of, hybrid_boost
from cnnboost.line.job import Job

log = logging.getLogger("cnnboost")


def image_proba(hybrid: Hybrid, X: np.ndarray) -> np.ndarray:
    """Give the probabilities of images.

    Parameters
    ----------
    hybrid : Hybrid
        In `plain` without views its CNN need not have class probabilities of its own.
    X : ndarray, (n, height, width, channels)

    Returns
    -------
    ndarray of float32, (n, n_classes)
    """
    if hybrid.head.mode != "plain" or hybrid.tta != "none":
        return hybrid.classifier.predict_proba(X)
    trained = hybrid.trained
    trunk = Inference(Cut(trained.model).trunk([hybrid.head.layer]), trained.pixels)
    parts = [
        hybrid.head.boost.predict_proba(trunk(X[start : start + CHUNKS[-1]])[0])
        for start in range(0, len(X), CHUNKS[-1])
    ]
    return np.concatenate(parts)


def scored_proba(job: Job, hybrid: Hybrid, split: Split) -> tuple[np.ndarray, bool]:
    """Give the probabilities to score a hybrid by: no image decides anything about its own.

    Parameters
    ----------
    job : Job
    hybrid : Hybrid
    split : Split

    Returns
    -------
    proba : ndarray of float32, (n, n_classes)
    cross_fitted : bool
        True where temperature, rounds or weight were chosen on these images: then they are chosen anew for
        each fifth of them, on the others.
    """
    if hybrid.head.details.get("chosen_on") != split.name:
        return image_proba(hybrid, split.X), False
    facts, seed = job.recipe.hybrid, job.recipe.compare.seed
    log.info("%s chose temperature and rounds too; its scores are cross-fitted", split.name)
    eyes = eyes_of(hybrid.networks, hybrid.head.layers, facts.norm)
    images = np.asarray(split.X)
    looks = [Seen(*eyes.all(view), split.y) for view in views(images, hybrid.tta)]
    fit = CrossFit(looks, images, len(split.classes), folds=FOLDS, seed=seed)
    grown_on = None
    if facts.fit_on == "train":
        part = hybrid.networks.seen
        grown_on = eyes.seen(part.X, part.y, facts.views, facts.augment, seed)
    boost = hybrid_boost(job, hybrid.head.mode, job.recipe.boost.seed)
    return fit.head(hybrid.head.mode, boost, grown_on).proba, True
