"""From a TOML file, or the name of a packaged recipe, to a recipe."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnboost.errors import RecipeError
from cnnboost.recipe.experiment import Recipe, checked

DEFAULT = "digits"


def load_recipe(source: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    source : path or str, optional
        A TOML file, or the name of a packaged recipe. Default: the packaged `digits`.
    overrides : sequence of str
        `table.key=value` in TOML syntax, e.g. `cnn.epochs=5`; they stand over the file.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If the file is missing or no TOML, a key is unknown, or a value is impossible.
    """
    path = _locate(DEFAULT if source is None else source)
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: no valid TOML: {error}") from error
    facts.setdefault("name", path.stem)
    for override in overrides:
        _override(facts, override)
    return checked(facts, str(path))


def packaged() -> dict[str, Path]:
    """Return the recipes that came with the package, by name."""
    here = Path(__file__).parent.parent
    for folder in (here / "pipelines", here.parent / "pipelines"):
        if (folder / f"{DEFAULT}.toml").is_file():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    raise RecipeError("the packaged recipes are missing; install cnnboost anew")


def _locate(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    recipes = packaged()
    if os.fspath(source) in recipes:
        return recipes[os.fspath(source)]
    if path.is_dir():
        raise RecipeError(f"{path}: a folder; a recipe is a .toml file")
    near = difflib.get_close_matches(path.stem, recipes, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"{path}: no such recipe.{hint} Packaged recipes: {', '.join(recipes)}")


def _override(facts: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    if not found or not key.strip():
        raise RecipeError(f"--set {override!r}: give table.key=value, e.g. cnn.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, last = key.strip().split(".")
    for table in tables:
        facts = facts.setdefault(table, {})
        if not isinstance(facts, dict):
            raise RecipeError(f"--set {override!r}: {table!r} is no table")
    facts[last] = value
