"""What a reader finds in a source before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnboost.errors import BadInput
from cnnboost.images.decode import InputSpec, fit_array
from cnnboost.images.imageset import SPLITS
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


@dataclass(frozen=True)
class Listing:
    """The rows of a source, in the order of the splits.

    Attributes
    ----------
    ids : sequence of str
        Where each row stands in its source, for messages.
    y : ndarray of shape (n,), dtype int64
        Positions in `classes`.
    classes : tuple of str
    splits : ndarray of shape (n,), dtype str
        ``train``, ``validation`` or ``test``.
    shape : callable, ``shape(row)``
        The shape that a row has by itself, from no more than its header.
    image : callable, ``image(row, spec, resize)``
        The pixels of a row, uint8 in the shape `spec`; called by several threads. `DataError` for a bad row.
    image_if_grey : callable, optional
        The same, but it raises `ColourError` for an image in colour where `spec` is grey.
    bad : tuple of BadInput
        Rows that are left out already.
    """

    ids: Sequence[str]
    y: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: npt.NDArray[np.str_]
    shape: Callable[[int], InputSpec]
    image: Callable[[int, InputSpec, bool], np.ndarray]
    image_if_grey: Callable[[int, InputSpec, bool], np.ndarray] | None = None
    bad: tuple[BadInput, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Reader:
    """One kind of source. A new one is a file in this folder and an entry in `READERS`.

    Attributes
    ----------
    name : str
        Readers of one name read the same images from the same files.
    accepts : str
        What it reads, for messages.
    matches : callable, ``matches(source)``
        Whether this reader is the one for a source, by a glance at it.
    files : callable, ``files(source)``
        The stamps of the files that the content of the source consists of.
    read : callable, ``read(source)``
        The `Listing`; `DataError` where the source as a whole cannot be used.
    """

    name: str
    accepts: str
    matches: Callable[[str], bool]
    files: Callable[[str], Iterable[FileStamp]]
    read: Callable[[str], Listing]


def file_reader(name: str, accepts: str, suffix: str, read: Callable[[str], Listing]) -> Reader:
    """Make the reader of a source that is a single file, known by its suffix."""

    def matches(source: str) -> bool:
        path = Path(source)
        return path.is_file() and path.suffix.lower() == suffix

    return Reader(name, accepts, matches, lambda source: [stamp(Path(source), "")], read)


def stamp(path: Path, name: str | None = None) -> FileStamp:
    """Return the stamp of one file; a source that is a single file gives it the name ""."""
    stat = path.stat()
    return FileStamp(path.name if name is None else name, str(path), stat.st_size, stat.st_mtime_ns)


def split_of(word: str) -> str | None:
    """Return the split that a word from a folder name, a csv column or an array name stands for."""
    return SPLIT_WORDS.get(word.strip().lower())


def split_order(splits: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return the stable order that puts train before validation before test."""
    rank = {name: position for position, name in enumerate(SPLITS)}
    return np.argsort(np.array([rank[name] for name in splits], dtype=np.int8), kind="stable")


def codes_of(labels: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the positions of labels in the classes."""
    code = {name: position for position, name in enumerate(classes)}
    return np.array([code[label] for label in labels], dtype=np.int64)


def array_listing(
    pixels: npt.NDArray[np.uint8],
    y: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    splits: Sequence[str],
    ids: Sequence[str],
    bad: Sequence[BadInput] = (),
) -> Listing:
    """List rows that are pixels already, (n, height, width, channels)."""
    order = split_order(splits)
    names = [ids[row] for row in order]
    spec = InputSpec(*pixels.shape[1:])

    def image(row: int, wanted: InputSpec, resize: bool) -> np.ndarray:
        return fit_array(pixels[order[row]], wanted, names[row], resize=resize)

    return Listing(
        ids=names,
        y=y[order],
        classes=classes,
        splits=np.array(splits, dtype=np.str_)[order],
        shape=lambda _: spec,
        image=image,
        bad=tuple(bad),
    )
