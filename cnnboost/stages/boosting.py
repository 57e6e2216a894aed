"""features -> head: XGBoost on the features of the train split."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnboost.boost import BoostClassifier, resolve_device
from cnnboost.errors import StoreError
from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.store import FeatureSpec
from cnnboost.files import file_part
from cnnboost.hybrid.modes import FittedMode
from cnnboost.locks import file_lock
from cnnboost.stages.extraction import Extracted, extract
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.names import check_names
from cnnboost.stages.trained_on import TrainedOn, head_digest
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

PLAIN = "plain"


@dataclass(frozen=True)
class Head:
    """A fitted head and its files."""

    layer: str
    mode: str
    boost: BoostClassifier
    path: Path
    details: dict[str, Any]
    cached: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose features are used together; empty where they are the log-probabilities."""
        return tuple(self.details.get("layers", (self.layer,)))

    @property
    def fitted(self) -> FittedMode:
        """The trees with what their mode needs besides."""
        metadata = self.details
        return FittedMode(
            self.mode, self.boost, metadata.get("temperature", 1.0), metadata.get("weight", 0.0)
        )


def fit_boost(
    job: Job,
    layer: str | None = None,
    *,
    device: str | None = None,
    features: Extracted | None = None,
) -> Head:
    """Bring the plain head at one layer up to date; the CNN and the features it needs too.

    `plain`: XGBoost on the features of the train split, as `[boost]` says. For other modes see
    `cnnboost.stages.hybrids`.
    """
    layer, mode = layer or job.recipe.cut.layer, PLAIN
    if features is None:
        check_names(job, [layer], device=device)
    wanted = device or job.recipe.boost.device
    resolved = resolve_device(wanted)
    found = features or extract(job.needs(), [layer], ["train"])["train"]
    stored = found.stored[layer]
    made_from = head_digest(job, stored.spec.key, labelled_digest(found.split), mode)
    path = job.models_dir / "heads" / f"{file_part(layer)}-{mode}.ubj"
    with file_lock(path.with_suffix(".lock"), path):
        if not job.force and path.is_file():
            head = head_there(path, layer, mode, made_from, resolved if wanted != "auto" else None)
            if head:
                return head
        log.info("fit %s on %d x %d features, %s", layer, *stored.X.shape, resolved)
        boost = estimator(job, device=wanted)
        with job.progress(f"fit {layer}", "round") as report:
            started = time.perf_counter()
            boost.fit(stored.X, found.split.labels)
            seconds = time.perf_counter() - started
            report(boost.n_estimators_, boost.n_estimators_)
        details = {
            "made_from": made_from,
            "layer": layer,
            "mode": mode,
            "rows": int(stored.X.shape[0]),
            "width": int(stored.X.shape[1]),
            "fit_seconds": round(seconds, 3),
        }
        boost.save(path, details=details)
        return Head(layer, mode, boost, path, details, False)


def estimator(job: Job, *, device: str | None = None) -> BoostClassifier:
    """Return the recipe's head, unfitted."""
    metadata = job.recipe.boost.model_dump()
    seed, params = metadata.pop("seed"), metadata.pop("xgb_params")
    metadata["device"] = device or metadata["device"]
    return BoostClassifier(
        **metadata, classes=list(job.images.classes), random_state=seed, xgb_params=params or None
    )


def head_there(path: Path, layer: str, mode: str, made_from: str, device: str | None) -> Head | None:
    """Return the head on disk if it is the one that is wanted."""
    try:
        boost = BoostClassifier.load(path)
    except StoreError as error:
        log.warning("%s; refitting", error)
        return None
    details = boost.details_
    if details.get("made_from") != made_from:
        return None
    if device is not None and boost.device_.split(":")[0] != device.split(":")[0]:
        return None
    log.info("%s is up to date (fitted on %s)", path, boost.device_)
    return Head(layer, mode, boost, path, details, True)


def load_cached_heads(
    job: Job, trained: Trained, on: TrainedOn, layers: Sequence[str] | None = None
) -> tuple[list[Head], list[dict[str, str]]]:
    """Return the heads that were fitted on the features of this CNN, with what the recipe states now."""
    cut = Cut(trained.model)
    heads, left_out = [], []
    for name in dict.fromkeys(layers or job.recipe.cut.layers):
        place = cut.find(name)
        try:
            heads.append(_cached_head(job, trained, on, cut, place))
        except StoreError as error:
            if layers:
                raise
            log.warning("%s; it is left out", error)
            left_out.append({"layer": name, "reason": str(error)})
    return heads, left_out


def _cached_head(job: Job, trained: Trained, on: TrainedOn, cut: Cut, place: CutLayer) -> Head:
    path = job.models_dir / "heads" / f"{file_part(place.name)}-{PLAIN}.ubj"
    remedy = (
        f"cnnboost fit-boost -r {job.recipe.name} --layer {place.name} --data <the images the CNN was "
        "trained on> makes it"
    )
    if not path.is_file():
        raise StoreError(f"there is no head at {place.name} ({path}); {remedy}")
    try:
        boost = BoostClassifier.load(path)
    except StoreError as error:
        raise StoreError(f"{error}; {remedy}") from error
    classes = [str(name) for name in boost.classes_]
    if classes != list(trained.classes):
        raise StoreError(
            f"{path} is a head for other classes ({', '.join(classes)}) than the CNN's "
            f"({', '.join(trained.classes)}); {remedy}"
        )
    features = FeatureSpec(
        layer=place.name,
        trunk=cut.digest(place.name),
        width=place.width,
        pixels=trained.pixels,
        images=on.train_digest,
        rows=on.train_images,
    )
    if boost.details_.get("made_from") != head_digest(job, features.key, on.train_labels, PLAIN):
        raise StoreError(
            f"{path} was fitted on another CNN, on other images, or with other values in [boost] than recipe "
            f"{job.recipe.name!r} states now; {remedy}"
        )
    return Head(place.name, PLAIN, boost, path, boost.details_, True)
