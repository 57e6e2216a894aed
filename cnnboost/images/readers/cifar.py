"""CIFAR-10's binary batches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cnnboost.errors import DataError
from cnnboost.files import read_regular
from cnnboost.images.readers.arrays import array_listing
from cnnboost.images.readers.listing import Listing, stamp
from cnnboost.images.tree import FileStamp

_ROW = 1 + 3 * 32 * 32
_META = "batches.meta.txt"


class CifarReader:
    """A folder with ``data_batch_1.bin`` ..., ``test_batch.bin`` and ``batches.meta.txt``.

    A row is a label byte and then 1,024 red, 1,024 green and 1,024 blue bytes, row by row
    (https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version").
    """

    name = "cifar"
    accepts = "a folder with CIFAR-10's binary batches (data_batch_1.bin ..., batches.meta.txt)"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the batches stand in the folder, or in one below it."""
        return _folder(Path(source)) is not None

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return the batches and the class names."""
        folder = _folder(Path(source)) or Path(source)
        return [stamp(path) for path in (*_batches(folder), folder / _META) if path.exists()]

    def read(self, source: str | Path) -> Listing:
        """Map the batches."""
        folder = _folder(Path(source)) or Path(source)
        try:
            text = read_regular(folder / _META).decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise DataError(
                f"{folder / _META}: cannot be read ({reason}); it holds the class names, one a line"
            ) from error
        classes = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(set(classes)) < len(classes):
            twice = max(classes, key=classes.count)
            raise DataError(f"{folder / _META}: names {twice!r} twice; name each class once")
        rows, splits, ids = [], [], []
        for path in _batches(folder):
            batch = _read_batch(path, len(classes))
            rows.append(batch)
            splits += ["test" if path.name.startswith("test") else "train"] * len(batch)
            ids += [f"{path.name} row {row + 1}" for row in range(len(batch))]
        stacked = np.concatenate(rows)
        pixels = stacked[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return array_listing(pixels, stacked[:, 0].astype(np.int64), classes, splits, ids)


def _folder(source: Path) -> Path | None:
    for folder in (source, source / "cifar-10-batches-bin"):
        if folder.is_dir() and _batches(folder):
            return folder
    return None


def _batches(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("data_batch_*.bin")), *sorted(folder.glob("test_batch.bin"))]


def _read_batch(path: Path, n_classes: int) -> np.ndarray:
    try:
        content = np.frombuffer(read_regular(path), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) == 0 or len(content) % _ROW:
        raise DataError(
            f"{path}: {len(content)} bytes are not a whole number of rows of {_ROW}: empty or cut off; "
            "download it again"
        )
    batch = content.reshape(-1, _ROW)
    wrong = np.flatnonzero(batch[:, 0] >= n_classes)
    if len(wrong):
        raise DataError(
            f"{path}: row {int(wrong[0]) + 1} has label {int(batch[wrong[0], 0])}, but {_META} names "
            f"{n_classes} classes"
        )
    return batch
