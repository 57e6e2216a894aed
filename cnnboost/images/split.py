"""Rows of images with their labels, and those of one split."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cnnboost.images.pixels import largest_chunk
from cnnboost.images.streamed import StreamedPixels


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """Rows of pixels with their labels."""

    pixels: np.ndarray | StreamedPixels
    pixel_rows: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    ids: npt.NDArray[np.str_]
    pixels_digest: str

    @cached_property
    def X(self) -> np.ndarray:
        """Pixels of every row, uint8 (n, height, width, channels): a view where it can be, else a copy."""
        return self.part(0, len(self))

    @cached_property
    def labels(self) -> npt.NDArray[np.str_]:
        """Class name of each row, (n,)."""
        return np.asarray(self.classes, dtype=np.str_)[self.y]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, height, width, channels), without touching the pixels."""
        _, height, width, channels = self.pixels.shape
        return len(self), height, width, channels

    def part(self, start: int, stop: int) -> np.ndarray:
        """Pixels of the rows from `start` up to `stop`, read-only; no others are touched."""
        rows = self.pixel_rows[start:stop]
        if (together := as_slice(rows)) is not None:
            return self.pixels[together]
        taken: np.ndarray = self.pixels[rows]
        taken.setflags(write=False)
        return taken

    def at(self, rows: npt.NDArray[np.integer]) -> np.ndarray:
        """Pixels of the rows with these numbers, copied; no others are touched."""
        taken: np.ndarray = self.pixels[self.pixel_rows[rows]]
        return taken

    def chunks(self, size: int | None = None, start: int = 0) -> Generator[np.ndarray, None, None]:
        """Pixels from row `start` on in pieces of at most `size` rows; one piece is copied at a time.

        Where they are streamed, the next piece is decoded meanwhile. By default, a piece of large images has
        fewer of them.
        """
        size = largest_chunk(self.shape[1:]) if size is None else size
        if size < 1:
            raise ValueError(f"size={size!r}: give a number of rows of at least 1")
        if isinstance(self.pixels, StreamedPixels):
            yield from self.pixels.chunks(self.pixel_rows[start:], size)
            return
        for first in range(start, len(self), size):
            yield self.part(first, first + size)

    def rows_digest(self) -> str:
        """sha256 over the set's pixel digest and the row numbers: the same for the same images."""
        content = self.pixels_digest.encode() + b"\n" + self.pixel_rows.astype("<i8").tobytes()
        return hashlib.sha256(content).hexdigest()

    def __len__(self) -> int:
        return len(self.y)


def as_slice(rows: npt.NDArray[np.int64]) -> slice | None:
    """Return row numbers as a slice where they follow one another, else None."""
    if len(rows) == 0:
        return slice(0, 0)
    first, last = int(rows[0]), int(rows[-1])
    is_one = last - first + 1 == len(rows) and bool(np.all(np.diff(rows) == 1))
    return slice(first, last + 1) if is_one else None


@dataclass(frozen=True, eq=False, repr=False)
class Split(Rows):
    """The rows of one split; `rows` are their numbers in the image set."""

    name: str
    rows: npt.NDArray[np.int64]

    @cached_property
    def digest(self) -> str:
        """sha256 of the images."""
        return self.rows_digest()

    def __repr__(self) -> str:
        n, height, width, channels = self.shape
        return f"<Split {self.name}: {n} images of {height}x{width}x{channels}>"
