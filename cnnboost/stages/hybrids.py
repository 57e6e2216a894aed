"""features and log-probabilities -> head: the modes in which trees are to better the CNN's own softmax."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from cnnboost.boost import BoostClassifier
from cnnboost.cnn import CNNClassifier
from cnnboost.config.experiment import changed
from cnnboost.errors import RecipeError
from cnnboost.features.store import FeatureStore
from cnnboost.files import file_digest
from cnnboost.hybrid import HybridClassifier
from cnnboost.hybrid.feature_extractor import FeatureExtractor, layers_name
from cnnboost.hybrid.modes import FittedMode, check_mode, fit_mode
from cnnboost.images.views import check_tta
from cnnboost.stages.boosting import Head, HeadStage, estimator, fit_boost
from cnnboost.stages.job import Job, labelled_digest
from cnnboost.stages.names import check_names
from cnnboost.stages.networks import Networks, networks_of
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

FORMAT = 2


@dataclass(frozen=True)
class Hybrid:
    """A head in some mode, with the networks it belongs to."""

    head: Head
    networks: Networks
    tta: str
    device: str | None = None

    @property
    def trained(self) -> Trained:
        """The first of the CNNs: the one that is cut."""
        return self.networks.trained[0]

    @cached_property
    def classifier(self) -> HybridClassifier:
        """The same as a fitted estimator of images."""
        return self.with_heads([head.fitted for head in self.head.all])

    def with_heads(self, heads: Sequence[FittedMode]) -> HybridClassifier:
        """Return the estimator with other heads on the same networks: one, or one for each member."""
        layers, norm = self.head.layers, bool(self.head.details.get("norm", False))
        cnns = [trained.cnn for trained in self.networks.trained]
        if not self.networks.members:
            return HybridClassifier.from_parts(cnns, layers, *heads, tta=self.tta, norm=norm)
        return HybridClassifier.from_members(
            [
                HybridClassifier.from_parts([cnn], layers, head, tta=self.tta, norm=norm)
                for cnn, head in zip(cnns, heads, strict=True)
            ]
        )


def fit_hybrid(
    job: Job,
    layers: str | Sequence[str] | None = None,
    *,
    mode: str | None = None,
    tta: str | None = None,
    device: str | None = None,
) -> Hybrid:
    """Bring a head in any mode up to date; the CNNs it needs too."""
    metadata = job.recipe.hybrid
    mode = check_mode(mode or metadata.mode)
    views_of = check_tta(tta or ("none" if mode == "plain" else metadata.tta))
    if isinstance(layers, str):
        layers = (layers,)
    if mode != "plain":
        job.refuse_cluster(f"fitting in mode {mode}", "--mode plain fits plain trees on the cluster")
    if mode == "plain":
        names = list(dict.fromkeys(layers or (job.recipe.cut.layer,)))
        if len(names) > 1:
            raise RecipeError(
                f"plain trees are grown at one layer, not at {', '.join(names)}; --mode residual or --mode "
                "blend takes several side by side"
            )
        head = fit_boost(job, names[0], device=device)
        return Hybrid(head, networks_of(job.needs(), alone=True), views_of, device)
    if metadata.folds and layers:
        # Layers and folds together say which heads there are.
        job = job.with_images(job.images, recipe=changed(job.recipe, {"hybrid.layers": list(layers)}))
    layers = tuple(dict.fromkeys(layers or hybrid_layers(job)))
    check_names(job, layers, device=device)
    networks = networks_of(job.needs())
    if job.model is not None:
        job.feeding.warn()
    if networks.members:
        # The heads of all members, each beside its CNN.
        first, *others = (
            ModeHead(
                member.job.with_images(member.job.images, force=job.force),
                member.networks, layers, mode, views_of, device,
            ).run()
            for member in networks.members
        )  # fmt: skip
        return Hybrid(replace(first, others=tuple(others)), networks, views_of, device)
    if networks.unseen is None and networks.own is None:
        raise RecipeError(
            f"--mode {mode} needs images that the CNN was not trained on: give "
            "data.validation_fraction or hybrid.holdout, e.g. --set hybrid.holdout=0.1"
        )
    networks.trained[0].check_softmax(f"--mode {mode}")
    return Hybrid(ModeHead(job, networks, layers, mode, views_of, device).run(), networks, views_of, device)


def hybrid_layers(job: Job) -> tuple[str, ...]:
    """Return the layers of the recipe's hybrid."""
    metadata = job.recipe.hybrid
    if metadata.folds and not metadata.bagged:
        return ()
    return metadata.layers or (job.recipe.cut.layer,)


def hybrid_boost(job: Job, mode: str, seed: int, device: str | None = None) -> BoostClassifier:
    """Return the unfitted trees of one mode: those of `[boost]`, changed by `[hybrid]` in all but `plain`."""
    boost = estimator(replace(job, recipe=job.recipe.model_copy(update={"boost": _table(job, mode)})))
    if isinstance(boost.class_weight, Mapping):
        numbers = {name: i for i, name in enumerate(job.images.classes)}
        boost.set_params(class_weight={numbers[name]: of for name, of in boost.class_weight.items()})
    if device:
        boost.set_params(device=device)
    return boost.set_params(random_state=seed)


class ModeHead(HeadStage):
    """A head in another mode than `plain`, fitted on images that its networks were not trained on."""

    def __init__(
        self,
        job: Job,
        networks: Networks,
        layers: tuple[str, ...],
        mode: str,
        tta: str,
        device: str | None,
    ) -> None:
        super().__init__(job, layers_name(layers), mode, _table(job, mode), device)
        self.networks, self.layers, self.tta = networks, layers, tta

    def inputs(self) -> dict[str, Any]:
        """Return networks, images and parameters."""
        job, networks = self.job, self.networks
        return {
            "format": FORMAT,
            "mode": self.mode,
            "layers": self.layers,
            "tta": self.tta,
            "networks": [file_digest(trained.path) for trained in networks.trained],
            "images": [labelled_digest(part) for part in (networks.seen, networks.unseen) if part],
            "hybrid": job.recipe.hybrid.model_dump(mode="json", exclude={"mode", "layers", "tta", "boost"}),
            "boost": _table(job, self.mode).model_dump(mode="json", exclude={"device"}),
            "seed": job.recipe.compare.seed,
        }

    def fit(self) -> tuple[BoostClassifier, dict[str, Any]]:
        """Fit on the images of the recipe's choice; rounds and temperature are chosen on unseen ones."""
        job, networks, table = self.job, self.networks, self.job.recipe.hybrid
        seed, watched = job.recipe.compare.seed, None
        if networks.own is not None:
            seen, grown_on, chosen_on = networks.own, "train, by folds", "train, by folds"
        else:
            assert networks.unseen is not None
            extractor = extractor_of(job, [trained.cnn for trained in networks.trained], self.layers)
            chosen_on = networks.unseen_name
            on_train = table.fit_on == "train"
            part = networks.seen if on_train else networks.unseen
            grown_on = "train" if on_train else chosen_on
            seen = extractor.grown(np.asarray(part.X), part.y, table.views, table.augment, seed)
            if on_train:
                watched = extractor.predicted(np.asarray(networks.unseen.X), networks.unseen.y, self.tta)
        shown = " and ".join(self.layers) or "the output"
        log.info("fit %s at %s on %d x %d features", self.mode, shown, *seen.features.shape)
        boost = hybrid_boost(job, self.mode, job.recipe.boost.seed, self.device)
        classes = job.images.classes
        fitted, seconds = self.timed(
            lambda: fit_mode(
                self.mode,
                boost,
                seen,
                len(classes),
                watched=watched,
                seed=seed,
                memory=job.memory,
            )
        )
        # The modes count classes; a file says what they are called.
        named = fitted.boost.set_params(classes=list(classes))
        named.classes_ = np.array(classes)
        return named, {
            "layers": list(self.layers),
            "rows": len(seen.codes),
            "width": int(seen.features.shape[1]),
            "fit_seconds": seconds,
            "temperature": fitted.temperature,
            "weight": fitted.weight,
            "tta": self.tta,
            "norm": table.norm,
            "grown_on": grown_on,
            "chosen_on": chosen_on,
        }


def _table(job: Job, mode: str) -> Any:
    table = job.recipe.boost
    if mode == "plain":
        return table
    return type(table).model_validate({**table.model_dump(), **job.recipe.hybrid.boost})


def extractor_of(job: Job, networks: Sequence[CNNClassifier], layers: Sequence[str]) -> FeatureExtractor:
    """Return what gives heads their inputs; it keeps them in the store of the recipe."""
    store = FeatureStore(job.models_dir / "features")
    return FeatureExtractor(networks, layers, job.recipe.hybrid.norm, store)
