"""CardText: what only a person can say of a model, in a text file beside its recipe."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from cnnboost.config import packaged
from cnnboost.errors import RecipeError
from cnnboost.files import read_regular

ENDING = ".card.md"
MOST_BYTES = 1 << 20
_HEADING = re.compile(r"^## +(.*?) *#*$", re.MULTILINE)


@dataclass(frozen=True)
class CardText:
    """What a person says of a model; Markdown, each under its own heading in the file."""

    use: str
    misuse: str
    data: str
    failures: str
    biases: str
    licence: str


HEADINGS = dict(
    zip(
        (field.name for field in fields(CardText)),
        ("What it is for", "What it must not be used for", "Data", "Known failures", "Biases", "Licence"),
        strict=True,
    )
)


def find_card_text(recipe: str | os.PathLike[str]) -> Path:
    """Return where the words of a recipe stand, whether they do or not."""
    path = Path(recipe)
    if not path.is_file():
        path = packaged().get(os.fspath(recipe), path)
    return path.with_name(path.name.removesuffix(".toml") + ENDING)


def read_card_text(path: Path) -> CardText:
    """Read the words of a card."""
    wanted = ", ".join(f"'## {heading}'" for heading in HEADINGS.values())
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: a model card needs words that no file of numbers holds, and there are none; write them "
            f"there, under {wanted}"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: no UTF-8 text ({error.reason}); save it as such") from error
    _, *rest = _HEADING.split(text.replace("\r\n", "\n"))
    found: dict[str, str] = {}
    for heading, words in zip(rest[::2], rest[1::2], strict=True):
        if heading not in HEADINGS.values():
            raise RecipeError(f"{path}: '## {heading}' is no part of a card; there are: {wanted}")
        if heading in found:
            raise RecipeError(f"{path}: '## {heading}' stands there twice; put both under one")
        found[heading] = words.strip()
    missing = [heading for heading in HEADINGS.values() if not found.get(heading)]
    if missing:
        raise RecipeError(f"{path}: nothing stands under '## {missing[0]}'; a card has: {wanted}")
    return CardText(**{name: found[heading] for name, heading in HEADINGS.items()})
