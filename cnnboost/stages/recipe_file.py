"""images -> a recipe file with comments, to start from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnboost.config import ALWAYS_AT_HAND, Recipe
from cnnboost.config.load import parse_recipe
from cnnboost.errors import ParameterError
from cnnboost.escape import visible
from cnnboost.files import write_bytes
from cnnboost.stages.recipe_for import LARGEST, Glance, glance, of_images
from cnnboost.urls import is_url

#: A class with this many times the images of another is worth a word about weights.
_UNEVEN = 2.0
_SHOWN = 20
Line = tuple[str, Any, str]


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that was written, and what its images are."""

    path: Path
    recipe: Recipe
    images: Glance


def write_recipe(
    source: str | os.PathLike[str], path: str | os.PathLike[str] | None = None, *, force: bool = False
) -> RecipeFile:
    """Look at images and write a recipe for them, with a comment on each value.

    Parameters
    ----------
    source : str or path
        What `load_images` takes. Its names are read, and the size and colour of up to 48 images.
    path : str or path, optional
        The file; None is named after the source, in the working folder. The recipe names the images relative
        to it.
    force : bool, default=False
        Write over a file that is there.

    Raises
    ------
    DataError
        A source that is not there, that nothing reads, or none of whose images can be used.
    ParameterError
        A file that exists already, without `force`.
    RecipeError
        A file name that cannot name a recipe.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write_recipe("digits", f"{folder}/numbers.toml")
    >>> made.recipe.name, made.recipe.cnn.architecture, made.images.images
    ('numbers', 'digits', 1797)
    """
    found = glance(source)
    proposed = of_images(source, found)
    target = Path(f"{proposed.name}.toml" if path is None else path)
    if target.is_dir():
        raise ParameterError(f"{target} is a folder; name the file: {target / proposed.name}.toml")
    if target.exists() and not force:
        raise ParameterError(f"{target} exists; --force writes over it, --out names another file")
    try:
        content = recipe_text(proposed, found, _from(source, target)).encode()
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"{visible(os.fspath(source))}: its name is not UTF-8, and a recipe cannot hold it; rename it"
        ) from error
    recipe = parse_recipe(content, target)
    return RecipeFile(write_bytes(target, content), recipe, found)


def _from(source: str | os.PathLike[str], target: Path) -> str:
    """Return the source as seen from the folder of the recipe."""
    stated = os.fspath(source)
    if stated == ALWAYS_AT_HAND or is_url(stated):
        return stated
    place, folder = Path(source).expanduser().resolve(), target.parent.resolve()
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:  # another drive
        return str(place)


def recipe_text(recipe: Recipe, found: Glance, source: str) -> str:
    """Return the file of a recipe."""
    counts = [f"{visible(name)} {n:,}" for name, n in found.classes.items()]
    shown = ", ".join(counts[:_SHOWN] + ["..."] * (len(counts) > _SHOWN))
    lines = [
        f"# {found.images:,} images of {len(found.classes)} classes: {shown}.",
        "# `cnnboost run` with this file trains the network, cuts it, trains XGBoost, and scores both.",
        "# Every key is optional; a line that begins with # is one that may be worth trying.",
        f"title = {_value(recipe.title)}",
        *_table("data", _data(recipe, found, source)),
        *_table("cnn", _cnn(recipe, found)),
        *_table("cut", _cut(recipe)),
        *_table("boost", _boost(recipe)),
        "",
        "# Trees that start from the network's own answer and are chosen on images it was not trained on:",
        "# [hybrid]",
        '# mode = "residual"',
        "# holdout = 0.2",
    ]
    return "\n".join(lines) + "\n"


def _data(recipe: Recipe, found: Glance, source: str) -> Iterable[Line]:
    height, width = found.size
    yield "source", source, "a URL" if is_url(source) else "from the folder of this file"
    shrunk = f", the longer side shrunk to {LARGEST} pixels" if max(found.size) > LARGEST else ""
    yield "size", recipe.data.size, f"height and width; {height}x{width} is the median{shrunk}"
    yield "channels", recipe.data.channels or 1, "3 for colour, 1 for grey"
    if len(found.classes) <= _SHOWN:
        yield "# classes", list(found.classes), "an order of the classes; without it alphabetical"
    if "validation" in found.splits:
        yield "# validation_fraction", 0.2, "the source has a validation split"
    else:
        part = "no validation split was found: this share of each class is held out, and scored"
        yield "validation_fraction", recipe.data.validation_fraction, part
    yield "seed", recipe.data.seed, "which images those are"


def _cnn(recipe: Recipe, found: Glance) -> Iterable[Line]:
    from cnnboost.cnn.architectures import ARCHITECTURES

    cnn = recipe.cnn
    yield "architecture", cnn.architecture, f"one of {', '.join(sorted(ARCHITECTURES))}"
    yield "epochs", cnn.epochs, "the fewer the images, the more"
    yield "batch_size", cnn.batch_size, ""
    yield "learning_rate", cnn.learning_rate, ""
    yield "schedule", cnn.schedule, "the learning rate rises for the share `warmup`, then falls to zero"
    yield "warmup", cnn.warmup, ""
    yield "augment", cnn.augment, "add flip = 0.5 where a mirrored image means the same"
    most, fewest = max(found.classes.values()), max(1, min(found.classes.values()))
    if most >= _UNEVEN * fewest:
        why = f"the largest class has {most / fewest:.1f} times the images of the smallest"
        yield "# class_weight", "balanced", why
    yield "# early_stopping", 10, "epochs without a better loss on a tenth of train"
    yield "seed", cnn.seed, ""


def _cut(recipe: Recipe) -> Iterable[Line]:
    yield "layers", list(recipe.cut.layers), "`cnnboost layers -r` with this file lists all there are"
    yield "layer", recipe.cut.layer, "the one for `fit-boost`, `export` and `bench`"


def _boost(recipe: Recipe) -> Iterable[Line]:
    for key in ("n_estimators", "max_depth", "learning_rate", "subsample", "colsample_bytree"):
        yield key, getattr(recipe.boost, key), ""
    yield "# early_stopping_rounds", 10, "rounds without a better log-loss on a tenth of train"
    yield "seed", recipe.boost.seed, ""


def _table(name: str, lines: Iterable[Line]) -> list[str]:
    rows = [f"{key} = {_value(value)}{f'  # {comment}' if comment else ''}" for key, value, comment in lines]
    return ["", f"[{name}]", *rows]


def _value(value: Any) -> str:
    """Write a value as TOML; its strings, numbers and lists are those of JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
