"""Plan: one search of a recipe, checked before anything is trained, and the values of its spaces.

Optuna stores numbers, strings, booleans and null. Choices of any other kind, or of mixed kinds, are stored
as JSON text: their codes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnnboost.config import Recipe, Search, Space, changed
from cnnboost.errors import RecipeError, did_you_mean

#: The tables whose keys decide the score of a trial, by what is scored.
_TABLES = {"cnn": ("cnn", "data"), "head": ("boost", "cnn", "data")}

_LONGEST_GRID = 100_000
Code = str | int | float | bool


@dataclass(frozen=True)
class Plan:
    """One search of a recipe."""

    study: str | None
    metadata: Search
    recipe: Recipe

    @property
    def stem(self) -> str:
        """Beginning of the names of its files: `search`, or `study-<name>`."""
        return "search" if self.study is None else f"study-{self.study}"

    @property
    def spaces(self) -> dict[str, Space]:
        """What is searched, by key in alphabetical order."""
        return dict(sorted(self.metadata.space.items()))

    @property
    def wanted(self) -> int:
        """Trials in all: as many as are stated, and no more than a grid has."""
        if self.metadata.sampler != "grid":
            return self.metadata.trials
        return min(
            self.metadata.trials, math.prod(len(grid_values(space)) for space in self.metadata.space.values())
        )


def plan(recipe: Recipe, study: str | None = None) -> Plan:
    """Check a search of a recipe."""
    known = f"Its studies: {', '.join(sorted(recipe.studies))}"
    if not recipe.studies:
        known = "It has none; give [studies.NAME.space] in its file"
    if study is not None and study not in recipe.studies:
        hint = did_you_mean(study, recipe.studies)
        raise RecipeError(f"recipe {recipe.name!r} has no study {study!r}{hint}. {known}")
    metadata = recipe.search if study is None else recipe.studies[study]
    table = "search" if study is None else f"studies.{study}"
    if not metadata.space:
        others = f", or name a study. {known}" if study is None and recipe.studies else ""
        raise RecipeError(
            f"recipe {recipe.name!r} searches nothing: give [{table}.space], e.g. "
            f'"boost.max_depth" = {{ choices = [4, 6, 8] }}{others}'
        )
    tables = _TABLES["cnn" if metadata.target == "cnn" else "head"]
    for key in (*metadata.set, *metadata.space):
        _check_key(recipe, table, key, tables, metadata.target)
    fixed = changed(recipe, metadata.set)
    if fixed.cnn.teacher is not None:
        raise RecipeError(
            f"recipe {recipe.name!r}: trials are scored on a part of train that they are not fitted on, and "
            f"the log-probabilities of cnn.teacher={fixed.cnn.teacher} are of all of it; leave it out of the "
            f'trials with [{table}.set] "cnn.teacher" = false'
        )
    for key, space in metadata.space.items():
        if metadata.sampler == "grid":
            grid_values(space, f'[{table}.space] "{key}"')
        for value in space.choices or (space.low, space.high):
            changed(fixed, {key: value})
    return Plan(study, metadata, fixed)


def _check_key(recipe: Recipe, table: str, key: str, tables: tuple[str, ...], target: str) -> None:
    first, _, rest = key.partition(".")
    place = f"[{table}] {key!r}"
    if first not in type(recipe).model_fields:
        hint = did_you_mean(first, tables)
        raise RecipeError(f"{place}: no table {first!r}{hint}. Known here: {', '.join(tables)}")
    if not rest:
        raise RecipeError(f'{place}: give keys in full and in quotes, e.g. "{tables[0]}.seed"')
    if first not in tables:
        raise RecipeError(
            f"{place} changes no score where the target is {target!r}; "
            f"keys of these tables do: {', '.join(tables)}"
        )


def codes(space: Space) -> dict[Code, Any]:
    """Return the choices of a space by what Optuna stores for them."""
    choices = space.choices or ()
    kinds = {type(choice) for choice in choices}
    # Among mixed kinds, Python would take 1, 1.0 and True for the same key.
    plain = kinds <= {int} or kinds <= {float} or kinds == {str} or kinds == {bool}
    return {choice if plain else json.dumps(choice, sort_keys=True): choice for choice in choices}


def decoded(spaces: Mapping[str, Space], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that Optuna stored for a trial, as the recipe takes them."""
    return {
        key: stored[key] if space.choices is None else codes(space)[stored[key]]
        for key, space in spaces.items()
        if key in stored
    }


def suggested(trial: Any, spaces: Mapping[str, Space]) -> dict[str, Any]:
    """Let Optuna choose a value for each key."""
    return decoded(spaces, {key: _suggest(trial, key, space) for key, space in spaces.items()})


def _suggest(trial: Any, key: str, space: Space) -> Any:
    if space.choices is not None:
        return trial.suggest_categorical(key, list(codes(space)))
    low, high, step = space.low, space.high, space.step
    if isinstance(low, int) and isinstance(high, int) and (step is None or step == int(step)):
        return trial.suggest_int(key, low, high, step=int(step or 1), log=space.log)
    return trial.suggest_float(key, low, high, step=step, log=space.log)


def grid_values(space: Space, place: str = "") -> list[Code]:
    """List the values of a space that a grid tries, as Optuna stores them."""
    if space.choices is not None:
        return list(codes(space))
    low, high = space.low, space.high
    assert low is not None
    assert high is not None
    step = space.step or (1 if isinstance(low, int) and isinstance(high, int) and not space.log else None)
    if step is None:
        raise RecipeError(f"{place}: a grid needs choices, or low, high and step")
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > _LONGEST_GRID:
        raise RecipeError(
            f"{place}: a grid of {count:,} values; {_LONGEST_GRID:,} are the most, make step larger"
        )
    whole = isinstance(low, int) and float(step).is_integer()
    return [int(low + i * step) if whole else round(low + i * step, 12) for i in range(count)]
