"""Rows of images as another process, maybe on another machine, finds them again."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.errors import DataError, StoreError
from cnnboost.files import reason_of
from cnnboost.images.decode import InputSpec
from cnnboost.images.readers import find_reader
from cnnboost.images.split import Split, as_slice
from cnnboost.images.streamed import StreamedPixels
from cnnboost.urls import is_url, without_secrets

_MOST_SENT = 1 << 28
"""Bytes of pixels of one set that are in no file and are sent with the tasks, at most."""


@dataclass(frozen=True)
class DecodedFile:
    """Pixels in a file of the cache."""

    path: Path
    offset: int
    shape: tuple[int, ...]

    def open(self) -> Any:
        """Map the file."""
        try:
            size = self.path.stat().st_size
            if size != self.offset + math.prod(self.shape):
                raise ValueError(
                    f"it has {size:,} bytes here, and is another file than where the command runs"
                )
            return np.memmap(self.path, np.uint8, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the decoded images {self.path} cannot be read here: {reason_of(error)}; have "
                "CNNBOOST_CACHE name a folder that all machines share under one path, or give "
                "--no-image-cache"
            ) from error


@dataclass(frozen=True)
class EncodedFiles:
    """Images of a source that each process decodes itself."""

    source: str = field(repr=False)  # it may hold a password or a signature
    spec: InputSpec
    resize: bool
    digest: str
    content: str  # what was listed of other content is not used again
    count: int

    def open(self) -> Any:
        """List the source, once in each process."""
        return _streamed(self)


@functools.lru_cache(maxsize=2)
def _streamed(files: EncodedFiles) -> StreamedPixels:
    try:
        listing = find_reader(files.source).read(files.source)
    except DataError as error:
        raise StoreError(
            f"the images cannot be listed here: {error}. Every machine needs them under the path or URL that "
            "the command names: share their folder"
        ) from error
    if listing.digest != files.digest:
        raise StoreError(
            f"{without_secrets(files.source)} names {len(listing)} images here and {files.count} where the "
            "command runs, or others, or in another order: it was changed meanwhile, or machines see "
            "different files under this path. Let all see the same, and run the command again"
        )
    return StreamedPixels(listing, files.spec, files.source, resize=files.resize, n_jobs=1)


@dataclass(frozen=True)
class SharedRows:
    """Rows of an image set: where its pixels come from, and which of them."""

    place: DecodedFile | EncodedFiles | np.ndarray
    rows: slice | npt.NDArray[np.int64]

    @classmethod
    def of(cls, split: Split) -> SharedRows:
        """Describe the rows of a split."""
        pixels, rows = split.pixels, split.pixel_rows
        together = as_slice(rows)
        chosen = rows if together is None else together
        if isinstance(pixels, StreamedPixels):
            name, spec, resize, listed, content = pixels.origin
            files = EncodedFiles(_shared_name(name), spec, resize, listed, content, len(pixels))
            return cls(files, chosen)
        if isinstance(pixels, np.memmap) and pixels.filename is not None:
            path = Path(pixels.filename).resolve()
            return cls(DecodedFile(path, int(pixels.offset), pixels.shape), chosen)
        if pixels.nbytes > _MOST_SENT:
            raise StoreError(
                f"{split!r} is in memory, and not in a file that other machines can read; load it with a "
                "cache in a folder that all share (CNNBOOST_CACHE)"
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


def _shared_name(source: str) -> str:
    """Return the name under which other processes find a source of images: as it was given, links and all."""
    found = find_reader(source)
    return source if is_url(source) or found.name == source else str(Path(source).absolute())
