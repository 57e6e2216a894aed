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
    """Return the split that a word from a folder name, a csv column or an array name stands for.

    Examples
    --------
    >>> split_of("Training"), split_of("PublicTest"), split_of("PrivateTest"), split_of("happy")
    ('train', 'validation', 'test', None)
    """
    return SPLIT_WORDS.get(word.strip().lower())


@dataclass(frozen=True)
class Listing:
    """The rows of a source, in the order of the splits.

    Attributes
    ----------
    ids : sequence of str of length n
    y : ndarray of shape (n,), dtype int64
    classes : tuple of str
    splits : ndarray of shape (n,), dtype str
    shape : callable
        ``shape(row)``: the `InputSpec` that a row has by itself; `DataError` where it has none.
    image : callable
        ``image(row, spec, resize)``: its pixels, uint8 of the shape `spec`; `DataError` with one
        `BadInput` where there are none. Called from several threads.
    image_if_grey : callable, optional
        The same, but `ColourError` for a row in colour; only for rows that may differ in channels.
    bad : tuple of BadInput
        What the reader itself could not make a row of.
    close : callable
        Releases files.
    """

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
    """One kind of source. A new one is a file in this folder and an entry in `READERS`.

    Attributes
    ----------
    name : str
        Enters the key of the cache.
    accepts : str
        What it reads, in words, for the message about a source that nothing reads.
    """

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
