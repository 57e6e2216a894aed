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
from cnnboost.escape import markdown, markdown_code, visible
from cnnboost.report.table import Table, markdown_table, percent, span

if TYPE_CHECKING:
    from jinja2 import Environment

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
FIGURE_ENDINGS = tuple(_TYPES)
SHOW_IMAGES = ("contact-sheet",)
"""Figures that show images of the data set itself."""
# Stem -> group and title, in the order of the page; confusion matrices and unknown figures have their place.
_FIGURES = {
    "class-distribution": ("Data and training", "Images per class and split"),
    "history": ("Data and training", "Accuracy and loss over the epochs of the training"),
    "confusion-": ("Confusion matrices", ""),
    "class-accuracy": ("Class by class", "Share of each class that is recognised, CNN beside hybrid"),
    "roc": ("Class by class", "Receiver operating characteristic, one class against the rest"),
    "precision-recall": ("Thresholds", "Precision against recall over all thresholds"),
    "threshold-sweep": ("Thresholds", "Scores at each threshold"),
    "latency": ("Latency", "Latency of a call against the images in it"),
    "": ("Others", ""),
    "contact-sheet": ("Others", "Examples of each class"),
}
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


def known_figures(
    figures: Mapping[str, bytes], matrices: Mapping[str, str], elsewhere: Collection[str] = ()
) -> dict[str, list[Figure]]:
    """Return figures by group, confusion matrices as they are titled; one without a title is out of date."""
    shown = {name: PurePath(name).stem for name in figures if name not in elsewhere}
    unknown = {stem for stem in shown.values() if stem not in _FIGURES and not stem.startswith("confusion-")}
    groups: dict[str, list[Figure]] = {}
    for kind, (group, title) in _FIGURES.items():
        titles: Mapping[str, str] = {kind: title}
        if kind == "confusion-":
            titles = matrices
        elif not kind:
            titles = {stem: re.sub("[-_]", " ", stem).capitalize() for stem in sorted(unknown)}
        for stem, text in titles.items():
            files = [name for name in shown if shown[name] == stem]
            groups.setdefault(group, []).extend(figure(name, text, figures[name]) for name in files)
    return {group: drawn for group, drawn in groups.items() if drawn}


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


def render(template: str, **values: Any) -> str:
    """Fill a template; in HTML every value is escaped, and a value that is missing is an error."""
    from jinja2 import UndefinedError

    try:
        return _environment().get_template(template).render(**values)
    except UndefinedError as error:
        raise LookupError(str(error)) from error


@cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnnboost.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        finalize=lambda value: visible(value, keep="\n\t") if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent, "span": span, "count": "{:,}".format, "table": markdown_table,
        "markdown": markdown, "code": markdown_code,
    }  # fmt: skip
    return environment


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
