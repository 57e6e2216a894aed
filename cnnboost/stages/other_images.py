"""Labelled images that a trained CNN was not trained on: known as such, and scored under its classes."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.boost import resolve_device
from cnnboost.cnn.inference import Inference
from cnnboost.errors import DataError, FeatureError, ModelError, ParameterError, RecipeError, StoreError
from cnnboost.features.cut import Cut
from cnnboost.files import file_digest, read_json, write_json
from cnnboost.hybrid.feature_extractor import layers_name
from cnnboost.images import ImageSet, Split
from cnnboost.images.load import arranged
from cnnboost.stages import training
from cnnboost.stages.boosting import Head, load_cached_heads
from cnnboost.stages.evaluation import evaluate
from cnnboost.stages.figures import draw_scores
from cnnboost.stages.hybrids import hybrid_layers
from cnnboost.stages.job import Job
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.scorer import Scorer
from cnnboost.stages.training import Trained, TrainedOn, Training, trained_from
from cnnboost.urls import local_path, without_secrets

log = logging.getLogger("cnnboost")

_TYPO = 0.8
"""How like the class of a binary recipe another name may be before it counts as mistyped."""


@dataclass(frozen=True)
class OtherImages:
    """Images of another source than a CNN's own, and that CNN."""

    trained: Trained
    trained_on: TrainedOn
    images: ImageSet
    counted_as: dict[str, str]
    name: str


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
    job.refuse_cluster("scoring images that the CNN was not trained on", "these are few, as a rule")
    if [mode for mode in modes or () if mode != "plain"] or tta not in (None, "none"):
        raise ParameterError(
            "--mode and --tta: images that the CNN was not trained on are scored by plain heads and as they "
            "are; leave both out, or score the hybrid that 'cnnboost export' writes: evaluate --model BUNDLE"
        )
    if device is not None:
        resolve_device(device)
    return _evaluate_other(job, other, layers, split)


def _evaluate_other(job: Job, other: OtherImages, layers: Sequence[str] | None, split: str | None) -> Outcome:
    """Score a trained CNN and its heads on other images; train nothing, and change nothing of the recipe's.

    Scores and figures go to `other/<name of the source>/` in the recipe's folder of reports.
    """
    rows = rows_of(other.images, split)
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


def rows_of(images: ImageSet, split: str | None = None) -> Split:
    """Return the images of one split, or all of them together as the split `all`."""
    if split is not None:
        return images[split]
    together = replace(images, splits=np.full(len(images), "test"))
    return replace(together["test"], name="all")


def find_other_images(job: Job) -> OtherImages | None:
    """Look whether the recipe's CNN is there and its source gives other images than it was trained on."""
    path, record = job.models_dir / "cnn.keras", job.models_dir / "history.json"
    if job.model is not None or not record.is_file() or not path.is_file():
        return None
    metadata = training.read_history(job)
    if metadata is None:
        return None
    on = TrainedOn.read(metadata)
    if on is None:
        _check_old_record(job, record, metadata)
        return None
    # In the CNN's size and channels, under the source's own classes.
    height, width, channels = metadata["input_shape"]
    data = job.recipe.data
    loaded = job.load(
        size=data.size or (height, width), channels=data.channels or channels, validation_fraction=0
    )
    dropped = [name for name in data.drop if name in loaded.classes]
    source = loaded.drop(dropped) if dropped else loaded
    if source.digest == on.digest:
        job.write_bad(loaded)
        job.knowing(source_images=arranged(loaded, **data.model_dump(exclude={"source", "size", "channels"})))
        return None
    _check_metadata(job, on, path)
    if file_digest(path) != metadata["model_sha256"]:
        raise ModelError(
            f"{path} was altered since it was trained, so it is not scored; put the file back, or train it "
            f"again: {job.command('train')} --data <the images it was trained on>"
        )
    images, counted_as = to_known_classes(source, tuple(metadata["classes"]), data.binary, data.classes)
    return OtherImages(trained_from(path, metadata), on, images, counted_as, source_name(job.source))


def source_name(source: str) -> str:
    """Name a source for a folder: its last part, without what file systems dislike."""
    path = Path(without_secrets(local_path(source))).resolve()
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "images"


def _check_old_record(job: Job, record: Path, metadata: dict[str, Any]) -> None:
    """Refuse to guess where nothing says which images the CNN knows: a wrong guess would train it again."""
    try:
        same = Training(job).made_from == metadata["made_from"]
    except DataError:
        same = False
    if not same:
        raise StoreError(
            f"{record} was written by an earlier version, which did not note what the CNN was trained on; "
            f"these may be other images. {job.command('train')} --data <the images it was trained on> "
            "notes it, and retrains only if the recipe or the images are others than then; to train on "
            f"these instead: {train_instead(job)}"
        )


def _check_metadata(job: Job, on: TrainedOn, path: Path) -> None:
    now = {"cnn": job.recipe.digest("cnn"), "data": job.recipe.digest("data")}
    changed = [f"[{table}]" for table, digest in now.items() if digest != getattr(on, table)]
    if changed:
        raise RecipeError(
            f"{path} was trained with other values in {' and '.join(changed)} than recipe "
            f"{job.recipe.name!r} states now, and on other images than those of {job.source_shown}. To score "
            "it, take the changes back (--set, or the recipe file); to train on these images: "
            f"{train_instead(job)}"
        )


def to_known_classes(
    images: ImageSet,
    known: tuple[str, ...],
    binary: str | None = None,
    original: Sequence[str] | None = None,
) -> tuple[ImageSet, dict[str, str]]:
    """Give images the classes that a CNN knows, by exact name: a wrong guess would count as errors."""
    known_as: Callable[[str], str | None]
    if binary is None:
        names: Sequence[str] = known
        known_as = {name: name for name in known}.get
    else:
        rest, positive = known
        names = (*known, *(name for name in original or () if name not in known))

        def known_as(name: str) -> str | None:
            if name in known:
                return name
            if original is not None:
                return rest if name in original else None
            # Nothing says what the rest consists of: any name will do but one that looks mistyped.
            near = difflib.get_close_matches(name.casefold(), [positive.casefold()], cutoff=_TYPO)
            return None if near else rest

    counted = {name: known_as(name) for name in images.classes}
    unknown = [name for name, found in counted.items() if found is None]
    if unknown:
        raise DataError(_unknown_classes(images.source, unknown, names, binary))
    counted_as = {name: found for name, found in counted.items() if found is not None}
    code = np.array([known.index(counted_as[name]) for name in images.classes], dtype=np.int64)
    return replace(images, y=code[images.y], classes=known), counted_as


def _unknown_classes(source: str, unknown: Sequence[str], names: Sequence[str], binary: str | None) -> str:
    folded = {name.casefold(): name for name in names}
    hints = []
    for name in unknown:
        near = difflib.get_close_matches(name.casefold(), folded, n=1)
        hints += [f"{folded[near[0]]!r} for {name!r}"] if near else []
    hint = f" Did you mean {', '.join(hints)}?" if hints else ""
    rest = f" (or any other name for what is not {binary})" if binary else ""
    return (
        f"{source}: the CNN does not know {'class' if len(unknown) == 1 else 'the classes'} "
        f"{', '.join(map(repr, unknown))}.{hint} It knows: {', '.join(names)}{rest}. Names must be equal to "
        "the letter, capitals too: rename, or take the images out"
    )


def train_instead(job: Job) -> str:
    """Return the command that trains on the job's images."""
    return f"cnnboost run {job.recipe.name} --data {job.source_shown}"
