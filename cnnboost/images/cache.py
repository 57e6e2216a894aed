"""Image sets that were decoded before: ``images.npy`` and what belongs to it, addressed by content.

``<cache>/images/<key>/`` holds ``images.npy`` (uint8 pixels), ``rows.npz`` (labels, ids, splits) and
``set.json`` (classes, bad inputs, checksums). The key is a sha256 over the content of the source and what
was asked of it; the path of the source is no part of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

from cnnboost.errors import BadInput
from cnnboost.files import disk_error, not_regular, read_json, read_regular, write_json
from cnnboost.images.decode import InputSpec
from cnnboost.images.imageset import SPLITS, ImageSet
from cnnboost.images.notes import REMEDY, write_if_possible
from cnnboost.images.pixels import pixel_digest, shape_tag
from cnnboost.images.pool import Batch
from cnnboost.images.readers import Listing
from cnnboost.images.streamed import StreamedPixels
from cnnboost.locks import file_lock

FORMAT = 2
T = TypeVar("T")
Write = Callable[[Listing, InputSpec, Iterator[Batch[int]]], T]


class Rows(NamedTuple):
    """What belongs to the decoded pixels of a source."""

    y: np.ndarray
    classes: tuple[str, ...]
    ids: np.ndarray
    splits: np.ndarray
    pixels_digest: str
    bad: tuple[BadInput, ...]

    def with_pixels(self, pixels: np.ndarray | StreamedPixels, source: str) -> ImageSet:
        """Return the image set."""
        return ImageSet(
            pixels=pixels, pixel_rows=np.arange(len(pixels), dtype=np.int64), source=source, **self._asdict()
        )


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder for decoded sets.

    `cache`, else ``CNNBOOST_CACHE``, else ``$XDG_CACHE_HOME/cnnboost``, else ``~/.cache/cnnboost``.
    """
    if cache is not None:
        return Path(cache)
    if named := os.environ.get("CNNBOOST_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cnnboost"


def write_rows(
    file: BinaryIO, listing: Listing, spec: InputSpec, batches: Iterator[Batch[int]]
) -> tuple[Rows, list[int]]:
    """Write the pixels of all good rows to a file, one after the other.

    Parameters
    ----------
    file : binary file
        Open for writing, at the place of the first pixel.
    listing : Listing
        The rows of the source.
    spec : InputSpec
        The shape of every image.
    batches : iterator of Batch
        All rows of the listing by their numbers, decoded, in order.

    Returns
    -------
    Rows
        What belongs to the pixels; rows that cannot be used are in its `bad`.
    list of int
        The numbers of those that may be read another time.
    """
    hasher = hashlib.sha256(shape_tag(spec))
    rows: list[int] = []
    bad = list(listing.bad)
    unread: list[int] = []
    for batch in batches:
        unread += batch.unread
        file.write(batch.pixels.data)
        hasher.update(batch.pixels.data)
        for row, reason in zip(batch.items, batch.errors, strict=True):
            if reason is None:
                rows.append(row)
            else:
                bad.append(BadInput(listing.ids[row], reason))
    chosen = np.array(rows, dtype=np.int64)
    written = Rows(
        y=listing.y[chosen],
        classes=listing.classes,
        ids=np.array([listing.ids[row] for row in rows], dtype=np.str_),
        splits=listing.splits[chosen],
        pixels_digest=hasher.hexdigest(),
        bad=tuple(bad),
    )
    return written, unread


def write_to_memory(
    source: str, listing: Listing, spec: InputSpec, batches: Iterator[Batch[int]]
) -> ImageSet:
    """Decode a set without a cache."""
    file = io.BytesIO()
    rows, _ = write_rows(file, listing, spec, batches)
    pixels: np.ndarray = np.ndarray((len(rows.y), *spec), dtype=np.uint8, buffer=file.getbuffer())
    pixels.setflags(write=False)
    return rows.with_pixels(pixels, source)


def is_cached(entry: Path) -> bool:
    """Tell whether a decoded set is there, whole."""
    return _open_if_whole(entry, "", warn=False) is not None


def cached_set(
    entry: Path,
    source: str,
    decode: Callable[[Write[None]], None],
    is_unread: Callable[[list[int]], bool],
) -> ImageSet:
    """Open the set at `entry`; decode it first where it is missing or damaged.

    Of several processes that want the same set one decodes and the others wait. Where images could not be
    read when it was decoded, `is_unread` tells whether they still cannot; otherwise all is decoded again.
    """
    images = _open_if_whole(entry, source, warn=False, is_unread=is_unread)
    if images is not None:
        return images
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(entry.parent, error, remedy=REMEDY) from error
    with file_lock(Path(f"{entry}.lock"), entry):
        images = _open_if_whole(entry, source, warn=True)
        if images is None:
            for left in entry.parent.glob(f"{entry.name}.tmp-*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            decode(partial(_write, entry))
            images = _open(entry, source)
        return images


def _write(entry: Path, listing: Listing, spec: InputSpec, batches: Iterator[Batch[int]]) -> None:
    needed = len(listing) * int(np.prod(spec))
    try:
        with tempfile.TemporaryDirectory(prefix=f"{entry.name}.tmp-", dir=entry.parent) as temporary:
            _write_set(Path(temporary), needed, listing, spec, batches)
            shutil.rmtree(entry, ignore_errors=True)  # a damaged one
            os.replace(temporary, entry)  # noqa: PTH105 - a folder; pathlib's replace says file
    except OSError as error:
        raise disk_error(entry, error, needed, REMEDY) from error


def _write_set(
    folder: Path, needed: int, listing: Listing, spec: InputSpec, batches: Iterator[Batch[int]]
) -> None:
    path = folder / "images.npy"
    with path.open("xb") as file:
        _write_header(file, len(listing), spec)
        if needed and hasattr(os, "posix_fallocate"):  # a full disk is noticed at once
            os.posix_fallocate(file.fileno(), 0, file.tell() + needed)
        rows, unread = write_rows(file, listing, spec, batches)
        file.truncate()
        file.seek(0)
        _write_header(file, len(rows.y), spec)  # of the same length: NumPy leaves room for the count
        file.flush()
        os.fsync(file.fileno())
    stored = io.BytesIO()
    splits = np.array([SPLITS.index(name) for name in rows.splits], dtype=np.uint8)
    np.savez(stored, y=rows.y, ids=rows.ids, splits=splits)
    (folder / "rows.npz").write_bytes(stored.getvalue())
    metadata = {
        "format": FORMAT,
        "shape": [len(rows.y), *spec],
        "classes": list(rows.classes),
        "bad": [list(one) for one in rows.bad],
        "pixels_digest": rows.pixels_digest,
        "images_size": path.stat().st_size,
        "images_mtime_ns": path.stat().st_mtime_ns,
        "rows_sha256": hashlib.sha256(stored.getbuffer()).hexdigest(),
        "unread": unread,
    }
    write_json(folder / "set.json", metadata, REMEDY)


def _write_header(file: BinaryIO, n: int, spec: InputSpec) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, *spec)}
    np.lib.format.write_array_header_1_0(file, header)


def _open_if_whole(
    entry: Path, source: str, *, warn: bool, is_unread: Callable[[list[int]], bool] = lambda rows: False
) -> ImageSet | None:
    """Open a set, or return None where it is missing, not what was written, or lacks images for now."""
    if not entry.is_dir():
        return None
    unread = (read_json(entry / "set.json") or {}).get("unread")
    # Older versions kept no more than their number.
    if unread and not (isinstance(unread, list) and is_unread(unread)):
        return None
    try:
        return _open(entry, source)
    # NumPy trips over damaged headers in many ways; whatever it is, the set is decoded again.
    except Exception as error:  # noqa: BLE001
        if warn:
            warnings.warn(f"{entry}: truncated or altered ({error}); decoding again", stacklevel=4)
        return None


def _open(entry: Path, source: str) -> ImageSet:
    metadata = read_json(entry / "set.json")
    if metadata is None:
        raise ValueError("set.json is missing, damaged or altered")
    stored = read_regular(entry / "rows.npz")
    if hashlib.sha256(stored).hexdigest() != metadata["rows_sha256"]:
        raise ValueError("rows.npz does not match its checksum")
    info = (entry / "images.npy").stat()
    if info.st_size != metadata["images_size"] or not_regular(info.st_mode):
        raise ValueError(f"images.npy has {info.st_size} bytes, not {metadata['images_size']}")
    pixels: np.ndarray = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
    if pixels.dtype != np.uint8 or list(pixels.shape) != metadata["shape"]:
        raise ValueError(f"images.npy holds {pixels.dtype} {pixels.shape}")
    if info.st_mtime_ns != metadata["images_mtime_ns"]:  # touched: moved, copied, or altered
        if pixel_digest(pixels) != metadata["pixels_digest"]:
            raise ValueError("images.npy does not match its checksum")
        write_if_possible(entry / "set.json", {**metadata, "images_mtime_ns": info.st_mtime_ns})
    with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
        rows = Rows(
            y=arrays["y"],
            classes=tuple(metadata["classes"]),
            ids=arrays["ids"],
            splits=np.array(SPLITS)[arrays["splits"]],
            pixels_digest=metadata["pixels_digest"],
            bad=tuple(BadInput(place, reason) for place, reason in metadata["bad"]),
        )
    return rows.with_pixels(pixels, source)
