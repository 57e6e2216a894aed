"""A source of images, with what is wanted of it: its rows, their shape, and where the decoded set is kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import PIL

from cnnboost.errors import DataError, UnreadError
from cnnboost.files import read_json
from cnnboost.images.cache import FORMAT, Write
from cnnboost.images.decode import ColourError, InputSpec
from cnnboost.images.notes import content_hash, write_if_possible
from cnnboost.images.pool import watched
from cnnboost.images.readers import Listing, Reader, find_reader
from cnnboost.urls import without_secrets

log = logging.getLogger("cnnboost")

T = TypeVar("T")
Progress = Callable[[int, int], None]

_SAMPLED = 64
"""Number of images that are looked at for a first guess whether all are grey."""
_AT_ONCE = 32
"""Number of headers that a thread reads one after the other."""
_TINY = InputSpec(1, 1, 1)
"""Of images whose pixels are not asked for."""
_MIXED = "%s: some images are grey and others in colour; all become RGB (channels=1 makes all of them grey)"


@dataclass(eq=False, repr=False)  # its name may hold a password or a signature
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
        If the source does not exist or cannot be read; `listing`, `entry` and `spec` may raise it too.
    """

    name: str
    size: tuple[int, int] | None
    channels: int | None
    folder: Path
    n_jobs: int | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self.shown = without_secrets(self.name)
        self._reader: Reader = find_reader(self.name)

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
            content = content_hash(files, origin, self.folder / "sources", self.n_jobs)
        # Pillow decides on the pixels: another version of it may round otherwise.
        metadata = [
            *(FORMAT, reader.name, content, self.size, self.channels, PIL.__version__),
            find_spec("pillow_heif") is not None,
        ]
        key = hashlib.sha256(json.dumps(metadata).encode()).hexdigest()[:32]
        return self.folder / "images" / key

    @cached_property
    def spec(self) -> tuple[InputSpec, bool]:
        """The shape of the pixels, and whether it is only guessed that all images are grey."""
        size, channels, listing = self.size, self.channels, self.listing
        if size is not None and channels is not None:
            return InputSpec(*size, channels), False
        faults: list[DataError] = []
        first = next(listing.shapes(range(len(listing)), faults, self.n_jobs), None)
        if first is None:
            bad = [*listing.bad, *(one for error in faults for one in error.bad)]
            reason = f": {bad[0].place} {bad[0].reason}" if bad else ""
            raise DataError(f"{self.shown}: none of {len(listing)} images can be decoded{reason}", bad)
        if size is None:
            size = first[:2]
        if channels is not None:
            return InputSpec(*size, channels), False
        spread = range(0, len(listing), max(1, len(listing) // _SAMPLED))
        sampled = {first.channels, *(shape.channels for shape in listing.shapes(spread, faults, self.n_jobs))}
        if len(sampled) > 1:
            log.info(_MIXED, self.shown)
        return InputSpec(*size, max(sampled)), max(sampled) == 1

    def spec_of_all(self) -> InputSpec:
        """Return the shape of the pixels after a look at all images, where it was only guessed.

        What was seen is kept beside the place of the decoded set, so that not every run looks.
        """
        spec, guessed = self.spec
        if not guessed:
            return spec
        note = self.entry.with_name(f"{self.entry.name}.channels.json")
        channels = (read_json(note) or {}).get("channels")
        if channels not in (1, 3):
            channels = self._channels_of_all()
            write_if_possible(note, {"channels": channels})
        if channels == 3:
            log.info(_MIXED, self.shown)
        return spec._replace(channels=channels)

    def _channels_of_all(self) -> int:
        faults: list[DataError] = []
        shapes = self.listing.shapes(range(len(self.listing)), faults, self.n_jobs, _AT_ONCE)
        if any(shape.channels == 3 for shape in shapes):
            return 3
        unread = [error for error in faults if isinstance(error, UnreadError)]
        if unread:
            raise UnreadError(
                f"{self.shown}: whether all images are grey is not known, as {len(unread)} of them cannot be "
                f"read ({unread[0]}). Run the same command again when they can be, or state the channels: "
                "channels=1 or 3 (data.channels of a recipe)",
                [one for error in unread for one in error.bad],
            )
        return 1

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
        resize = self.size is not None
        decoded = listing.batches(range(n), spec, resize=resize, colour=colour, n_jobs=self.n_jobs)
        with closing(decoded) as batches:
            return write(listing, spec, watched(batches, self.shown, n, self.progress))

    def is_unread(self, rows: Sequence[int]) -> bool:
        """Tell whether images that could not be read before cannot be read now either, none of them."""
        tried = self.listing.batches(rows, _TINY, resize=True, n_jobs=self.n_jobs)
        with closing(tried) as batches:
            return all(
                len(batch.unread) == len(batch.items)
                for batch in watched(batches, self.shown, len(rows), None, retried=True)
            )
