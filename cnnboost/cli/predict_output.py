"""Predictions as they are written: a table, csv or JSON, row by row, however many there are."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from rich.console import Console

from cnnboost.escape import csv_cell, visible
from cnnboost.files import replacing

if TYPE_CHECKING:
    from cnnboost.deploy.prediction import Prediction

Sink = Callable[["Prediction"], None]


def table_sink(out: Console, classes: Sequence[str]) -> Sink:
    """Print a table whose last column is the path, so that no row waits for the width of another."""
    width = max(len("label"), *(len(visible(name)) for name in classes))
    out.print(f"{'label':{width}}  probability  image", style="bold")

    def write(row: Prediction) -> None:
        path = visible(row.path)
        if row.probabilities is None:
            out.print(f"{'-':{width}}  {'-':>11}  {path}: {visible(row.error or '')}", style="red")
        else:
            line = f"{visible(row.label or ''):{width}}  {row.probabilities.max():11.3f}  {path}\n"
            out.file.write(line)

    return write


def csv_sink(file: TextIO, classes: Sequence[str]) -> Sink:
    """Write csv: path, label, one column for each class, error."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", *map(csv_cell, classes), "error"])
    nothing = [""] * len(classes)

    def write(row: Prediction) -> None:
        if row.probabilities is None:
            writer.writerow([csv_cell(row.path), "", *nothing, csv_cell(row.error or "")])
        else:
            writer.writerow(
                [csv_cell(row.path), csv_cell(row.label or ""), *row.probabilities.astype(str).tolist(), ""]
            )

    return write


def json_sink(file: IO[str], classes: Sequence[str]) -> Sink:
    """Write the rows of the JSON document, one a line; see `show_json`."""
    separator = ""

    def write(row: Prediction) -> None:
        nonlocal separator
        metadata: dict[str, Any] = {"path": row.path, "error": row.error}
        if row.probabilities is not None:
            # As text and back: the shortest number that is this float32.
            values = map(float, row.probabilities.astype(str).tolist())
            probabilities = dict(zip(classes, values, strict=True))
            metadata = {"path": row.path, "label": row.label, "probabilities": probabilities}
        file.write(f"{separator}    {json.dumps(metadata, allow_nan=False)}")
        separator = ",\n"

    return write


def show_json(out: TextIO, rows: IO[str], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print the JSON document around rows that were written by `json_sink`."""
    rows.seek(0)
    out.write(json.dumps(before, indent=2).removesuffix("\n}") + ',\n  "rows": [\n')
    shutil.copyfileobj(rows, out)
    out.write("\n  ],\n" + json.dumps(after, indent=2).removeprefix("{\n") + "\n")


@contextmanager
def csv_file(path: str) -> Iterator[TextIO]:
    """Open a csv file for writing; it appears under its name when it is whole, or not at all."""
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    target = Path(path)
    if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
        with target.open("w", **options) as file:
            yield file
        return
    with replacing(target) as temporary, temporary.open("w", **options) as file:
        yield file
