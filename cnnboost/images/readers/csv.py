"""FER-2013 as a csv file: a row for each face, its pixels as numbers with blanks between them."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from cnnboost.errors import BadInput, DataError
from cnnboost.files import open_regular
from cnnboost.images.decode import MAX_PIXELS, InputSpec, bad_input, fit_array
from cnnboost.images.readers.listing import Listing, split_of, split_order, stamp
from cnnboost.images.tree import FileStamp

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Names of the labels 0 to 6 in the order of the original data."""

_VALUES = {str(value).encode(): value for value in range(256)}
_USAGES = "Training, PublicTest, PrivateTest"


class CsvReader:
    """``emotion,pixels,Usage``, in any order, with or without blanks after the commas, `Usage` optional."""

    name = "csv"
    accepts = "a .csv file with the columns emotion, pixels and Usage (fer2013.csv)"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the source is a csv file."""
        path = Path(source)
        return path.is_file() and path.suffix.lower() == ".csv"

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return the file itself."""
        return [stamp(Path(source), "")]

    def read(self, source: str | Path) -> Listing:
        """List the rows; their pixels are only counted."""
        path = Path(source)
        try:
            file = open_regular(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            return _list_rows(path, file)
        except BaseException:
            file.close()
            raise


def _cells(line: bytes, separator: bytes) -> list[bytes]:
    # Neither labels, usages nor pixels hold a separator, so quotes are no more than decoration.
    return [cell.strip().strip(b'"').strip() for cell in line.split(separator)]


class _Columns(NamedTuple):
    emotion: int
    pixels: int
    usage: int | None
    width: int
    separator: bytes


def _columns(path: Path, header: bytes) -> _Columns:
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is written in UTF-16; save it as UTF-8")
    header = header.removeprefix(b"\xef\xbb\xbf")
    # Spreadsheets write semicolons where a comma is the decimal sign.
    separator = next((mark for mark in (b",", b";", b"\t") if mark in header), b",")
    names = [cell.decode("utf-8", "replace").lower() for cell in _cells(header, separator)]
    for wanted in ("emotion", "pixels"):
        if wanted not in names:
            raise DataError(
                f"{path}: has no column {wanted!r}; its first line has {', '.join(map(repr, names))}, "
                "wanted are emotion, pixels and (optional) Usage"
            )
        if names.count(wanted) > 1:
            raise DataError(f"{path}: has two columns {wanted!r} in its first line; keep one of them")
    usage = names.index("usage") if "usage" in names else None
    return _Columns(names.index("emotion"), names.index("pixels"), usage, len(names), separator)


def _list_rows(path: Path, file: BinaryIO) -> Listing:
    header = file.readline(1 << 16)
    if not header.strip():
        raise DataError(
            f"{path}: is empty; wanted are a first line emotion,pixels,Usage and a row for each image"
        )
    columns = _columns(path, header)
    ids: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    spans: list[tuple[int, int]] = []
    sides: Counter[int] = Counter()
    bad: list[BadInput] = []
    offset, row = len(header), 0
    for line_number, line in enumerate(file, start=2):
        start, offset = offset, offset + len(line)
        if not line.strip():
            continue
        row += 1
        cells = _cells(line, columns.separator)
        fault = _fault(cells, columns)
        if fault is not None:
            bad.append(BadInput(f"row {row} (line {line_number})", fault))
            continue
        ids.append(f"row {row}")
        names.append(EMOTIONS[int(cells[columns.emotion])])
        usage = "train" if columns.usage is None else cells[columns.usage].decode()
        splits.append(split_of(usage) or "train")
        spans.append((start, len(line)))
        sides[cells[columns.pixels].count(b" ") + 1] += 1
    if not ids:
        told = f": {bad[0].place} {bad[0].reason}" if bad else ""
        raise DataError(f"{path}: holds no usable row{told}", bad)
    # The usual count, not that of the first row: the first row can be the one that is wrong.
    count = sides.most_common(1)[0][0]
    side = math.isqrt(count)
    if side * side != count or count > MAX_PIXELS:
        raise DataError(f"{path}: most rows have {count} pixels, which make no square image")
    order = split_order(splits)
    rows = _PixelRows(file, columns, [spans[k] for k in order], [ids[k] for k in order], side)
    classes = tuple(sorted(set(names)))
    code = {name: position for position, name in enumerate(classes)}
    return Listing(
        ids=rows.ids,
        y=np.array([code[names[k]] for k in order], dtype=np.int64),
        classes=classes,
        splits=np.array(splits, dtype=np.str_)[order],
        shape=lambda _: InputSpec(side, side, 1),
        image=rows.image,
        bad=tuple(bad),
        close=file.close,
    )


def _fault(cells: list[bytes], columns: _Columns) -> str | None:
    if len(cells) != columns.width:
        return f"has {len(cells)} columns, the first line has {columns.width}"
    label = cells[columns.emotion]
    if not label.isdigit() or len(label) > 3 or int(label) >= len(EMOTIONS):
        told = label[:20].decode("utf-8", "replace")
        return f"has the label {told!r}; labels are 0 to 6 ({', '.join(EMOTIONS)})"
    if columns.usage is not None:
        usage = cells[columns.usage].decode("utf-8", "replace")
        if split_of(usage) is None:
            return f"has the Usage {usage!r}; accepted are {_USAGES}"
    return None


class _PixelRows:
    """The pixels of the rows, read from the file when they are asked for."""

    def __init__(
        self, file: BinaryIO, columns: _Columns, spans: list[tuple[int, int]], ids: list[str], side: int
    ) -> None:
        self.ids = ids
        self._file = file
        self._column, self._separator = columns.pixels, columns.separator
        self._spans = spans
        self._side = side
        self._lock = threading.Lock()

    def image(self, row: int, spec: InputSpec, resize: bool) -> np.ndarray:
        start, length = self._spans[row]
        with self._lock:
            self._file.seek(start)
            line = self._file.read(length)
        words = _cells(line, self._separator)[self._column].split()
        place, side = self.ids[row], self._side
        try:
            values = bytes(map(_VALUES.__getitem__, words))
        except KeyError as error:
            word = error.args[0]
            told = word[:20].decode("utf-8", "replace")
            raise bad_input(
                place, f"has the pixel {told!r} at position {words.index(word) + 1}; pixels are 0 to 255"
            ) from None
        if len(values) != side * side:
            raise bad_input(
                place, f"has {len(values)} pixels; the other rows have {side * side} ({side} x {side})"
            )
        pixels = np.frombuffer(values, dtype=np.uint8).reshape(side, side, 1)
        return fit_array(pixels, spec, place, resize=resize)
