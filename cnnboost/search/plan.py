"""Plan: one search of a recipe, checked before anything is trained."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from cnnboost.config import Recipe, Search, Space, changed
from cnnboost.errors import RecipeError
from cnnboost.search.param_encoding import grid_values

#: The tables whose keys decide how a trial is judged, by what is judged.
_TABLES = {"cnn": ("cnn", "data"), "head": ("boost", "cnn", "data")}


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
    if study is None:
        metadata, table = recipe.search, "search"
    elif study in recipe.studies:
        metadata, table = recipe.studies[study], f"studies.{study}"
    else:
        raise RecipeError(_unknown(recipe, study))
    if not metadata.space:
        raise RecipeError(
            f"recipe {recipe.name!r} searches nothing: give [{table}.space], e.g. "
            '"boost.max_depth" = { choices = [4, 6, 8] }' + _there_are(recipe, study)
        )
    tables = _TABLES["cnn" if metadata.target == "cnn" else "head"]
    for key in (*metadata.set, *metadata.space):
        _check_key(recipe, table, key, tables, metadata.target)
    fixed = changed(recipe, metadata.set)
    if fixed.cnn.teacher is not None:
        raise RecipeError(
            f"recipe {recipe.name!r}: trials are judged on a part of train that they are not fitted on, and "
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
        near = difflib.get_close_matches(first, tables, n=1)
        hint = f"; did you mean {near[0]!r}" if near else ""
        raise RecipeError(f"{place}: no table {first!r}{hint}. Known here: {', '.join(tables)}")
    if not rest:
        raise RecipeError(f'{place}: give keys in full and in quotes, e.g. "{tables[0]}.seed"')
    if first not in tables:
        raise RecipeError(
            f"{place} changes nothing that a trial is judged by where the target is {target!r}; "
            f"keys of these tables do: {', '.join(tables)}"
        )


def _unknown(recipe: Recipe, study: str) -> str:
    near = difflib.get_close_matches(study, recipe.studies, n=1)
    hint = f"; did you mean {near[0]!r}" if near else ""
    return f"recipe {recipe.name!r} has no study {study!r}{hint}. {_names(recipe)}"


def _there_are(recipe: Recipe, study: str | None) -> str:
    return "" if study is not None or not recipe.studies else f", or name a study. {_names(recipe)}"


def _names(recipe: Recipe) -> str:
    if not recipe.studies:
        return "It has none; give [studies.NAME.space] in its file"
    return f"There are: {', '.join(sorted(recipe.studies))}"
