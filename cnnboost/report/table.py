"""Table: rows and columns of scores, written once and shown on a page, in a model card and in a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cnnboost.escape import markdown, markdown_code

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def head_title(name: str) -> str:
    """Return the name of a head in tables; an import path stays what it is."""
    return name if "." in name else name.replace("_", " ")


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return signed(f"{100 * difference:+.1f}")


def number(value: float) -> str:
    """Return a number with three places after the point."""
    return signed(f"{value:,.3f}")


def seconds(value: float) -> str:
    """Return seconds, to tenths below a hundred."""
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def p_value(p: float) -> str:
    """Return a p value."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def span(interval: Sequence[float] | None, form: Callable[[float], str] = percent) -> str:
    """Return an interval."""
    return NOTHING if interval is None else " to ".join(form(edge) for edge in interval)


def signed(text: str) -> str:
    """Return a number with a proper minus."""
    return text.replace("-", MINUS)


def setting(value: Any) -> str:
    """Write a value as a recipe would, floats with four significant figures."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return f"{{{settings(value)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting, value))}]"
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


def settings(values: Mapping[str, Any]) -> str:
    """Write keys with their values."""
    return ", ".join(f"{key} = {setting(value)}" for key, value in values.items())


FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "words": str,
    "code": str,
    "percent": percent,
    "percent2": lambda share: signed(f"{share:.2%}"),
    "points": points,
    "points2": lambda difference: signed(f"{100 * difference:+.2f}"),
    "number": number,
    "seconds": seconds,
    "value": lambda value: f"{value:.10g}",
    "figures": lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}",
    "p": p_value,
    "interval": span,
    "count": lambda count: f"{count:,}",
}
"""Kinds of cells; `words` is text of a sentence's length, `code` is text that a computer reads."""


class Column(NamedTuple):
    """A column: its title, the kind of its cells, and whether intervals are shown beside their values."""

    title: str
    kind: str = "text"
    interval: bool = True

    @property
    def number(self) -> bool:
        """Whether its cells are aligned at the right."""
        return self.kind not in ("text", "words", "code", "marks")


def columns_of(kinds: Mapping[str, str]) -> list[Column]:
    """Return columns from their titles and the kinds of their cells."""
    return [Column(title, kind) for title, kind in kinds.items()]


class Cell(NamedTuple):
    """What is shown: a text, and a smaller one that belongs to it."""

    text: str
    note: str = ""
    link: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.note})" if self.note else self.text


class Marks(NamedTuple):
    """A range and points on a line from 0 to 100, for pages alone."""

    left: float
    width: float
    own: float
    theirs: float | None = None


class Group(NamedTuple):
    """A row that names those below it."""

    cell: Cell


@dataclass(frozen=True)
class Table:
    """A table; a value with an interval is a mapping of both, as in the documents of scores."""

    label: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any] | Group]
    style: str = ""
    header: bool = True

    def cells(self) -> Iterator[list[Cell | Marks] | Group]:
        """Give each row as it is shown."""
        for row in self.rows:
            if isinstance(row, Group):
                yield row
            else:
                yield [shown(column, value) for column, value in zip(self.columns, row, strict=True)]


def shown(column: Column, value: Any) -> Cell | Marks:
    """Return a value as it is shown."""
    if isinstance(value, (Cell, Marks)):
        return value
    interval = None
    if isinstance(value, Mapping):
        value, interval = value["value"], value["interval"] if column.interval else None
    if value is None:
        return Cell(NOTHING)
    form = FORMATS[column.kind]
    return Cell(form(value), span(interval, form) if interval else "")


def pairs(label: str, rows: Sequence[tuple[str, Any]]) -> Table:
    """Return a table of names and values without a header."""
    return Table(label, [Column("name"), Column("value")], rows, style="facts", header=False)


def markdown_table(table: Table) -> str:
    """Write a table as Markdown."""
    rows = [row for row in table.cells() if not isinstance(row, Group)]
    escapes = [markdown_code if column.kind == "code" else markdown for column in table.columns]
    lines = [[markdown(column.title) for column in table.columns]]
    lines.append(["---:" if column.number else "---" for column in table.columns])
    lines += [[escape(str(cell)) for escape, cell in zip(escapes, row, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
