"""Recipe: all the settings of one experiment."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from cnnboost.config.limits import shown
from cnnboost.config.outcomes import Bench, Compare, Evaluate, Export
from cnnboost.config.tables import Boost, Cnn, CutTable, Data, Hybrid, Search, StudyName, Table
from cnnboost.errors import RecipeError, did_you_mean
from cnnboost.urls import is_url

#: The tables that a bundle follows from.
BUNDLE_TABLES = ("data", "cnn", "cut", "boost", "hybrid", "export")

ALWAYS_AT_HAND = "digits"
"""A source that is not a path: the images come with scikit-learn."""


class Recipe(Table):
    """One experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    title: str = ""
    data: Data = Data()
    cnn: Cnn = Cnn()
    cut: CutTable = CutTable()
    boost: Boost = Boost()
    hybrid: Hybrid = Hybrid()
    compare: Compare = Compare()
    evaluate: Evaluate = Evaluate()
    export: Export = Export()
    bench: Bench = Bench()
    search: Search = Search()
    studies: dict[StudyName, Search] = Field(default_factory=dict)
    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _teacher_has_seen_them(self) -> Recipe:
        if self.cnn.teacher is None:
            return self
        for key in ("holdout", "folds"):
            value = getattr(self.hybrid, key)
            if value:
                raise ValueError(
                    f"[cnn] teacher and [hybrid] {key} = {value} do not go together: {key} trains CNNs on a "
                    "part of train, and a teacher's file is of all its images. Take one of them out: "
                    f"cnn.teacher = false, or hybrid.{key} = 0"
                )
        return self

    @model_validator(mode="after")
    def _heads_can_be_compared(self) -> Recipe:
        if self.compare.rows and self.hybrid.fit_on == "train":
            raise ValueError(
                "[compare] rows compares heads by the number of images that their network has not seen, and "
                "[hybrid] fit_on = 'train' fits them on those that it was trained on: give fit_on = "
                "'held-out', or compare.rows = []"
            )
        if self.compare.networks > 1 and self.hybrid.bagged:
            raise ValueError(
                f"[compare] networks = {self.compare.networks} and [hybrid] folds = {self.hybrid.folds} with "
                "layers each say which CNNs are compared: take one of them out"
            )
        return self

    @model_validator(mode="after")
    def _printed_is_here(self) -> Recipe:
        """Refuse printed tables that are not about this recipe."""
        published = self.evaluate.published
        for element in published.printed if published else ():
            place = f"[evaluate.published] {element.place}"
            try:
                element.check_study(self.studies)
            except ValueError as error:
                raise ValueError(f"[evaluate.published] {error}") from None
            stated = [row for row in element.rows if "." in row] if element.kind == "settings" else []
            for key in (*element.under, *stated):
                if not _is_key(key):
                    raise ValueError(f"{place}: {key!r} is not a key of a recipe; write table.key in full")
        return self

    def beside(self, folder: Path) -> Recipe:
        """Return the recipe as one whose file lies in a folder: `source` is relative to it."""
        self._folder = folder
        return self

    @property
    def source(self) -> str | None:
        """Where the images are: `[data] source`, a path from the folder of the recipe's file, or a URL."""
        stated = self.data.source
        if stated is None or stated == ALWAYS_AT_HAND or is_url(stated) or self._folder is None:
            return stated
        beside = self._folder / stated
        if not beside.exists() and Path(stated).exists():
            remedy = os.path.relpath(Path(stated).resolve(), self._folder.resolve())
            raise RecipeError(
                f"[data] source = {stated!r} is a path from the folder of the recipe's file, and {beside} "
                f"does not exist; {stated} exists from the working folder only. Write "
                f'source = "{Path(remedy).as_posix()}", or give --data {stated}'
            )
        return str(beside)

    def digest(self, *tables: str) -> str:
        """Hash some tables: equal settings, equal digest, whatever the layout of the file.

        What a recipe leaves at its default is no part of it, so that a new key changes no digest. Nor is the
        place of a teacher's file: its content counts, which a recipe does not know. Nor is what a bundle
        wants: it changes no value.
        """
        left_out = {"cnn": {"teacher"}, "export": {"wants"}}
        metadata = self.model_dump(mode="json", include=set(tables), exclude=left_out, exclude_defaults=True)
        return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def checked(metadata: Mapping[str, Any], place: str = "", given: Mapping[str, str] | None = None) -> Recipe:
    """Make a recipe of settings."""
    try:
        return Recipe.model_validate(metadata)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for e in error.errors():
            found.setdefault(_given_by(e, given or {}) or place, []).append(_explain(e))
        explained = [f"{by}: {'; '.join(words)}" if by else "; ".join(words) for by, words in found.items()]
        raise RecipeError("; ".join(explained)) from None


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with other values."""
    metadata = recipe.model_dump(exclude_unset=True)
    for key, value in values.items():
        put(metadata, key, value, f"{key!r} is not a key of a recipe")
    return checked(metadata).beside(recipe._folder) if recipe._folder else checked(metadata)


def put(metadata: dict[str, Any], key: str, value: Any, place: str) -> None:
    """Write a value under a key with dots into tables."""
    *tables, last = key.split(".")
    for name in tables:
        metadata = metadata.setdefault(name, {})
        if not isinstance(metadata, dict):
            raise RecipeError(f"{place}: {name!r} is not a table")
    metadata[last] = value


def _given_by(error: Any, given: Mapping[str, str]) -> str:
    """The overrides that a finding is about; none where it is about the file."""
    where = ".".join(map(str, error["loc"]))
    about = [
        override
        for key, override in given.items()
        if where and (f"{where}.".startswith(f"{key}.") or f"{key}.".startswith(f"{where}."))
    ]
    return " ".join(f"--set {o if len(o) <= 100 and o.isprintable() else shown(o)}" for o in about)


def _explain(error: Any) -> str:
    """One line for one of pydantic's findings: the key, the value, what would do."""
    where = [str(part) for part in error["loc"] if not str(part).startswith(("function-", "constrained-"))]
    place = f"[{'.'.join(where[:-1])}] {where[-1]}" if len(where) > 1 else where[-1] if where else "recipe"
    if error["type"] == "extra_forbidden":
        known = _keys_at(where[:-1])
        return f"{place}: unknown key{did_you_mean(where[-1], known)}. Known here: {', '.join(known)}"
    message = error["msg"].removeprefix("Value error, ")
    if not where:  # what several tables say together; the whole recipe need not be repeated
        return message
    return f"{place} = {shown(error['input'])}: {message[:1].lower()}{message[1:]}"


def _is_key(key: str) -> bool:
    """Tell whether a recipe has a key, written with dots; below options anything goes."""
    first, *rest = key.split(".")
    field = Recipe.model_fields.get(first)
    fields = getattr(field.annotation, "model_fields", None) if field else None
    return bool(rest) and fields is not None and rest[0] in fields


def _keys_at(where: Sequence[str]) -> list[str]:
    table: Any = Recipe
    for part in where:
        if part.isdigit():  # one of several tables of a kind
            continue
        if get_origin(table) is dict:  # any name, each with the same kind of table
            table = get_args(table)[1]
            continue
        table = table.model_fields[part].annotation
        if not hasattr(table, "model_fields") and get_origin(table) is not dict:
            table = next(t for t in _within(table) if hasattr(t, "model_fields"))
    return list(table.model_fields)


def _within(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of."""
    for part in get_args(annotation):
        yield part
        yield from _within(part)
