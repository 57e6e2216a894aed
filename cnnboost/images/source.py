"""A source of images, with what is wanted of it: its rows, their shape, and where the decoded set is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL

from cnnboost.errors import DataError, UnreadError
from cnnboost.images.cache import FORMAT, Write, content_hash
from cnnboost.images.decode import ColourError, InputSpec
from cnnboost.images.pool import decode_all, watched, work_ahead
from cnnboost.images.readers import Listing, find_reader
from cnnboost.urls import without_secrets

log = logging.getLogger("cnnboost")

T = TypeVar("T")
Progress = Callable[[int, int], None]

_SAMPLED = 64
"""Number of images that are looked at for a first guess whether all are grey."""
_AT_ONCE = 32
"""Number of headers that a thread reads one after the other."""
_MIXED = "%s: some images are grey and others in colour; all become RGB (channels=1 makes all of them grey)"


class Source:
    """A source with what is wanted of it; it is listed, and its content looked at, once and when needed.

    Parameters
    ----------
    name : str
        A path, a URL, or the name of a data set, as it was given.
    size : (int, int), optional
        Height and width of the decoded images; None is those of the first image.
    channels : {1, 3}, optional
        None is 3 where an image is in colour, else 1.
    folder : Path
        The cache for decoded sets.
    n_jobs : int, optional
        Threads that decode; None leaves it to the source.
    progress : callable, optional
        Called with the number of images that are decoded, and of all.

    Raises
    ------
    DataError
        If there is no such source, or it cannot be read; `listing`, `entry` and `spec` may raise it too.
    """

    def __init__(
        self,
        name: str,
        size: tuple[int, int] | None,
        channels: int | None,
        folder: Path,
        n_jobs: int | None,
        progress: Progress | None,
    ) -> None:
        self.name, self.shown = name, without_secrets(name)
        self.size, self.channels = size, channels
        self.n_jobs, self.progress = n_jobs, progress
        self._folder, self._reader = folder, find_reader(name)

    @cached_property
    def listing(self) -> Listing:
        """The rows."""
        return self._reader.read(self.name)

    @cached_property
    def entry(self) -> Path:
        """The place of the decoded set in the cache; its name is the key."""
        reader = self._reader
        if reader.content_of is not None:
            content = reader.content_of(self.name)
        else:
            origin = f"{reader.name} {self.name if reader.name == self.name else Path(self.name).resolve()}"
            files = list(reader.files(self.name))
            content = content_hash(files, origin, self._folder / "sources", self.n_jobs)
        # Pillow decides on the pixels: another version of it may round otherwise.
        metadata = [
            *(FORMAT, reader.name, content, self.size, self.channels, PIL.__version__),
            find_spec("pillow_heif") is not None,
        ]
        key = hashlib.sha256(json.dumps(metadata).encode()).hexdigest()[:32]
        return self._folder / "images" / key

    @cached_property
    def spec(self) -> tuple[InputSpec, bool]:
        """The shape of the pixels, and whether it is only guessed that all images are grey."""
        size, channels, listing = self.size, self.channels, self.listing
        if size is not None and channels is not None:
            return InputSpec(*size, channels), False
        faults: list[DataError] = []
        first = next(self._shapes(range(len(listing)), faults), None)
        if first is None:
            bad = [*listing.bad, *(one for error in faults for one in error.bad)]
            reason = f": {bad[0].place} {bad[0].reason}" if bad else ""
            raise DataError(f"{self.shown}: none of {len(listing)} images can be decoded{reason}", bad)
        if size is None:
            size = first[:2]
        if channels is not None:
            return InputSpec(*size, channels), False
        spread = range(0, len(listing), max(1, len(listing) // _SAMPLED))
        sampled = {first.channels, *(shape.channels for shape in self._shapes(spread, faults))}
        if len(sampled) > 1:
            log.info(_MIXED, self.shown)
        return InputSpec(*size, max(sampled)), max(sampled) == 1

    def _shapes(self, rows: Iterable[int], faults: list[DataError], at_once: int = 1) -> Iterator[InputSpec]:
        return shapes_of(self.listing, rows, faults, self.n_jobs, at_once)

    def spec_of_all(self) -> InputSpec:
        """Return the shape of the pixels after a look at all images, where it was only guessed."""
        spec, guessed = self.spec
        if not guessed:
            return spec
        faults: list[DataError] = []
        shapes = self._shapes(range(len(self.listing)), faults, _AT_ONCE)
        if any(shape.channels == 3 for shape in shapes):
            log.info(_MIXED, self.shown)
            return spec._replace(channels=3)
        unread = [error for error in faults if isinstance(error, UnreadError)]
        if unread:
            raise UnreadError(
                f"{self.shown}: whether all images are grey is not known, as {len(unread)} of them cannot be "
                f"read ({unread[0]}). Run the same command again when they can be, or state the channels: "
                "channels=1 or 3 (data.channels of a recipe)",
                [one for error in unread for one in error.bad],
            )
        return spec

    def decode(self, write: Write[T]) -> T:
        """Decode all images, and return what `write` makes of their batches.

        Raises
        ------
        DataError
            If no image can be decoded; `UnreadError` if many in a row cannot be read.
        """
        spec, guessed = self.spec
        try:
            return self._decode(write, spec, not guessed)
        except ColourError as error:
            log.info(_MIXED, self.shown)
            log.debug("%s: %s is the first in colour", self.shown, error)
            return self._decode(write, spec._replace(channels=3), True)

    def _decode(self, write: Write[T], spec: InputSpec, colour: bool) -> T:
        listing, n = self.listing, len(self.listing)

        def pixels(row: int) -> np.ndarray:
            return listing.image(row, spec, self.size is not None, colour)

        threads = listing.threads if self.n_jobs is None else self.n_jobs
        with closing(decode_all(range(n), pixels, spec, threads)) as batches:
            return write(listing, spec, watched(batches, self.shown, n, self.progress))


def shapes_of(
    listing: Listing,
    rows: Iterable[int],
    faults: list[DataError],
    n_jobs: int | None = None,
    at_once: int = 1,
) -> Iterator[InputSpec]:
    """Give the shapes of the rows that can be read, by their headers; collect what is wrong with others.

    `at_once` is how many a thread reads one after the other: few where not all may be needed.
    """

    def look(chunk: list[int], stop: threading.Event) -> list[InputSpec | DataError]:
        found: list[InputSpec | DataError] = []
        for row in chunk:
            if stop.is_set():
                break
            try:
                found.append(listing.shape(row))
            except DataError as error:
                found.append(error)
        return found

    threads = listing.threads if n_jobs is None else n_jobs
    with closing(work_ahead(rows, look, at_once, threads)) as looked:
        for one in chain.from_iterable(looked):
            if isinstance(one, DataError):
                faults.append(one)
            else:
                yield one
