"""Words: what only a person can say of a model, in a text file beside its recipe."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from cnnboost.errors import RecipeError
from cnnboost.files import read_regular
from cnnboost.recipe import packaged

ENDING = ".card.md"
MOST_BYTES = 1 << 20
_HEADING = re.compile(r"^## +(.*?) *#*$", re.MULTILINE)


@dataclass(frozen=True)
class Words:
    """What a person says of a model; Markdown, each under its own heading in the file.

    Attributes
    ----------
    use : str
        "What it is for".
    misuse : str
        "What it must not be used for".
    data : str
        "Data": where the images come from, which of them trained, chose and scored, and how far their labels
        can be trusted.
    failures : str
        "Known failures", beside those that are computed.
    biases : str
        "Biases".
    licence : str
        "Licence", of the data too.
    """

    use: str
    misuse: str
    data: str
    failures: str
    biases: str
    licence: str


HEADINGS = dict(
    zip(
        (field.name for field in fields(Words)),
        ("What it is for", "What it must not be used for", "Data", "Known failures", "Biases", "Licence"),
        strict=True,
    )
)


def find_words(recipe: str | os.PathLike[str]) -> Path:
    """Return where the words of a recipe stand, whether they do or not.

    Parameters
    ----------
    recipe : path-like or str
        A recipe's file, or the name of a packaged one.

    Returns
    -------
    Path
        `<recipe>.card.md` beside it.

    Examples
    --------
    >>> find_words("fer2013").name
    'fer2013.card.md'
    """
    path = Path(recipe)
    if not path.is_file():
        path = packaged().get(os.fspath(recipe), path)
    return path.with_name(path.name.removesuffix(".toml") + ENDING)


def read_words(path: Path) -> Words:
    """Read the words of a card.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Words

    Raises
    ------
    RecipeError
        If there is no such file, it is no text, or a heading is missing, unknown, there twice or has
        nothing under it. What stands above the first heading is for those who edit the file.
    """
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
    return Words(**{name: found[heading] for name, heading in HEADINGS.items()})
