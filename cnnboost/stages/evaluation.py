"""hybrid -> scores: the CNN and its boosted heads, side by side on the same rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnnboost.config.published import POSITIVE_SCORES
from cnnboost.errors import RecipeError
from cnnboost.files import write_json
from cnnboost.hybrid import HybridClassifier
from cnnboost.hybrid.modes import check_mode
from cnnboost.images import Split
from cnnboost.images.views import check_tta, mean_over_views
from cnnboost.locks import alone_in
from cnnboost.stages.boosting import fit_boost
from cnnboost.stages.extraction import extract
from cnnboost.stages.figures import draw_scores
from cnnboost.stages.hybrids import fit_hybrid, hybrid_layers
from cnnboost.stages.job import Job
from cnnboost.stages.names import check_names
from cnnboost.stages.on_cluster import (
    count_right_on_cluster,
    proba_on_cluster,
    softmax_on_cluster,
)
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.predictions import predictions_of
from cnnboost.stages.scorer import Scorer
from cnnboost.stages.training import Trained, train

log = logging.getLogger("cnnboost")


def evaluate(
    job: Job,
    layers: Sequence[str] | None = None,
    *,
    modes: Sequence[str] | None = None,
    tta: str | None = None,
    split: str | None = None,
    device: str | None = None,
) -> Outcome:
    """Score the CNN and the heads at some layers on one split; bring what that needs up to date."""
    document, scorer, trained = scores_of(job, layers, modes=modes, tta=tta, split=split, device=device)
    with alone_in(job.reports_dir):  # scores and figures of two commands must not mix
        path = write_json(job.reports_dir / "metrics.json", document)
        return Outcome(document, path, draw_scores(job, document, scorer, trained.history))


def scores_of(
    job: Job,
    layers: Sequence[str] | None = None,
    *,
    modes: Sequence[str] | None = None,
    tta: str | None = None,
    split: str | None = None,
    device: str | None = None,
) -> tuple[dict[str, Any], Scorer, Trained]:
    """Do what `evaluate` does, but write no report."""
    metadata = job.recipe.hybrid
    wanted = [check_mode(mode) for mode in dict.fromkeys(modes or (metadata.mode,)) if mode != "plain"]
    seen_as = check_tta(tta or (metadata.tta if wanted else "none"))
    if wanted:
        job.refuse_cluster(f"mode {wanted[0]}", "--set hybrid.mode=plain scores plain trees alone")
    if seen_as != "none":
        job.refuse_cluster(f"the mean over {seen_as}", "--tta none scores images as they are")
    needs = job.needs()
    scored = job.images[split or job.scored_split]
    _check_published(job, scored.classes)
    names = list(dict.fromkeys(layers or job.recipe.cut.layers))
    of_modes = hybrid_layers(job) if wanted and not (layers and modes) else ()
    check_names(job, [*names, *of_modes], device=device)
    if job.model is not None:
        job.feeding.require()
    trained = train(needs)
    softmax = None
    if wanted or seen_as != "none":
        trained.check_softmax(f"--mode {wanted[0]}" if wanted else f"--tta {seen_as}")
    if trained.no_softmax:
        log.warning(
            "no softmax to compare with, the trees are scored alone: %s. If the model should know these "
            "classes, it is another one, or these are other images",
            trained.no_softmax,
        )
    elif job.client is not None:
        softmax = softmax_on_cluster(job, trained, scored)
    else:
        predict_view = trained.cnn.predict_view_proba
        softmax = _over_chunks(lambda X: mean_over_views(predict_view, X, seen_as), scored)
    splits = list(dict.fromkeys(["train", scored.name] if seen_as == "none" else ["train"]))
    features = extract(needs, names, splits, trained=trained)
    heads = [fit_boost(needs, name, device=device, features=features["train"]) for name in names]
    scorer = Scorer(job, scored, softmax, trained.no_softmax)
    scorer.cnn(trained, None if softmax is None else _train_accuracy(job, trained))
    for head in heads:
        if job.client is not None:
            proba = proba_on_cluster(job, head.path, features[scored.name].stored[head.layer])
        elif seen_as == "none":
            proba = head.boost.predict_proba(features[scored.name].stored[head.layer].features)
        else:
            hybrid = HybridClassifier.from_parts([trained.cnn], head.layer, head.fitted, tta=seen_as)
            proba = _over_chunks(hybrid.predict_proba, scored)
        scorer.head(head, proba)
    for mode in wanted:
        found = fit_hybrid(needs, layers if modes else None, mode=mode, tta=seen_as, device=device)
        predictions = predictions_of(needs, found, scored)
        scorer.head(found.head, predictions.proba, predictions.cross_fitted)
    published = job.recipe.evaluate.published
    document = {
        **scorer.document(job.images, tta=seen_as),
        "images": {name: len(job.images[name]) for name in job.images.split_names},
        "published": published.model_dump(exclude={"printed"}) if published else None,
    }
    return document, scorer, trained


def _check_published(job: Job, classes: Sequence[str]) -> None:
    """Refuse published scores that cannot be measured, before anything slow is done for them."""
    published = job.recipe.evaluate.published
    for element in published.printed if published else ():
        unknown = element.unknown_class(tuple(classes))
        if unknown is not None:
            log.warning(
                "recipe %r: [evaluate.published] %s names the class %r, and the classes are %s: what is "
                "printed of it has no own value beside it; --set evaluate.published=false leaves it out",
                job.recipe.name, element.place, unknown, ", ".join(classes),
            )  # fmt: skip
            break
    names = [name for name in (published.scores if published else ()) if name in POSITIVE_SCORES]
    if names and len(classes) != 2:
        raise RecipeError(
            f"recipe {job.recipe.name!r}: [evaluate.published] scores: {', '.join(names)} "
            f"{'is' if len(names) == 1 else 'are'} of the positive one of two classes, and there are "
            f"{len(classes)} ({', '.join(classes)}); leave it out, or make two classes with data.binary"
        )


def _train_accuracy(job: Job, trained: Trained) -> float:
    """Accuracy on the images that were trained on: how much of them the CNN knows by heart."""
    split = job.images.train
    if job.client is not None:
        return count_right_on_cluster(job, trained, split) / len(split)
    right, start = 0, 0
    for X in split.chunks():
        proba = trained.cnn.predict_proba(X)
        right += int(np.sum(np.argmax(proba, axis=1) == split.y[start : start + len(X)]))
        start += len(X)
    return right / len(split)


def _over_chunks(predict: Callable[[np.ndarray], np.ndarray], split: Split) -> np.ndarray:
    """Return what a function gives for all images of a split, a chunk of them in memory at a time."""
    return np.concatenate([predict(X) for X in split.chunks()])
