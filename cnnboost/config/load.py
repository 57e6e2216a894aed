"""From a TOML file, or the name of a packaged recipe, to a recipe."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnboost.config.experiment import Recipe, checked, put
from cnnboost.config.limits import shown
from cnnboost.errors import RecipeError
from cnnboost.files import read_regular, reason_of

DEFAULT = "digits"
_MOST_BYTES, _DEEPEST = 1 << 20, 10


def load_recipe(source: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe."""
    path = _locate(DEFAULT if source is None else source)
    if path.stat().st_size > _MOST_BYTES:
        raise RecipeError(f"{path}: {path.stat().st_size:,} bytes are too many for a recipe")
    return parse_recipe(read_regular(path), path, overrides)


def parse_recipe(content: bytes, path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Make a recipe of the content of its file."""
    try:
        # With a byte order mark, as some editors write, or without.
        metadata = tomllib.loads(content.decode("utf-8-sig"))
    # Beside its own error, the parser raises those of Python's numbers and of its own recursion.
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML: {_reason(error)}") from error
    metadata.setdefault("name", path.stem)
    return recipe_of(metadata, overrides, path)


def recipe_of(metadata: dict[str, Any], overrides: Sequence[str] = (), path: Path | None = None) -> Recipe:
    """Make a recipe of what a file states, or of what was found out, with overrides on top."""
    given = {_override(metadata, override): override for override in overrides}
    # A packaged file is nobody's own: its name says more than its place.
    place = "" if path is None else f"recipe {path.stem!r}" if path in packaged().values() else str(path)
    recipe = checked(metadata, place, given)
    # What is typed is relative to the folder where it is typed.
    return recipe if path is None or "data.source" in given else recipe.beside(path.parent)


def packaged() -> dict[str, Path]:
    """Return the recipes that came with the package, by name."""
    here = Path(__file__).parent.parent
    for folder in (here / "pipelines", here.parent / "pipelines"):
        if (folder / f"{DEFAULT}.toml").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    raise RecipeError("the packaged recipes are missing; install cnnboost again")


def _locate(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise RecipeError(f"{shown(os.fspath(source))}: {reason_of(error)}") from error
    recipes = packaged()
    if os.fspath(source) in recipes:
        return recipes[os.fspath(source)]
    if path.is_dir():
        raise RecipeError(f"{path}: a folder; a recipe is a .toml file")
    if path.exists():
        raise RecipeError(f"{path}: a device or a pipe; a recipe is a .toml file")
    near = difflib.get_close_matches(path.stem, recipes, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"{path}: no such recipe.{hint} Packaged recipes: {', '.join(recipes)}")


def _override(metadata: dict[str, Any], override: str) -> str:
    """Write an override into the tables; return its key."""
    key, found, text = override.partition("=")
    if not found or not key.strip():
        raise RecipeError(f"--set {shown(override)}: give table.key=value, e.g. cnn.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"--set {shown(override)}: {_reason(error)}") from error
    key = key.strip()
    if key.count(".") > _DEEPEST:
        raise RecipeError(f"--set {shown(override)}: no key is in {key.count('.')} tables")
    put(metadata, key, value, f"--set {shown(override)}")
    return key


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
