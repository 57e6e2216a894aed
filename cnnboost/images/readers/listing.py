"""What a reader finds in a source before anything is decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.errors import BadInput, DataError
from cnnboost.files import digest_of, reason_of
from cnnboost.images.decode import InputSpec, decode_image, fit_array, image_shape
from cnnboost.images.imageset import SPLITS, check_labels
from cnnboost.images.pool import Batch, attempts, decode_all, work_ahead
from cnnboost.images.tree import FileStamp, Tree
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

    @classmethod
    def in_order(
        cls,
        ids: Sequence[str],
        y: npt.NDArray[np.integer],
        classes: tuple[str, ...],
        splits: Sequence[str],
        shape: Callable[[int], InputSpec],
        image: Callable[[int, InputSpec, bool, bool], np.ndarray],
        **more: Any,
    ) -> Listing:
        """Bring rows into the order of the splits; `shape` and `image` get their numbers as given."""
        order = np.argsort([SPLITS.index(name) for name in splits], kind="stable")
        numbers = order.tolist()
        return cls(
            ids=[ids[row] for row in numbers],
            y=y[order].astype(np.int64),
            classes=classes,
            splits=np.array(splits, dtype=np.str_)[order],
            shape=lambda row: shape(numbers[row]),
            image=lambda row, *how: image(numbers[row], *how),
            **more,
        )

    def shapes(
        self, rows: Iterable[int], faults: list[DataError], n_jobs: int | None = None, at_once: int = 1
    ) -> Iterator[InputSpec]:
        """Give the shapes of the rows that can be read, by their headers; collect what is wrong with others.

        `at_once` is how many a thread reads one after the other: few where not all may be needed.
        """

        def look(chunk: list[int], stop: threading.Event) -> list[InputSpec | DataError | OSError]:
            return [found for _, found in attempts(chunk, self.shape, stop)]

        with closing(work_ahead(rows, look, at_once, self._threads(n_jobs))) as looked:
            for one in chain.from_iterable(looked):
                if isinstance(one, InputSpec):
                    yield one
                elif isinstance(one, DataError):
                    faults.append(one)
                else:
                    raise one

    def batches(
        self,
        rows: Sequence[int],
        spec: InputSpec,
        *,
        resize: bool,
        colour: bool = True,
        n_jobs: int | None = None,
        ahead: int = 0,
    ) -> Generator[Batch[int], None, None]:
        """Decode rows in the order given; see `image` and `decode_all`."""

        def decode(row: int) -> np.ndarray:
            return self.image(row, spec, resize, colour)

        return decode_all(rows, decode, spec, self._threads(n_jobs), ahead)

    def _threads(self, n_jobs: int | None) -> int | None:
        return self.threads if n_jobs is None else n_jobs

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
    own = InputSpec(*pixels.shape[1:])

    def image(row: int, spec: InputSpec, resize: bool, colour: bool) -> np.ndarray:
        return fit_array(pixels[row], spec, ids[row], resize=resize)

    return Listing.in_order(ids, y, classes, splits, lambda _: own, image, bad=tuple(bad))


def tree_listing(
    tree: Tree, rows: Sequence[tuple[str, str, str]], classes: Sequence[str], **more: Any
) -> Listing:
    """List images of a tree: file, split and class of each."""
    paths = [path for path, _, _ in rows]

    def shape(row: int) -> InputSpec:
        return image_shape(tree.read(paths[row]), paths[row])

    def image(row: int, spec: InputSpec, resize: bool, colour: bool) -> np.ndarray:
        return decode_image(tree.read(paths[row]), spec, paths[row], resize=resize, colour=colour)

    y = codes_of([label for _, _, label in rows], classes)
    splits = [split for _, split, _ in rows]
    return Listing.in_order(paths, y, tuple(classes), splits, shape, image, **more)
