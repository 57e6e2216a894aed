"""What a reader finds in a source before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnboost.errors import BadInput, DataError
from cnnboost.files import digest_of, reason_of
from cnnboost.images.decode import InputSpec, fit_array
from cnnboost.images.imageset import SPLITS, check_labels
from cnnboost.images.tree import FileStamp
from cnnboost.urls import without_secrets

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "privatetest"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """The rows of a source, in the order of the splits.

    Attributes
    ----------
    ids : sequence of str
        The place of each row in its source, for messages.
    y : ndarray of shape (n,), dtype int64
        Positions in `classes`.
    classes : tuple of str
    splits : ndarray of shape (n,), dtype str
        ``train``, ``validation`` or ``test``.
    shape : callable, ``shape(row)``
        The shape that a row has by itself, from no more than its header.
    image : callable, ``image(row, spec, resize, colour)``
        The pixels of a row, uint8 in the shape `spec`; called by several threads. `DataError` for a bad row;
        without `colour`, `ColourError` for an image in colour where `spec` is grey.
    bad : tuple of BadInput
        Rows that are left out already.
    threads : int, optional
        How many threads pay off where rows are mostly waited for; None is one for each core.
    below : str
        The folder or URL that `ids` are relative to, where it is another one than the source.
    """

    ids: Sequence[str]
    y: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    splits: npt.NDArray[np.str_]
    shape: Callable[[int], InputSpec]
    image: Callable[[int, InputSpec, bool, bool], np.ndarray]
    bad: tuple[BadInput, ...] = ()
    threads: int | None = None
    below: str = ""

    @cached_property
    def digest(self) -> str:
        """sha256 over the places of the rows: two processes that agree on it list the same rows."""
        return digest_of([self.below, *self.ids])

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
    list_rows : callable, ``list_rows(source)``
        The `Listing`; `DataError` where the source as a whole cannot be used.
    content_of : callable, ``content_of(source)``, optional
        A digest of the content, where that is not the content of `files`.
    """

    name: str
    accepts: str
    matches: Callable[[str], bool]
    files: Callable[[str], Iterable[FileStamp]]
    list_rows: Callable[[str], Listing]
    content_of: Callable[[str], str] | None = None

    def read(self, source: str) -> Listing:
        """List the rows of a source; a file that cannot be read is a `DataError`."""
        try:
            return self.list_rows(source)
        except OSError as error:
            place = error.filename or without_secrets(source)
            raise DataError(f"{place}: cannot be read ({reason_of(error)})") from error


def file_reader(name: str, accepts: str, suffix: str, list_rows: Callable[[str], Listing]) -> Reader:
    """Make the reader of a source that is a single file, known by its suffix."""

    def matches(source: str) -> bool:
        path = Path(source)
        return path.is_file() and path.suffix.lower() == suffix

    return Reader(name, accepts, matches, lambda source: [stamp(Path(source), "")], list_rows)


def stamp(path: Path, name: str | None = None) -> FileStamp:
    """Return the stamp of one file; a source that is a single file gives it the name ""."""
    stat = path.stat()
    return FileStamp(path.name if name is None else name, str(path), stat.st_size, stat.st_mtime_ns)


def split_of(word: str) -> str | None:
    """Return the split that a word from a folder name, a csv column or an array name means."""
    return SPLIT_WORDS.get(word.strip().lower())


def split_order(splits: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return the stable order that puts train before validation before test."""
    return np.argsort([SPLITS.index(name) for name in splits], kind="stable")


def codes_of(labels: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the positions of labels in the classes."""
    code = {name: position for position, name in enumerate(classes)}
    return np.array([code[label] for label in labels], dtype=np.int64)


def array_listing(
    source: str,
    pixels: npt.NDArray[np.uint8],
    y: npt.NDArray[np.integer],
    classes: tuple[str, ...],
    splits: Sequence[str],
    ids: Sequence[str],
    bad: Sequence[BadInput] = (),
) -> Listing:
    """List rows that are pixels already, (n, height, width, channels)."""
    check_labels(source, y, classes, ids)
    order = split_order(splits)
    names = [ids[row] for row in order]
    own = InputSpec(*pixels.shape[1:])

    def image(row: int, spec: InputSpec, resize: bool, colour: bool) -> np.ndarray:
        return fit_array(pixels[order[row]], spec, names[row], resize=resize)

    return Listing(
        ids=names,
        y=y[order].astype(np.int64),
        classes=classes,
        splits=np.array(splits, dtype=np.str_)[order],
        shape=lambda _: own,
        image=image,
        bad=tuple(bad),
    )
