"""Page: sections of text, tables and figures in one HTML file that needs no other."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnboost.errors import DataError
from cnnboost.escape import visible
from cnnboost.report.table import Table

if TYPE_CHECKING:
    from jinja2 import Environment

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
FIGURE_ENDINGS = tuple(_TYPES)
_WIDE = 1.8
"""A figure that is this many times as wide as high takes the whole width of the page."""

Block = tuple[str, Any]
"""A kind and its content: text, faint, warn, heading, items, table, figures, details, mistakes."""


class Section(NamedTuple):
    """A part of a page with a heading, and its short name in the navigation."""

    id: str
    short: str
    heading: str
    blocks: Sequence[Block]


class Figure(NamedTuple):
    """A figure as the page holds it."""

    stem: str
    title: str
    uri: str
    wide: bool


def figure(name: str, title: str, content: bytes) -> Figure:
    """Embed the file of a figure."""
    path = PurePath(name)
    return Figure(path.stem, title, data_uri(content, path.suffix.lower()), aspect(content) >= _WIDE)


def named_figures(figures: Mapping[str, bytes], named: Collection[Mapping[str, str]]) -> list[Figure]:
    """Return the figures that a document names; those that are missing are left out."""
    return [
        figure(entry["file"], entry["title"], figures[entry["file"]])
        for entry in named
        if entry["file"] in figures
    ]


def details(summary: str, *blocks: Block, expanded: bool = False) -> Block:
    """Return blocks that a reader opens."""
    return "details", {"summary": summary, "blocks": blocks, "open": expanded}


def table(made: Table) -> Block:
    """Return a table as a block."""
    return "table", made


@contextmanager
def contents_of(file: str) -> Iterator[None]:
    """Name the file in the error where its contents are not what is expected."""
    try:
        yield
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{file}: no {error}") from error
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise DataError(f"{file}: {error}") from error


def render(template: str, **metadata: Any) -> str:
    """Fill a template; in HTML every value is escaped, and a value that is missing is an error."""
    return _environment().get_template(template).render(**metadata)


@cache
def _environment() -> Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("cnnboost.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        finalize=lambda value: visible(value, keep="\n\t") if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def data_uri(content: bytes, ending: str) -> str:
    """Return a picture as an address that holds the picture itself."""
    if ending not in _TYPES:
        raise DataError(
            f"a page cannot show a picture with ending {ending!r}; use one of {', '.join(_TYPES)}"
        )
    return f"data:{_TYPES[ending]};base64,{base64.b64encode(content).decode('ascii')}"


def aspect(content: bytes) -> float:
    """Return how many times as wide as high a PNG is; 1 for pictures of another kind."""
    # Its first chunk is the header: after its length and name come width and height.
    if not content.startswith(b"\x89PNG") or content[12:16] != b"IHDR" or len(content) < 24:
        return 1.0
    width, height = struct.unpack(">II", content[16:24])
    return width / height if height else 1.0


def paragraphs(text: str) -> list[Block]:
    r"""Split plain text at its empty lines."""
    return [("text", " ".join(part.split())) for part in re.split(r"\n\s*\n", text) if part.strip()]
