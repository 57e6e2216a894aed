"""Labelled images that a trained CNN was not trained on: known as such, and brought to its classes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.errors import DataError, ModelError, RecipeError, StoreError
from cnnboost.files import file_digest
from cnnboost.images import ImageSet, Split
from cnnboost.images.load import arranged
from cnnboost.stages import training
from cnnboost.stages.job import Job
from cnnboost.stages.training import Trained, TrainedOn, Training, trained_from
from cnnboost.urls import local_path, without_secrets

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

    def rows(self, split: str | None = None) -> Split:
        """Return the images of one split of the source."""
        return rows_of(self.images, split)


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
