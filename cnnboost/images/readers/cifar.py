"""CIFAR-10's binary batches: ``data_batch_1.bin`` ..., ``test_batch.bin`` and ``batches.meta.txt``.

A row is a label byte and then 1,024 red, 1,024 green and 1,024 blue bytes, row by row
(https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version").
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnnboost.errors import DataError
from cnnboost.files import read_regular
from cnnboost.images.readers.listing import Listing, Reader, array_listing, stamp
from cnnboost.images.tree import FileStamp

_ROW = 1 + 3 * 32 * 32
_META = "batches.meta.txt"


def _batches(source: str) -> list[Path]:
    """Find the batches in the folder, or in one below it."""
    for folder in (Path(source), Path(source) / "cifar-10-batches-bin"):
        if batches := [*sorted(folder.glob("data_batch_*.bin")), *folder.glob("test_batch.bin")]:
            return batches
    return []


def _files(source: str) -> list[FileStamp]:
    batches = _batches(source)
    return [stamp(path) for path in (*batches, batches[0].with_name(_META)) if path.exists()]


def _read(source: str) -> Listing:
    batches = _batches(source)
    classes = _class_names(batches[0].with_name(_META))
    splits: list[str] = []
    ids: list[str] = []
    rows = []
    for path in batches:
        batch = _rows(path, len(classes))
        rows.append(batch)
        splits += ["test" if path.name.startswith("test") else "train"] * len(batch)
        ids += [f"{path.name} row {row + 1}" for row in range(len(batch))]
    stacked = np.concatenate(rows)
    pixels = stacked[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return array_listing(pixels, stacked[:, 0].astype(np.int64), classes, splits, ids)


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        text = read_regular(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(f"{path}: cannot be read ({reason}); it holds the class names, one a line") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(set(names)) < len(names):
        raise DataError(f"{path}: names {max(names, key=names.count)!r} twice; name each class once")
    return names


def _rows(path: Path, n_classes: int) -> np.ndarray:
    try:
        content = np.frombuffer(read_regular(path), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) == 0 or len(content) % _ROW:
        raise DataError(
            f"{path}: {len(content)} bytes are not a whole number of rows of {_ROW}: empty or cut off; "
            "download it again"
        )
    rows = content.reshape(-1, _ROW)
    wrong = np.flatnonzero(rows[:, 0] >= n_classes)
    if len(wrong):
        raise DataError(
            f"{path}: row {int(wrong[0]) + 1} has label {int(rows[wrong[0], 0])}, but {_META} names "
            f"{n_classes} classes"
        )
    return rows


CIFAR = Reader(
    "cifar",
    "a folder with CIFAR-10's binary batches (data_batch_1.bin ..., batches.meta.txt)",
    lambda source: bool(_batches(source)),
    _files,
    _read,
)
