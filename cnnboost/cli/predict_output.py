"""Predictions as they are written: a table, csv or JSON, row by row, however many there are."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TextIO

from cnnboost.cli import console, tables
from cnnboost.escape import csv_cell, visible
from cnnboost.files import replacing

if TYPE_CHECKING:
    from cnnboost.deploy.image_files import Prediction
    from cnnboost.deploy.predictor import Predictor
    from cnnboost.faces.face import Face

STDOUT = "-"
#: What is said of a picture in which faces were looked for in vain.
NO_FACE = "no face was found"
FACE_COLUMNS = ("face_x", "face_y", "face_width", "face_height", "face_score")
_IN_MEMORY = 1 << 24
_REPORTED = 64


class Written(NamedTuple):
    """How many images there were; how many could not be used, and in how many no face was found."""

    images: int
    failed: int
    faceless: int


Sink = Callable[["Prediction"], None]


def write_predictions(
    rows: Generator[Prediction, None, None],
    predictor: Predictor,
    csv_path: str | None,
    as_json: bool,
    quiet: bool,
    *,
    faces: bool = False,
) -> Written:
    """Write predictions, with `faces` also of which face; where there is none at all, nothing is written."""
    classes = predictor.names
    images = failed = faceless = 0
    with ExitStack() as stack:
        stack.enter_context(closing(rows))
        first = next(rows, None)
        if first is None:
            return Written(0, 0, 0)
        document = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8"))
        with ExitStack() as files:
            sinks: list[Sink] = []
            if csv_path is not None:
                sinks.append(_csv_sink(files.enter_context(csv_file(csv_path)), classes, faces))
            if as_json:
                sinks.append(json_sink(document, partial(_entry, predictor=predictor)))
            elif csv_path is None:
                sinks.append(_table_sink(classes, faces))
            bar = console.progress(quiet or not (as_json or csv_path))
            report = files.enter_context(bar("predict", "image"))
            for row in chain([first], rows):
                for sink in sinks:
                    sink(row)
                images += row.nth == 0
                failed += row.error is not None
                faceless += row.label is None and row.error is None
                if images % _REPORTED == 0:
                    report(images, None)
        written = [csv_path] if csv_path not in (None, STDOUT) else []
        if as_json:
            details = {key: predictor.details[key] for key in ("kind", "recipe", "layer", "mode")}
            model = {"path": predictor.place, **details, "int8": predictor.int8}
            show_json(document, {"model": model, "classes": classes}, {"failed": failed, "written": written})
        elif written:
            tables.written(console.stdout, written)
    return Written(images, failed, faceless)


def _table_sink(classes: Sequence[str], faces: bool) -> Sink:
    """Print a table whose last column is the path, so that no row waits for the width of another."""
    out = console.stdout
    width = max(len("label"), *(len(visible(name)) for name in classes))
    head = f"  {'x':>5} {'y':>5} {'width':>5} {'height':>6} {'score':>5}" if faces else ""
    out.print(f"{'label':{width}}  probability{head}  image", style="bold")

    def write(row: Prediction) -> None:
        path = visible(row.path)
        if row.probabilities is None:
            style = "red" if row.error else "yellow"
            nothing = " " * len(head)
            reason = visible(row.error or NO_FACE)
            out.print(f"{'-':{width}}  {'-':>11}{nothing}  {path}: {reason}", style=style)
            return
        box = " " * len(head)
        if row.face is not None:
            x, y, wide, high, score, _ = row.face
            box = f"  {x:5.0f} {y:5.0f} {wide:5.0f} {high:6.0f} {score:5.2f}"
        out.file.write(f"{visible(row.label or ''):{width}}  {row.probabilities.max():11.3f}{box}  {path}\n")

    return write


def _csv_sink(file: TextIO, classes: Sequence[str], faces: bool) -> Sink:
    """Write csv: path, label, one column for each class, error; then the box of a face and its score."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", *map(csv_cell, classes), "error", *(FACE_COLUMNS if faces else ())])

    def write(row: Prediction) -> None:
        numbers = [""] * len(classes)
        error = row.error
        if row.probabilities is not None:
            numbers = row.probabilities.astype(str).tolist()
        elif error is None:
            error = NO_FACE
        cells = [csv_cell(row.path), csv_cell(row.label or ""), *numbers, csv_cell(error or "")]
        writer.writerow([*cells, *(face_cells(row.face) if faces else ())])

    return write


def json_sink(file: IO[str], entry: Callable[[Any], dict[str, Any]]) -> Callable[[Any], None]:
    """Write the rows of a JSON document, one a line."""
    separator = ""

    def write(row: Any) -> None:
        nonlocal separator
        file.write(f"{separator}    {json.dumps(entry(row), allow_nan=False)}")
        separator = ",\n"

    return write


def _entry(row: Prediction, predictor: Predictor) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": row.path}
    if row.face is not None:
        entry["face"] = row.face.to_dict()
    if row.probabilities is not None:
        return entry | {"label": row.label, "probabilities": predictor.named(row.probabilities)}
    return entry | ({"face": None, "error": NO_FACE} if row.error is None else {"error": row.error})


def face_cells(face: Face | None) -> list[Any]:
    """Return the cells of a face under `FACE_COLUMNS`; empty ones where there is none."""
    return [""] * len(FACE_COLUMNS) if face is None else list(face.to_dict().values())[: len(FACE_COLUMNS)]


def show_json(rows: IO[str], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print the JSON document around the rows."""
    rows.seek(0)
    sys.stdout.write(json.dumps(before, indent=2).removesuffix("\n}") + ',\n  "rows": [\n')
    shutil.copyfileobj(rows, sys.stdout)
    sys.stdout.write("\n  ],\n" + json.dumps(after, indent=2).removeprefix("{\n") + "\n")


@contextmanager
def csv_file(path: str) -> Iterator[TextIO]:
    """Open a csv file or stdout for writing; a file appears when it is complete, or not at all.

    It is UTF-8 whatever the locale, and a file name that is not text is written byte for byte.
    """
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    if path == STDOUT:
        sys.stdout.reconfigure(**options)  # type: ignore[union-attr]
        yield sys.stdout
        return
    target = Path(path)
    if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
        with target.open("w", **options) as file:
            yield file
        return
    with replacing(target) as temporary, temporary.open("w", **options) as file:
        yield file
