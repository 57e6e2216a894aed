"""Image sets that were decoded before: ``images.npy`` and what belongs to it, found by content.

``<cache>/images/<key>/`` holds ``images.npy`` (uint8 pixels), ``rows.npz`` (labels, ids, splits) and
``set.json`` (classes, bad inputs, checksums). The key is a sha256 over the content of the source and what
was asked of it; where the source stands is no part of it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from cnnboost.errors import BadInput, StoreError
from cnnboost.files import read_json, read_regular, write_json
from cnnboost.images.decode import InputSpec
from cnnboost.images.files import REMEDY, disk_errors, require_space
from cnnboost.images.imageset import ImageSet
from cnnboost.images.pixels import pixel_digest, shape_tag
from cnnboost.images.pool import Chunk
from cnnboost.images.readers import Listing
from cnnboost.images.split import SPLITS

log = logging.getLogger("cnnboost")

FORMAT = 2
Decoding = AbstractContextManager[tuple[Listing, InputSpec, Iterator[Chunk]]]


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


def cached_set(entry: Path, source: str, decode: Callable[[], Decoding]) -> ImageSet:
    """Open the set at `entry`; decode it first where it is missing or damaged.

    Of several processes that want the same set one decodes and the others wait.
    """
    images = _open(entry, source, warn=False)
    if images is not None:
        return images
    with disk_errors(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{entry}.lock")
        lock.acquire()
    try:
        images = _open(entry, source, warn=True)
        if images is None:
            for left in entry.parent.glob(f"{entry.name}.tmp-*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with decode() as (listing, spec, chunks):
                _write(entry, listing, spec, chunks)
            images = _open(entry, source, warn=True)
        if images is None:
            raise RuntimeError(f"{entry}: the set just written cannot be opened")
        return images
    finally:
        lock.release()


def _write(entry: Path, listing: Listing, spec: InputSpec, chunks: Iterator[Chunk]) -> None:
    needed = len(listing) * int(np.prod(spec))
    require_space(entry.parent, needed)
    temporary = Path(tempfile.mkdtemp(prefix=f"{entry.name}.tmp-", dir=entry.parent))
    try:
        with disk_errors(entry.parent, needed):
            path = temporary / "images.npy"
            with path.open("xb") as file:
                digest, rows, bad = _write_pixels(file, len(listing), spec, chunks)
            stored = io.BytesIO()
            np.savez(
                stored,
                y=listing.y[rows],
                ids=np.array([listing.ids[row] for row in rows], dtype=np.str_),
                splits=np.array([SPLITS.index(name) for name in listing.splits[rows]], dtype=np.uint8),
            )
            (temporary / "rows.npz").write_bytes(stored.getvalue())
            metadata = {
                "format": FORMAT,
                "shape": [len(rows), *spec],
                "classes": list(listing.classes),
                "bad": [list(one) for one in (*listing.bad, *bad)],
                "pixels_digest": digest,
                "images_size": path.stat().st_size,
                "images_mtime_ns": path.stat().st_mtime_ns,
                "rows_sha256": hashlib.sha256(stored.getbuffer()).hexdigest(),
            }
            write_json(temporary / "set.json", metadata, REMEDY)
            shutil.rmtree(entry, ignore_errors=True)  # a damaged one
            os.replace(temporary, entry)  # noqa: PTH105 - a folder; pathlib's replace says file
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_pixels(
    file: BinaryIO, n: int, spec: InputSpec, chunks: Iterator[Chunk]
) -> tuple[str, np.ndarray, list[BadInput]]:
    """Write an .npy file row by row; the header learns at the end how many rows there are."""

    def header(count: int) -> None:
        metadata = {"descr": "|u1", "fortran_order": False, "shape": (count, *spec)}
        np.lib.format.write_array_header_1_0(file, metadata)

    header(n)
    start = file.tell()
    if n and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, start + n * int(np.prod(spec)))
    hasher = hashlib.sha256(shape_tag(spec))
    rows: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    bad: list[BadInput] = []
    for chunk in chunks:
        file.write(chunk.pixels.data)
        hasher.update(chunk.pixels.data)
        rows.append(chunk.rows)
        bad += chunk.bad
    kept = np.concatenate(rows)
    file.truncate()
    file.seek(0)
    header(len(kept))
    if file.tell() != start:
        raise RuntimeError(f"{file.name}: the header changed its length")
    file.flush()
    os.fsync(file.fileno())
    return hasher.hexdigest(), kept, bad


def _open(entry: Path, source: str, *, warn: bool) -> ImageSet | None:
    """Open a set, or return None where it is missing or not what was written."""
    if not entry.is_dir():
        return None
    try:
        metadata = read_json(entry / "set.json")
        if metadata is None:
            raise ValueError("set.json is missing, damaged or altered")
        stored = read_regular(entry / "rows.npz")
        if hashlib.sha256(stored).hexdigest() != metadata["rows_sha256"]:
            raise ValueError("rows.npz does not match its checksum")
        pixels = _open_pixels(entry, metadata)
        with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
            y, ids, splits = arrays["y"], arrays["ids"], arrays["splits"]
        return ImageSet(
            pixels=pixels,
            pixel_rows=np.arange(len(pixels), dtype=np.int64),
            y=y,
            classes=tuple(metadata["classes"]),
            ids=ids,
            splits=np.array(SPLITS)[splits],
            pixels_digest=metadata["pixels_digest"],
            source=source,
            bad=tuple(BadInput(place, reason) for place, reason in metadata["bad"]),
        )
    # NumPy trips over damaged headers in many ways; whatever it is, the set is decoded again.
    except Exception as error:  # noqa: BLE001
        if warn:
            warnings.warn(f"{entry}: truncated or altered ({error}); decoding anew", stacklevel=4)
        return None


def _open_pixels(entry: Path, metadata: dict[str, Any]) -> np.ndarray:
    path = entry / "images.npy"
    stat = path.stat()
    if stat.st_size != metadata["images_size"]:
        raise ValueError(f"images.npy has {stat.st_size} bytes, not {metadata['images_size']}")
    pixels: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    if pixels.dtype != np.uint8 or list(pixels.shape) != metadata["shape"]:
        raise ValueError(f"images.npy holds {pixels.dtype} {pixels.shape}, not uint8 {metadata['shape']}")
    if stat.st_mtime_ns != metadata["images_mtime_ns"]:  # touched: moved, copied, or altered
        if pixel_digest(pixels) != metadata["pixels_digest"]:
            raise ValueError("images.npy does not match its checksum")
        try:
            write_json(entry / "set.json", {**metadata, "images_mtime_ns": stat.st_mtime_ns}, REMEDY)
        except StoreError as error:  # in a cache that may only be read the checksum is taken each time
            log.debug("%s", error)
    return pixels
