"""The rows of one split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cnnboost.images.pixels import rows_digest, take

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The rows of one split.

    Attributes
    ----------
    name : str
        ``train``, ``validation`` or ``test``.
    y : ndarray of shape (n,), dtype int64
        Labels: positions in `classes`.
    classes : tuple of str
        Class names.
    ids : ndarray of shape (n,), dtype str
        Where each image stands in its source.
    rows : ndarray of shape (n,), dtype int64
        Row numbers in the image set that this split belongs to.
    """

    name: str
    y: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    ids: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    _pixels: np.ndarray
    _pixel_rows: npt.NDArray[np.int64]
    _pixels_digest: str

    @cached_property
    def X(self) -> np.ndarray:
        """Pixels, uint8 (n, height, width, channels): a view of consecutive rows, else a copy."""
        return take(self._pixels, self._pixel_rows)

    @cached_property
    def labels(self) -> npt.NDArray[np.str_]:
        """Class name of each row, (n,)."""
        return np.asarray(self.classes, dtype=np.str_)[self.y]

    @cached_property
    def digest(self) -> str:
        """sha256 over the set's pixel digest and the row numbers: the same for the same images."""
        return rows_digest(self._pixels_digest, self._pixel_rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, height, width, channels), without touching the pixels."""
        _, height, width, channels = self._pixels.shape
        return len(self), height, width, channels

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """Pixels in pieces of at most `size` rows; never more than one piece is copied at a time.

        Parameters
        ----------
        size : int
            Rows in a piece.

        Yields
        ------
        ndarray of shape (<= size, height, width, channels), dtype uint8
        """
        if size < 1:
            raise ValueError(f"size={size!r}: give a number of rows of at least 1")
        for start in range(0, len(self), size):
            yield self.part(start, start + size)

    def part(self, start: int, stop: int) -> np.ndarray:
        """Pixels of the rows from `start` up to `stop`; no others are touched.

        Parameters
        ----------
        start, stop : int
            Positions in this split, as in a slice.

        Returns
        -------
        ndarray of shape (<= stop - start, height, width, channels), dtype uint8
        """
        return take(self._pixels, self._pixel_rows[start:stop])

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        n, height, width, channels = self.shape
        return f"<Split {self.name}: {n} images of {height}x{width}x{channels}>"
