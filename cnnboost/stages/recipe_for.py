"""The recipe of images and models that nobody wrote a recipe for."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnnboost.cnn.model_file import read_model
from cnnboost.config import Recipe, packaged
from cnnboost.config.load import recipe_of
from cnnboost.errors import DataError, ParameterError
from cnnboost.features.cut import Cut
from cnnboost.files import file_digest
from cnnboost.images.readers import find_reader
from cnnboost.stages.other_images import source_name
from cnnboost.urls import local_path, without_secrets

log = logging.getLogger("cnnboost")

LARGEST = 96
"""Pixels of the longer side of images, at most; larger networks are for a recipe to ask for."""
SMALL = 16
"""Images with a shorter side than this have no room for the poolings of `vgg`."""
_LOOKED_AT = 48
_LONGEST_NAME = 60
_HEAD = {
    "n_estimators": 60, "max_depth": 4, "learning_rate": 0.2, "subsample": 0.8, "colsample_bytree": 0.3
}  # fmt: skip


class Glance(NamedTuple):
    """What a source holds, as far as it shows before everything is decoded."""

    images: int
    train: int
    classes: dict[str, int]
    size: tuple[int, int]
    colour: bool
    splits: tuple[str, ...]


def recipe_for(
    data: str | os.PathLike[str] | None,
    model: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    given: Any = None,
) -> Recipe:
    """Find out what a recipe would state about images, a trained model, or both.

    Of the model come the size and channels of its input, where they are fixed, and the layers that have a
    name by its structure. Of the images come the rest: their median size, with a longer side of at most 96
    pixels; colour where one of them is in colour; the network (`vgg`, or `digits` where the shorter side has
    less than 16 pixels) and the number of its epochs (as many as show it 60,000 images, but 20 to 100). The
    name of the outputs is that of the images; of a model, its name, eight digits of the hash of its content,
    and the name of the images, so that two models of equal name never share a folder. No name depends on the
    working folder.
    """
    found = None if data is None else glance(data)
    if model is None:
        if data is None or found is None:
            raise ParameterError("neither images nor a model: there is nothing to find a recipe for")
        recipe = of_images(data, found, overrides)
    else:
        recipe = _of_model(Path(model), given, data, found, overrides)
    _say(recipe, found, model)
    return recipe


def of_images(source: str | os.PathLike[str], found: Glance, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of images that were looked at."""
    place = source_name(os.fspath(source))
    metadata = {
        "name": _free(slug(place)),
        "title": place,
        "data": _data(found),
        "cnn": _training(found),
        "cut": {"layers": ["flatten", "fc1", "output"], "layer": "fc1"},
        "boost": dict(_HEAD),
    }
    return _with_layers(recipe_of(metadata, overrides), metadata, overrides)


def _of_model(
    path: Path,
    given: Any,
    data: str | os.PathLike[str] | None,
    found: Glance | None,
    overrides: Sequence[str],
) -> Recipe:
    place = "" if data is None else source_name(os.fspath(data))
    cnn = given if given is not None else read_model(path)
    height, width, channels = cnn.input_shape[1:]
    stated = {} if found is None else _data(found)
    stated |= {"size": [height, width]} if height and width else {}
    stated |= {"channels": channels} if channels in (1, 3) else {}
    name = "-".join(filter(None, (slug(path.stem), file_digest(path)[:8], slug(place) if place else "")))
    metadata = {
        "name": _free(name),
        "title": f"{path.stem} on {place}" if place else path.stem,
        "data": stated,
        "cut": _cut(Cut(cnn)),
        "boost": dict(_HEAD),
    }
    return recipe_of(metadata, overrides)


def glance(source: str | os.PathLike[str]) -> Glance:
    """Look at a source: all names, and the size and colour of some images."""
    place = local_path(os.fspath(source))
    listing = find_reader(place).read(place)
    rows = np.unique(np.linspace(0, len(listing) - 1, min(_LOOKED_AT, len(listing))).astype(int)).tolist()
    faults: list[DataError] = []
    shapes = list(listing.shapes(rows, faults))
    if not shapes:
        bad = [one for error in faults for one in error.bad]
        first = f": {bad[0].place} {bad[0].reason}" if bad else ""
        shown = without_secrets(place)
        raise DataError(f"{shown}: none of {len(rows)} images that were looked at can be used{first}", bad)
    height, width = (int(np.median([shape[axis] for shape in shapes])) for axis in (0, 1))
    counts = np.bincount(listing.y, minlength=len(listing.classes))
    return Glance(
        images=len(listing),
        train=int(np.count_nonzero(listing.splits == "train")),
        classes=dict(zip(listing.classes, counts.tolist(), strict=True)),
        size=(height, width),
        colour=any(shape.channels == 3 for shape in shapes),
        splits=tuple(dict.fromkeys(listing.splits.tolist())),
    )


def slug(name: str) -> str:
    """Make a name that every file system takes and that a recipe may have.

    Letters beyond ASCII that have no plain form are left out, and a few digits of the hash of the whole name
    tell such names apart; so are long names cut.
    """
    spread = unicodedata.normalize("NFKD", name)
    letters = "".join(c for c in spread if not unicodedata.combining(c))
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", letters).strip(".-_")
    lost = any(c.isalnum() and not c.isascii() for c in letters) or len(plain) > _LONGEST_NAME
    plain = plain[:_LONGEST_NAME].rstrip(".-_") or "images"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:6]}" if lost else plain


def _free(name: str) -> str:
    """A packaged recipe's folder belongs to that recipe: its network may have come with the package."""
    return f"{name}-data" if name in packaged() else name


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    """Shrink a size so that its longer side has at most `LARGEST` pixels."""
    shrink = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _data(found: Glance) -> dict[str, Any]:
    colour = {"channels": 3} if found.colour else {}
    return {"size": list(_bounded(found.size)), "validation_fraction": 0.2, **colour}


def _training(found: Glance) -> dict[str, Any]:
    small = min(_bounded(found.size)) < SMALL
    return {
        "architecture": "digits" if small else "vgg",
        "epochs": min(100, max(20, 60_000 // max(1, found.train))),
        "batch_size": 32,
        "schedule": "cosine",
        "warmup": 0.1,
        "augment": {"shift": 0.1, "zoom": 0.1},
    }


def _with_layers(recipe: Recipe, metadata: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """Name the layers of another network than the generic ones, which an override asked for."""
    if any(override.partition("=")[0].strip().startswith("cut") for override in overrides):
        return recipe
    if recipe.cnn.architecture != "vgg" or recipe.cnn.options:
        from cnnboost.cnn.architectures import build

        size, options = recipe.data.size, recipe.cnn.options
        height, width = (size, size) if isinstance(size, int) else size or (LARGEST, LARGEST)
        shape = (height, width, recipe.data.channels or 1)
        metadata["cut"] = _cut(Cut(build(recipe.cnn.architecture, shape, 2, options)))
        return recipe_of(metadata, overrides)
    return recipe


def _cut(cut: Cut) -> dict[str, Any]:
    """The layers that have a name by structure, each place once; else the last one that can be cut."""
    named = [layer.name for layer in cut.named if layer.name != "input"]
    layers = named or [cut.layers[-1].name]
    layer = next((name for name in ("fc1", "flatten") if name in layers), layers[-1])
    return {"layers": layers, "layer": layer}


def _say(recipe: Recipe, found: Glance | None, model: Any) -> None:
    """Say what was decided and how it is changed: nothing about images or network is taken silently."""
    parts = []
    if found is not None:
        height, width = found.size
        parts.append(
            f"{found.images:,} images of {len(found.classes)} classes, {height}x{width} (the median) and "
            f"{'in colour' if found.colour else 'grey'}"
        )
    size, channels = recipe.data.size, recipe.data.channels
    if size is not None:
        pair = (size, size) if isinstance(size, int) else size
        kind = {1: " grey", 3: " RGB", None: ""}[channels]
        parts.append(f"taken as {pair[0]}x{pair[1]}{kind}")
    by = "the model" if model is not None else f"architecture {recipe.cnn.architecture!r}"
    trained = "" if model is not None else f", {recipe.cnn.epochs} epochs"
    parts.append(f"{by}, cut at {', '.join(recipe.cut.layers)}{trained}")
    parts.append(f"outputs named {recipe.name!r}")
    log.info("no recipe was named; found out: %s. --set or --recipe say otherwise", "; ".join(parts))
