"""Pixels that are decoded whenever they are asked for, and kept nowhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnboost.errors import BadInput, DataError
from cnnboost.images.decode import InputSpec, bad_images
from cnnboost.images.pool import Batch, watched
from cnnboost.memory import budget, show_size
from cnnboost.urls import without_secrets

if TYPE_CHECKING:
    from cnnboost.images.readers.listing import Listing


class StreamedPixels:
    """The pixels of a source, as far as an array of them is needed: uint8 (n, height, width, channels).

    `pixels[rows]` decodes these rows. `chunks` decodes ahead of whoever works on what it gives.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        listing: Listing,
        spec: InputSpec,
        source: str,
        *,
        resize: bool,
        n_jobs: int | None = None,
        content: str = "",
    ) -> None:
        self.shape = (len(listing), *spec)
        self._listing, self._spec, self._source, self._content = listing, spec, source, content
        self._resize, self._n_jobs = resize, n_jobs

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def origin(self) -> tuple[str, InputSpec, bool, str, str]:
        """What another process needs to decode the same.

        The source, the shape, whether sizes may differ, and digests of the listing and of the content.
        """
        return self._source, self._spec, self._resize, self._listing.digest, self._content

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        numbers = np.arange(len(self))[rows]
        if numbers.ndim != 1:
            raise IndexError("images are decoded whole: choose rows by a slice or by their numbers")
        needed = len(numbers) * int(np.prod(self._spec))
        if needed > budget(None):
            raise DataError(
                f"{self._shown}: {len(numbers)} images at once take {show_size(needed)} of memory, and half "
                f"of what is free is {show_size(budget(None))}. What is asked for needs them in one array: "
                "have them decoded to the disk (--image-cache)"
            )
        found = np.empty((len(numbers), *self._spec), np.uint8)
        done = 0
        with closing(self._good(numbers, 0)) as decoded:
            for pixels in decoded:
                found[done : done + len(pixels)] = pixels
                done += len(pixels)
        return found

    def chunks(self, rows: NDArray[np.integer], size: int) -> Generator[NDArray[np.uint8], None, None]:
        """Give some rows in chunks of a size; the next chunk is decoded while one is worked on.

        Raises
        ------
        DataError
            At the first image that cannot be used.
        """
        left, filled = len(rows), 0
        chunk = np.empty((min(size, left), *self._spec), np.uint8)
        with closing(self._good(rows, size)) as decoded:
            for pixels in decoded:
                while len(pixels):
                    taken = pixels[: len(chunk) - filled]
                    chunk[filled : filled + len(taken)] = taken
                    filled, pixels = filled + len(taken), pixels[len(taken) :]
                    if filled == len(chunk):
                        left -= filled
                        yield chunk
                        chunk, filled = np.empty((min(size, left), *self._spec), np.uint8), 0

    def find_bad(
        self, rows: Sequence[int], progress: Callable[[int, int], object] | None = None
    ) -> tuple[dict[int, str], list[int]]:
        """Decode some images; return why which cannot be used, and those of them to be tried another time."""
        bad: dict[int, str] = {}
        unread: list[int] = []
        with closing(self._batches(rows, 0)) as batches:
            retried = len(rows) < len(self)
            for batch in watched(batches, self._shown, len(rows), progress, retried=retried):
                bad |= {row: why for row, why in zip(batch.items, batch.errors, strict=True) if why}
                unread += batch.unread
        return bad, unread

    @property
    def _shown(self) -> str:
        return without_secrets(self._source)

    def _batches(self, rows: Sequence[int], ahead: int) -> Generator[Batch[int], None, None]:
        return self._listing.batches(rows, self._spec, resize=self._resize, n_jobs=self._n_jobs, ahead=ahead)

    def _good(self, rows: NDArray[np.integer], ahead: int) -> Generator[NDArray[np.uint8], None, None]:
        """Give the pixels of some rows as they are decoded; refuse the first that cannot be used."""
        with closing(self._batches(rows.tolist(), ahead)) as batches:
            for batch in batches:
                bad = [
                    BadInput(self._listing.ids[row], reason)
                    for row, reason in zip(batch.items, batch.errors, strict=True)
                    if reason is not None
                ]
                if bad:
                    raise bad_images(self._shown, bad, len(self), "at least ")
                yield batch.pixels
