"""Recipes, and values that `--set` puts into them."""

from __future__ import annotations

import contextlib
import json
import math
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from cnnboost.config import Recipe, load_recipe
from cnnboost.config.load import packaged
from cnnboost.errors import RecipeError
from cnnboost.search import plan
from tests.fuzz.damage import damaged
from tests.fuzz.kind import Damage, Kind, Unnoticed, digest, put
from tests.fuzz.values import changed_value, toml_text

_TEXTS = (
    "", "1", "-1", "0", "nan", "inf", "-inf", "1e400", "1e18", "9" * 5000, "[", "[" * 3000, "{a = 1}", "true",
    '"x"', "x", "null", "[1, 2]", "[[4, 0.5]]", "2026-01-01", "07:30:00", "'\\x00'", "\0", "\ud800",
    "a\nb = 1", "{}", "[]", '"' + "x" * 100_000 + '"', "0x7fffffffffffffff", "1_000", "1.5", '["a", "a"]',
    '"../../x"', "1 # 2", "{a.b.c = 1}", "[nan]", "1.0",
)  # fmt: skip
_KEYS = (
    "",
    " ",
    ".",
    "cnn",
    "cnn.",
    ".cnn",
    "cnn..epochs",
    "cnn.epochs.x",
    "cnn.options.x.y.z",
    "__class__",
    "cnn.__dict__",
    "x" * 9999,
)


def _said(recipe: Recipe) -> str:
    """Say what a recipe states; nothing in it may be a number that is none."""
    metadata = recipe.model_dump()
    for value in _leaves(metadata):
        if isinstance(value, float) and not math.isfinite(value):
            raise Unnoticed(f"{value} in a recipe")
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
            raise Unnoticed(f"{value:e} in a recipe" if abs(value) < 10**300 else "a huge number in a recipe")
    recipe.digest("data", "cnn", "cut", "boost", "hybrid", "export")
    for study in (None, *recipe.studies):
        with contextlib.suppress(RecipeError):  # most recipes search nothing, and that is said
            plan(recipe, study)
    return digest(metadata)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple | set):
        for of in value:
            yield from _leaves(of)
    else:
        yield value


class Recipes(Kind):
    name, errors = "recipe", (RecipeError,)

    @cached_property
    def inputs(self):
        return [{"recipe.toml": path.read_bytes()} for path in packaged().values()]

    def read(self, folder: Path) -> str:
        return _said(load_recipe(folder / "recipe.toml"))

    def change(self, rng: Random, name: str, content: bytes, other: bytes):
        if rng.random() < 0.4:
            return (*damaged(rng, content, other), False)
        how, document = changed_value(rng, tomllib.loads(content.decode()))
        text = toml_text(document if isinstance(document, dict) else {"cnn": document})
        return how, text.encode("utf-8", "surrogatepass"), False

    def argv(self, folder: Path) -> list[str]:
        return [
            "report",
            "--no-pictures",
            "-r",
            str(folder / "recipe.toml"),
            "--reports",
            str(folder / "reports"),
        ]


class Overrides(Kind):
    name, errors = "set", (RecipeError,)

    @cached_property
    def _keys(self) -> list[str]:
        fields = {
            name: getattr(field.annotation, "model_fields", None)
            for name, field in Recipe.model_fields.items()
        }
        return [f"{table}.{key}" for table, keys in fields.items() for key in keys or ()] + [
            "name",
            "title",
            "studies.x",
        ]

    @cached_property
    def inputs(self):
        return [{"set.json": b"[]"}]

    def damage(self, rng: Random, folder: Path) -> Damage:
        words = []
        for _ in range(rng.choice((1, 1, 1, 2))):
            key = rng.choice(self._keys) if rng.random() < 0.8 else rng.choice(_KEYS)
            words.append(f"{key}={rng.choice(_TEXTS)}" if rng.random() < 0.97 else key)
        put(folder, {"set.json": json.dumps(words).encode()})
        return Damage(", ".join(word[:60] for word in words))

    def read(self, folder: Path) -> str:
        return _said(load_recipe("digits", json.loads((folder / "set.json").read_text())))

    def argv(self, folder: Path) -> list[str]:
        words = json.loads((folder / "set.json").read_text())
        return [
            "report",
            "--no-pictures",
            "--reports",
            str(folder),
            *(w for word in words for w in ("--set", word)),
        ]
