"""other images -> scores: a trained hybrid as it is, on photographs that it was not trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnnboost.boost import resolve_device
from cnnboost.cnn.inference import Inference
from cnnboost.errors import FeatureError, ParameterError
from cnnboost.features.cut import Cut
from cnnboost.files import read_json, write_json
from cnnboost.hybrid.feature_extractor import layers_name
from cnnboost.images import ImageSet, Split
from cnnboost.stages.boosting import Head, load_cached_heads
from cnnboost.stages.evaluation import evaluate
from cnnboost.stages.figures import draw_scores
from cnnboost.stages.hybrids import hybrid_layers
from cnnboost.stages.job import Job
from cnnboost.stages.on_cluster import refuse_cluster
from cnnboost.stages.other_images import OtherImages, find_other_images, train_instead
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.scorer import Scorer

log = logging.getLogger("cnnboost")


def evaluate_source(
    job: Job,
    layers: Sequence[str] | None = None,
    *,
    modes: Sequence[str] | None = None,
    tta: str | None = None,
    split: str | None = None,
    device: str | None = None,
) -> Outcome:
    """Score on the images of the job's source: its own as `evaluate` does, others with what is there."""
    other = find_other_images(job)
    if other is None:
        return evaluate(job, layers, modes=modes, tta=tta, split=split, device=device)
    refuse_cluster(job, "scoring images that the CNN was not trained on", "these are few, as a rule")
    if [mode for mode in modes or () if mode != "plain"] or tta not in (None, "none"):
        raise ParameterError(
            "--mode and --tta: images that the CNN was not trained on are scored by plain heads and as they "
            "are; leave both out, or score the hybrid that 'cnnboost export' writes: evaluate --model BUNDLE"
        )
    if device is not None:
        resolve_device(device)
    return evaluate_other(job, other, layers, split=split)


def evaluate_other(
    job: Job, other: OtherImages, layers: Sequence[str] | None = None, *, split: str | None = None
) -> Outcome:
    """Score a trained CNN and its heads on other images; train nothing, and change nothing of the recipe's.

    Scores and figures go to `other/<name of the source>/` in the recipe's folder of reports.
    """
    rows = other.rows(split)
    heads, left_out = load_cached_heads(job, other.trained, other.trained_on, layers)
    log.info(
        "nothing is trained: %s, trained on %d other images, is scored on %d images of %s as it is; to "
        "train on these instead: %s",
        other.trained.path, other.trained_on.train_images, len(rows), job.source_shown, train_instead(job),
    )  # fmt: skip
    for known in other.images.classes:
        names = [name for name, of in other.counted_as.items() if of == known != name]
        if names:
            log.info("counted as %s: %s", known, ", ".join(names))
    softmax, probabilities = _predict(job, other, rows, heads)
    scorer = Scorer(job, rows, softmax)
    scorer.cnn(other.trained, None)
    for head, proba in zip(heads, probabilities, strict=True):
        scorer.head(head, proba)
    own: dict[str, Any] = {
        "trained_on": {key: getattr(other.trained_on, key) for key in ("digest", "images", "train_images")},
        "counted_as": other.counted_as,
        "layers_left_out": [*left_out, *_hybrid_left_out(job)],
    }
    return write_other_scores(job, scorer, other.images, other.name, **own)


def write_other_scores(
    job: Job, scorer: Scorer, images: ImageSet, source: str, *, name: str = "", tta: str = "none", **own: Any
) -> Outcome:
    """Write scores on images of another source, and their figures, to a folder of that source."""
    document = {
        **scorer.document(images, tta=tta),
        "images": {scorer.rows.name: len(scorer.rows)},
        "source_name": source,
        # What others printed is about the data set, not about these images.
        "published": None,
        **own,
    }
    there = replace(
        job, recipe=job.recipe.model_copy(update={"name": name or source}), reports=job.reports_dir / "other"
    )
    path = there.reports_dir / "metrics.json"
    before = read_json(path)
    if before is not None and before.get("data_digest") != document["data_digest"]:
        log.info("%s held the scores of other images of this name; they are replaced", path)
    there.write_bad(images)
    write_json(path, document)
    split = scorer.rows.name
    place = source if split == "all" else f"{source} ({split})"
    # Learning curves are not about these images.
    return Outcome(document, path, draw_scores(there, {**document, "split": place}, scorer, {}))


def _hybrid_left_out(job: Job) -> list[dict[str, str]]:
    """Say that the recipe's own hybrid is not among the heads."""
    mode = job.recipe.hybrid.mode
    if mode == "plain":
        return []
    reason = (
        f"images that the CNN was not trained on are scored by plain heads; the {mode} hybrid that 'cnnboost "
        "export' writes is scored by evaluate --model BUNDLE"
    )
    log.warning("the recipe's %s hybrid is left out: %s", mode, reason)
    return [{"layer": layers_name(hybrid_layers(job)), "reason": reason}]


def _predict(
    job: Job, other: OtherImages, rows: Split, heads: Sequence[Head]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Ask the CNN and every head, a chunk of images at a time; features stay in memory."""
    trained, start = other.trained, 0
    layers = [head.layer for head in heads]
    trunk = Inference(Cut(trained.model).trunk(layers), trained.pixels) if heads else None
    probabilities_of: list[list[np.ndarray]] = [[] for _ in range(1 + len(heads))]
    with job.progress("score", "image") as report:
        for X in rows.chunks():
            probabilities_of[0].append(trained.cnn.predict_proba(X))
            features = trunk(X) if trunk else []
            for head, values, into in zip(heads, features, probabilities_of[1:], strict=True):
                _check_finite(values, head.layer, rows.ids[start : start + len(X)])
                into.append(head.boost.predict_proba(values))
            start += len(X)
            report(start, len(rows))
    softmax, *others = (np.concatenate(parts) for parts in probabilities_of)
    return softmax, others


def _check_finite(features: np.ndarray, layer: str, ids: np.ndarray) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise FeatureError(
            f"layer {layer!r} gives NaN or infinite features for {ids[int(np.argmin(finite))]} "
            f"({int((~finite).sum())} such images among {len(ids)}); the CNN's weights are damaged, its "
            "training diverged, or its half precision cannot hold such values"
        )
