"""FER-2013 as a csv file: a row for each face, its pixels as numbers with blanks between them."""

from __future__ import annotations

import math
import re
import weakref
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from cnnboost.errors import BadInput, DataError
from cnnboost.files import open_regular
from cnnboost.images.decode import MAX_PIXELS, InputSpec, bad_input, fit_array
from cnnboost.images.imageset import ImageSet
from cnnboost.images.readers.listing import Listing, array_listing, codes_of, file_reader, split_of

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Names of the labels 0 to 6 in the order of the original data."""

KEPT = 256 << 20
"""Bytes of pixels that are kept from the look at all rows; those of a larger file are read once more."""
_VALUES = {str(value).encode(): value for value in range(256)}
_USAGES = "Training, PublicTest, PrivateTest"


class _Columns(NamedTuple):
    emotion: int
    pixels: int
    usage: int | None
    width: int
    separator: bytes


class _Row(NamedTuple):
    id: str
    name: str
    split: str
    pixels: bytes
    n_pixels: int
    offset: int = 0


def _read(source: str) -> Listing:
    """Read ``emotion,pixels,Usage``, in any order, with or without blanks after the commas."""
    rows: list[_Row] = []
    bad: list[BadInput] = []
    with open_regular(source) as file:
        header = file.readline(1 << 16)
        columns = _columns(source, header)
        number, kept, offset = 0, 0, len(header)
        for line_number, line in enumerate(file, start=2):
            begin, offset = offset, offset + len(line)
            if not line.strip():
                continue
            number += 1
            try:
                row = _row(f"row {number}", line, columns)._replace(offset=begin)
            except ValueError as error:
                bad.append(BadInput(f"row {number} (line {line_number})", str(error)))
                continue
            if kept <= KEPT < kept + row.n_pixels:  # from here on they are read again when they are asked for
                rows = [one._replace(pixels=b"") for one in rows]
            kept += row.n_pixels
            rows.append(row if kept <= KEPT else row._replace(pixels=b""))
    if not rows:
        first = f": {bad[0].place} {bad[0].reason}" if bad else ""
        raise DataError(f"{source}: holds no usable row{first}", bad)
    # The usual count, not that of the first row: the first row can be the one that is wrong.
    count = Counter(row.n_pixels for row in rows).most_common(1)[0][0]
    side = math.isqrt(count)
    if side * side != count or not 0 < count <= MAX_PIXELS:
        raise DataError(f"{source}: most rows have {count} pixels, which make no square image")
    expected = f"the other rows have {count} ({side} x {side})"
    bad += [
        BadInput(row.id, f"has {row.n_pixels} pixels; {expected}") for row in rows if row.n_pixels != count
    ]
    rows = [row for row in rows if row.n_pixels == count]
    classes = tuple(sorted({row.name for row in rows}))
    if kept > KEPT:
        return _read_again(source, columns, rows, InputSpec(side, side, 1), classes, bad)
    return array_listing(
        source,
        np.frombuffer(b"".join(row.pixels for row in rows), dtype=np.uint8).reshape(-1, side, side, 1),
        codes_of([row.name for row in rows], classes),
        classes,
        splits=[row.split for row in rows],
        ids=[row.id for row in rows],
        bad=bad,
    )


def _read_again(
    source: str,
    columns: _Columns,
    rows: Sequence[_Row],
    own: InputSpec,
    classes: tuple[str, ...],
    bad: Sequence[BadInput],
) -> Listing:
    """List rows whose pixels are read from the file when they are asked for."""
    ids, offsets = [row.id for row in rows], [row.offset for row in rows]
    file, lock = open_regular(source), Lock()

    def image(row: int, spec: InputSpec, resize: bool, colour: bool) -> np.ndarray:
        with lock:
            file.seek(offsets[row])
            line = file.readline()
        try:
            pixels = np.frombuffer(_row(ids[row], line, columns).pixels, dtype=np.uint8).reshape(own)
        except ValueError as error:
            raise bad_input(ids[row], f"was changed while it was in use: it {error}") from error
        return fit_array(pixels, spec, ids[row], resize=resize)

    weakref.finalize(image, file.close)
    y = codes_of([row.name for row in rows], classes)
    splits = [row.split for row in rows]
    return Listing.in_order(ids, y, classes, splits, lambda _: own, image, bad=tuple(bad))


def _cells(line: bytes, separator: bytes) -> list[bytes]:
    # Neither labels, usages nor pixels hold a separator, so quotes are no more than decoration.
    return [cell.strip().strip(b'"').strip() for cell in line.split(separator)]


def _columns(source: str, header: bytes) -> _Columns:
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{source}: is written in UTF-16; save it as UTF-8")
    header = header.removeprefix(b"\xef\xbb\xbf")
    # Spreadsheets write semicolons where a comma is the decimal sign.
    separator = next((mark for mark in (b",", b";", b"\t") if mark in header), b",")
    names = [cell.decode("utf-8", "replace").lower() for cell in _cells(header, separator)]
    for wanted in ("emotion", "pixels"):
        if names.count(wanted) != 1:
            raise DataError(
                f"{source}: has {names.count(wanted) or 'no'} columns named {wanted!r} in its first line "
                f"({', '.join(map(repr, names))}); it should have emotion, pixels and (optional) Usage once"
            )
    usage = names.index("usage") if "usage" in names else None
    return _Columns(names.index("emotion"), names.index("pixels"), usage, len(names), separator)


def _row(place: str, line: bytes, columns: _Columns) -> _Row:
    """Read one row; ValueError says what is wrong with it."""
    cells = _cells(line, columns.separator)
    if len(cells) != columns.width:
        raise ValueError(f"has {len(cells)} columns, the first line has {columns.width}")
    label = cells[columns.emotion]
    if not label.isdigit() or len(label) > 3 or int(label) >= len(EMOTIONS):
        raise ValueError(f"has the label {_shown(label)}; labels are 0 to 6 ({', '.join(EMOTIONS)})")
    usage = "train" if columns.usage is None else cells[columns.usage].decode("utf-8", "replace")
    split = split_of(usage)
    if split is None:
        raise ValueError(f"has the Usage {usage!r}; accepted are {_USAGES}")
    words = cells[columns.pixels].split()
    try:
        pixels = bytes(map(_VALUES.__getitem__, words))
    except KeyError as error:
        word = error.args[0]
        raise ValueError(
            f"has the pixel {_shown(word)} at position {words.index(word) + 1}; pixels are 0 to 255"
        ) from None
    return _Row(place, EMOTIONS[int(label)], split, pixels, len(pixels))


def _shown(cell: bytes) -> str:
    return repr(cell[:20].decode("utf-8", "replace"))


def output_orders(images: ImageSet) -> list[tuple[str, ...]]:
    """Return the orders in which a network from elsewhere may give these classes, the likeliest first."""
    orders = [images.classes, tuple(sorted(images.classes)), tuple(sorted(images.classes, key=_by_number))]
    if all(name.lower() in EMOTIONS for name in images.classes):
        numbered = tuple(sorted(images.classes, key=lambda name: EMOTIONS.index(name.lower())))
        orders.insert(0 if CSV.matches(images.source) else 1, numbered)
    return list(dict.fromkeys(orders))


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


CSV = file_reader(
    "csv", "a .csv file with the columns emotion, pixels and Usage (fer2013.csv)", ".csv", _read
)
