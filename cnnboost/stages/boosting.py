"""features -> head: XGBoost on the features of the train split."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from cnnboost.boost import BoostClassifier, resolve_device
from cnnboost.cluster.connection import workers_of
from cnnboost.errors import StoreError
from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.store import FeatureSpec
from cnnboost.files import digest_of, file_part
from cnnboost.hybrid.modes import FittedMode
from cnnboost.stages.extraction import Extracted, extract
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.names import check_names
from cnnboost.stages.on_cluster import cluster_of
from cnnboost.stages.stage import Stage
from cnnboost.stages.training import Trained, TrainedOn

log = logging.getLogger("cnnboost")

T = TypeVar("T")

PLAIN = "plain"
FORMAT = 1
"""Of what a plain head follows from."""


@dataclass(frozen=True)
class Head:
    """A fitted head and its files."""

    layer: str
    mode: str
    boost: BoostClassifier
    path: Path
    details: dict[str, Any]
    cached: bool
    others: tuple[Head, ...] = ()
    """Those of the other members of a bagged hybrid."""

    @property
    def all(self) -> tuple[Head, ...]:
        """The head by itself, and the others."""
        return (replace(self, others=()), *self.others)

    @property
    def rounds(self) -> int:
        """Rounds of boosting of all of them."""
        return sum(head.boost.n_estimators_ for head in self.all)

    @property
    def fit_seconds(self) -> float:
        """Seconds that all of them took."""
        return round(sum(head.details["fit_seconds"] for head in self.all), 3)

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


class HeadStage(Stage[Head]):
    """A head: `heads/<layer>-<mode>.ubj` and its record beside it. A subclass says what it is fitted on."""

    def __init__(self, job: Job, layer: str, mode: str, table: Any, device: str | None) -> None:
        self.job, self.layer, self.mode, self.force = job, layer, mode, job.force
        self.path = job.models_dir / "heads" / f"{file_part(layer)}-{mode}.ubj"
        self.device = device or table.device
        self.resolved = resolve_device(self.device)

    @abstractmethod
    def fit(self) -> tuple[BoostClassifier, dict[str, Any]]:
        """Fit the head; return it, and its own part of the record, `fit_seconds` among it."""

    def timed(self, fit: Callable[[], T]) -> tuple[T, float]:
        """Return what a function fits, and the seconds that this took."""
        with self.job.progress(f"fit {self.layer}", "round"):
            started = time.perf_counter()
            fitted = fit()
            return fitted, round(time.perf_counter() - started, 3)

    @cached_property
    def stored(self) -> BoostClassifier:
        """The head on the disk."""
        return BoostClassifier.load(self.path)

    def recorded(self) -> str | None:
        """Return the digest in the record; none where another device was asked for than it was fitted on."""
        try:
            stored = self.stored
        except StoreError as error:
            log.warning("%s; refitting", error)
            return None
        if self.device != "auto" and stored.device_.split(":")[0] != self.resolved.split(":")[0]:
            return None
        return stored.details_.get("made_from")

    def load(self) -> Head:
        """Return the head on the disk."""
        return Head(self.layer, self.mode, self.stored, self.path, self.stored.details_, True)

    def build(self) -> Head:
        """Fit and save."""
        boost, own = self.fit()
        details = {"made_from": self.made_from, "layer": self.layer, "mode": self.mode, **own}
        boost.save(self.path, details=details)
        return Head(self.layer, self.mode, boost, self.path, details, False)


class PlainHead(HeadStage):
    """XGBoost on the features of the train split at one layer, as `[boost]` says."""

    def __init__(self, job: Job, layer: str, device: str | None, features: Extracted) -> None:
        super().__init__(job, layer, PLAIN, job.recipe.boost, device)
        self.features = features

    def inputs(self) -> dict[str, Any]:
        """Return features, labels and parameters."""
        key = self.features.stored[self.layer].spec.key
        return plain_inputs(self.job, key, labelled_digest(self.features.split))

    def fit(self) -> tuple[BoostClassifier, dict[str, Any]]:
        """Fit on the stored features."""
        X = self.features.stored[self.layer].features
        log.info("fit %s on %d x %d features, %s", self.layer, *X.shape, self.resolved)
        boost = estimator(self.job, device=self.device)
        labels, memory, client = self.features.split.labels, self.job.memory, None
        own = {"rows": int(X.shape[0]), "width": int(X.shape[1])}
        if self.job.client is not None:
            client = cluster_of(self.job)
            own["workers"] = len(workers_of(client))
        _, seconds = self.timed(lambda: boost.fit(X, labels, memory=memory, client=client))
        return boost, {**own, "fit_seconds": seconds}


def plain_inputs(job: Job, features: str, labels: str) -> dict[str, Any]:
    """Return what a plain head follows from: the key of its features, the digest of its images and labels."""
    boost = job.recipe.boost.model_dump(mode="json", exclude={"device"})
    return {"format": FORMAT, "features": features, "labels": labels, "boost": boost, "mode": PLAIN}


def fit_boost(
    job: Job, layer: str | None = None, *, device: str | None = None, features: Extracted | None = None
) -> Head:
    """Bring the plain head at one layer up to date; the CNN and the features it needs too."""
    layer = layer or job.recipe.cut.layer
    if features is None:
        check_names(job, [layer], device=device)
        features = extract(job.needs(), [layer], ["train"])["train"]
    return PlainHead(job, layer, device, features).run()


def estimator(job: Job, *, device: str | None = None) -> BoostClassifier:
    """Return the recipe's head, unfitted."""
    metadata = job.recipe.boost.model_dump()
    seed, params = metadata.pop("seed"), metadata.pop("xgb_params")
    metadata["device"] = device or metadata["device"]
    return BoostClassifier(
        **metadata, classes=list(job.images.classes), random_state=seed, xgb_params=params or None
    )


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
        f"{job.command('fit-boost')} --layer {place.name} --data <the images the CNN was trained on> makes it"
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
    if boost.details_.get("made_from") != digest_of(plain_inputs(job, features.key, on.train_labels)):
        raise StoreError(
            f"{path} was fitted on another CNN, on other images, or with other values in [boost] than recipe "
            f"{job.recipe.name!r} states now; {remedy}"
        )
    return Head(place.name, PLAIN, boost, path, boost.details_, True)
