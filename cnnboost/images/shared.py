"""Rows of images as another process, maybe on another machine, finds them again."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.errors import StoreError
from cnnboost.images.decode import InputSpec
from cnnboost.images.readers import find_reader
from cnnboost.images.split import Split
from cnnboost.images.streamed import StreamedPixels
from cnnboost.urls import is_url

_MOST_SENT = 1 << 28
"""Bytes of pixels that are in no file and are sent with the tasks, of one set, at most."""


@dataclass(frozen=True)
class DecodedFile:
    """Pixels in a file of the cache."""

    path: Path
    offset: int
    shape: tuple[int, ...]

    def open(self) -> Any:
        """Map the file."""
        try:
            return np.memmap(self.path, np.uint8, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.path} cannot be read: {error}; all machines need the decoded images under this path "
                "(CNNBOOST_CACHE names a shared folder), or --no-image-cache"
            ) from error


@dataclass(frozen=True)
class Source:
    """Images that each process decodes itself."""

    name: str
    spec: InputSpec
    resize: bool
    count: int

    def open(self) -> Any:
        """List the source, once in each process."""
        return _streamed(self)


@functools.lru_cache(maxsize=2)
def _streamed(source: Source) -> StreamedPixels:
    try:
        listing = find_reader(source.name).read(source.name)
    except ValueError as error:
        raise StoreError(f"{error} All machines need the images under this path") from error
    if len(listing) != source.count:
        raise StoreError(
            f"{source.name} has {len(listing)} images here and {source.count} where the command runs; all "
            "machines need the same images under this path"
        )
    return StreamedPixels(listing, source.spec, source.name, resize=source.resize, n_jobs=1)


@dataclass(frozen=True)
class SharedRows:
    """Rows of an image set: where its pixels come from, and which of them."""

    place: DecodedFile | Source | np.ndarray
    rows: slice | npt.NDArray[np.int64]

    @classmethod
    def of(cls, split: Split) -> SharedRows:
        """Describe the rows of a split."""
        pixels, rows = split.pixels, split.pixel_rows
        chosen: slice | npt.NDArray[np.int64] = rows
        if bool(np.all(np.diff(rows) == 1)):
            chosen = slice(int(rows[0]), int(rows[0]) + len(rows))
        if isinstance(pixels, StreamedPixels):
            name, spec, resize = pixels.origin
            return cls(Source(shared_name(name), spec, resize, len(pixels)), chosen)
        if isinstance(pixels, np.memmap) and pixels.filename is not None:
            path = Path(pixels.filename).resolve()
            return cls(DecodedFile(path, int(pixels.offset), pixels.shape), chosen)
        if pixels.nbytes > _MOST_SENT:
            raise StoreError(
                f"{split!r} is in memory, not in a file that other machines can read; load it with a cache "
                "in a shared folder (CNNBOOST_CACHE)"
            )
        return cls(pixels, chosen)

    def range(self, start: int, stop: int) -> SharedRows:
        """Return some of the rows, described as briefly as can be."""
        rows: Any = self.rows
        rows = slice(rows.start + start, rows.start + stop) if isinstance(rows, slice) else rows[start:stop]
        if isinstance(self.place, np.ndarray):
            return SharedRows(np.ascontiguousarray(self.place[rows]), slice(0, stop - start))
        return replace(self, rows=rows)

    def part(self, start: int, stop: int) -> np.ndarray:
        """Return pixels, uint8 (stop - start, height, width, channels)."""
        rows = self.range(start, stop)
        pixels = rows.place if isinstance(rows.place, np.ndarray) else rows.place.open()
        return np.ascontiguousarray(pixels[rows.rows])


def shared_name(source: str) -> str:
    """Return the name under which other processes find a source of images."""
    found = find_reader(source)
    return source if is_url(source) or found.name == source else str(Path(source).resolve())
