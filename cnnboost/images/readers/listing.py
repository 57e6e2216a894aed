"""What a reader finds in a source before anything is decoded, and what every reader can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cnnboost.errors import BadInput
from cnnboost.images.decode import InputSpec
from cnnboost.images.split import SPLITS
from cnnboost.images.tree import FileStamp

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "publictest": "validation",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}


def split_of(word: str) -> str | None:
    """Return the split that a word from a folder name, a csv column or an array name stands for."""
    return SPLIT_WORDS.get(word.strip().lower())


@dataclass(frozen=True)
class Listing:
    """The rows of a source, in the order of the splits."""

    ids: Sequence[str]
    y: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: npt.NDArray[np.str_]
    shape: Callable[[int], InputSpec]
    image: Callable[[int, InputSpec, bool], np.ndarray]
    image_if_grey: Callable[[int, InputSpec, bool], np.ndarray] | None = None
    bad: tuple[BadInput, ...] = ()
    close: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self.ids)


class Reader(Protocol):
    """One kind of source. A new one is a file in this folder and an entry in `READERS`."""

    name: str
    accepts: str

    def matches(self, source: str | Path) -> bool:
        """Tell whether this reader is the one for `source`, by a glance at it."""

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return the files that the content of the source consists of."""

    def read(self, source: str | Path) -> Listing:
        """List the rows; `DataError` where the source as a whole cannot be used."""


def stamp(path: Path, name: str | None = None) -> FileStamp:
    """Return the stamp of one file; a source that is a single file gives it the name ""."""
    stat = path.stat()
    return FileStamp(path.name if name is None else name, str(path), stat.st_size, stat.st_mtime_ns)


def split_order(splits: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return the stable order that puts train before validation before test."""
    rank = {name: position for position, name in enumerate(SPLITS)}
    return np.argsort(np.array([rank[name] for name in splits], dtype=np.int8), kind="stable")
