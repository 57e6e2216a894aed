"""Predictions as they are written: a table, csv or JSON, row by row, however many there are."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from cnnboost.cli import console, tables
from cnnboost.escape import csv_cell, visible
from cnnboost.files import replacing

if TYPE_CHECKING:
    from cnnboost.deploy.image_files import Prediction
    from cnnboost.deploy.predictor import Predictor

STDOUT = "-"
_IN_MEMORY = 1 << 24
_REPORTED = 64

Sink = Callable[["Prediction"], None]


def write_predictions(
    rows: Generator[Prediction, None, None],
    predictor: Predictor,
    csv_path: str | None,
    as_json: bool,
    quiet: bool,
) -> tuple[int, int]:
    """Write predictions; return how many there are, and how many of them failed. None: nothing is written."""
    classes: list[str] = predictor.classes_.tolist()
    done = failed = 0
    with ExitStack() as stack:
        stack.enter_context(closing(rows))
        first = next(rows, None)
        if first is None:
            return 0, 0
        document = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8"))
        with ExitStack() as files:
            sinks: list[Sink] = []
            if csv_path == STDOUT:
                sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
                sinks.append(_csv_sink(sys.stdout, classes))
            elif csv_path is not None:
                sinks.append(_csv_sink(files.enter_context(_csv_file(csv_path)), classes))
            if as_json:
                sinks.append(_json_sink(document, classes))
            elif csv_path is None:
                sinks.append(_table_sink(classes))
            bar = console.progress(quiet or not (as_json or csv_path))
            report = files.enter_context(bar("predict", "image"))
            for row in chain([first], rows):
                for sink in sinks:
                    sink(row)
                done += 1
                failed += row.error is not None
                if done % _REPORTED == 0:
                    report(done, None)
        written = [csv_path] if csv_path not in (None, STDOUT) else []
        if as_json:
            details = {key: predictor.details[key] for key in ("kind", "recipe", "layer", "mode")}
            model = {"path": predictor.place, **details, "int8": predictor.int8}
            _show_json(document, {"model": model, "classes": classes}, {"failed": failed, "written": written})
        elif written:
            tables.written(console.stdout, written)
    return done, failed


def _table_sink(classes: Sequence[str]) -> Sink:
    """Print a table whose last column is the path, so that no row waits for the width of another."""
    out = console.stdout
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


def _csv_sink(file: TextIO, classes: Sequence[str]) -> Sink:
    """Write csv: path, label, one column for each class, error."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", *map(csv_cell, classes), "error"])

    def write(row: Prediction) -> None:
        numbers = [""] * len(classes)
        if row.probabilities is not None:
            numbers = row.probabilities.astype(str).tolist()
        writer.writerow([csv_cell(row.path), csv_cell(row.label or ""), *numbers, csv_cell(row.error or "")])

    return write


def _json_sink(file: IO[str], classes: Sequence[str]) -> Sink:
    """Write the rows of the JSON document, one a line."""
    separator = ""

    def write(row: Prediction) -> None:
        nonlocal separator
        entry: dict[str, Any] = {"path": row.path, "error": row.error}
        if row.probabilities is not None:
            # As text and back: the shortest number that is this float32.
            values = map(float, row.probabilities.astype(str).tolist())
            probabilities = dict(zip(classes, values, strict=True))
            entry = {"path": row.path, "label": row.label, "probabilities": probabilities}
        file.write(f"{separator}    {json.dumps(entry, allow_nan=False)}")
        separator = ",\n"

    return write


def _show_json(rows: IO[str], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print the JSON document around the rows."""
    rows.seek(0)
    sys.stdout.write(json.dumps(before, indent=2).removesuffix("\n}") + ',\n  "rows": [\n')
    shutil.copyfileobj(rows, sys.stdout)
    sys.stdout.write("\n  ],\n" + json.dumps(after, indent=2).removeprefix("{\n") + "\n")


@contextmanager
def _csv_file(path: str) -> Iterator[TextIO]:
    """Open a csv file for writing; it appears under its name when it is complete, or not at all."""
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    target = Path(path)
    if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
        with target.open("w", **options) as file:
            yield file
        return
    with replacing(target) as temporary, temporary.open("w", **options) as file:
        yield file
