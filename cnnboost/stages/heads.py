"""The heads that a trained CNN has on disk, found without its images; nothing is fitted here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cnnboost.boost import BoostClassifier
from cnnboost.errors import StoreError
from cnnboost.features.cut import Cut, CutLayer
from cnnboost.features.store import FeatureSpec
from cnnboost.files import file_part
from cnnboost.stages.boosting import Head
from cnnboost.stages.job import Job
from cnnboost.stages.trained_on import TrainedOn, head_digest
from cnnboost.stages.training import Trained

log = logging.getLogger("cnnboost")

_MODE = "plain"


def load_cached_heads(
    job: Job, trained: Trained, on: TrainedOn, layers: Sequence[str] | None = None
) -> tuple[list[Head], list[dict[str, str]]]:
    """Return the heads that were fitted on the features of this CNN, with what the recipe states now."""
    cut = Cut(trained.model)
    heads, left_out = [], []
    for name in dict.fromkeys(layers or job.recipe.cut.layers):
        place = cut.find(name)
        try:
            heads.append(_head(job, trained, on, cut, place))
        except StoreError as error:
            if layers:
                raise
            log.warning("%s; it is left out", error)
            left_out.append({"layer": name, "reason": str(error)})
    return heads, left_out


def _head(job: Job, trained: Trained, on: TrainedOn, cut: Cut, place: CutLayer) -> Head:
    path = job.models_dir / "heads" / f"{file_part(place.name)}-{_MODE}.ubj"
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
    if boost.details_.get("made_from") != head_digest(job, features.key, on.train_labels, _MODE):
        raise StoreError(
            f"{path} was fitted on another CNN, on other images, or with other values in [boost] than recipe "
            f"{job.recipe.name!r} states now; {remedy}"
        )
    return Head(place.name, _MODE, boost, path, boost.details_, True)
