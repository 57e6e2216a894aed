"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SLASH = "\\"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    r"""Write a table."""
    rule = "|".join("---" if i < words else "---:" for i in range(len(header)))
    return "\n".join([_line(header), f"|{rule}|", *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace(_SLASH, _SLASH * 2).replace('|', _SLASH + '|') for cell in cells)} |"
