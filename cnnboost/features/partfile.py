"""A feature file on its way: its rows so far, the record of how many are finished, and the finish.

Beside `<name>.npy.part` (the rows) stands `<name>.part.json`: finished rows, the step they were computed in,
and the sha256 of the file up to there. A kill at any moment costs the rows since the last record.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.features.blockfile import BlockFile
from cnnboost.files import read_json, write_json

FORMAT = 1
DTYPE = np.dtype("<f4")
_BLOCK = 1 << 20


class PartFile:
    """One `.npy` while it is being written."""

    def __init__(self, path: Path, key: str, shape: tuple[int, int], chunk: int) -> None:
        self.path, self.key, self.shape, self.chunk = path, key, shape, chunk
        self.file = path.with_name(path.name + ".part")
        self.record_file = path.with_suffix(".part.json")
        self.header = npy_header(shape)
        self.size = len(self.header) + shape[0] * shape[1] * DTYPE.itemsize
        self.done = 0
        self._sha256 = hashlib.sha256(self.header)
        self._handle: BlockFile | None = None

    def resume(self) -> str:
        """Take up what an interrupted process left; return why not, or "" where that needs no word."""
        why = self._take_up()
        if self.done == 0:
            self.discard()
        return why

    def _take_up(self) -> str:
        if not (self.file.exists() and self.record_file.exists()):
            return ""
        record = read_json(self.record_file)
        done = record.get("rows") if record else None
        if record is None or type(done) is not int:
            return "its record cannot be read"
        if record.get("format") != FORMAT or record.get("key") != self.key:
            return "its record belongs to other features"
        if record.get("made_with") != library_versions():
            return "it was begun with other library versions"
        if record.get("chunk") != self.chunk:
            return f"it was begun in steps of {record.get('chunk')} rows, and now they are {self.chunk}"
        if not 0 <= done <= self.shape[0] or (done % self.chunk and done != self.shape[0]):
            return f"its record names {done} finished rows"
        if self.file.stat().st_size != self.size:
            return f"it has {self.file.stat().st_size} bytes instead of {self.size}"
        # Hashing the finished rows again is far cheaper than computing them, and a damaged one is found here.
        digest = hash_file(self.file, len(self.header) + done * self._row_bytes)
        if digest.hexdigest() != record.get("sha256"):
            return "its finished rows were altered"
        self.done, self._sha256 = done, digest
        return ""

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * DTYPE.itemsize

    def bytes_missing(self) -> int:
        """Bytes that the disk must still give."""
        if not self.file.exists():
            return self.size
        held = getattr(self.file.stat(), "st_blocks", None)
        return self.size if held is None else max(0, self.size - held * 512)

    def open(self) -> None:
        """Open the rows for writing; a new file gets its header and all its blocks on the disk first."""
        if self.done == 0:
            self.record_file.unlink(missing_ok=True)
            np.lib.format.open_memmap(self.file, mode="w+", dtype=DTYPE, shape=self.shape)
        # The rows go in through the file and not through the map: a full disk is then an error and not a
        # SIGBUS, and the rows written do not count as memory of this process.
        self._handle = BlockFile(self.file, len(self.header) + self.done * self._row_bytes)
        self._reserve(self._handle)

    def _reserve(self, handle: BlockFile) -> None:
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(handle.fileno(), 0, self.size)
        except OSError as error:
            # Some file systems cannot reserve. Writing then finds out whether there is room.
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
                raise

    def write(self, start: int, block: np.ndarray) -> None:
        """Put the rows from `start` on into the file; rows that are finished already stay as they are."""
        if start < self.done:
            return
        data = np.ascontiguousarray(block, dtype=DTYPE).data.cast("B")
        if start != self.done:
            raise ValueError(f"Row {start} of {self.file} cannot follow the {self.done} that are finished.")
        self._opened().write(data)
        digest = self._sha256.copy()
        digest.update(data)
        # Side by side: a Ctrl-C must not find the one without the other.
        self._sha256, self.done = digest, start + len(block)

    def is_open(self) -> bool:
        """Whether rows can be written."""
        return self._handle is not None

    def _opened(self) -> BlockFile:
        if self._handle is None:
            raise ValueError(f"{self.file} is not open.")
        return self._handle

    def record(self) -> None:
        """Bring the finished rows to the disk, then say how many they are."""
        self._opened().flush()
        metadata = {
            "format": FORMAT,
            "key": self.key,
            "rows": self.done,
            "chunk": self.chunk,
            "sha256": self._sha256.hexdigest(),
            "made_with": library_versions(),
        }
        write_json(self.record_file, metadata)

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Turn the finished rows into the `.npy` with its `.json`.

        The old `.npy` goes first and the new one comes last, so that at no moment an `.npy` stands beside
        the `.json` of another. After a crash in between there is no `.npy`, and the finished rows are taken
        up by `resume` and only need to be renamed.
        """
        self.record()
        self.close()
        self.path.unlink(missing_ok=True)
        proof = {"sha256": self._sha256.hexdigest(), "size": self.size, "made_with": library_versions()}
        write_json(self.path.with_suffix(".json"), {**metadata, **proof})
        self.file.replace(self.path)
        self.record_file.unlink(missing_ok=True)
        _sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; what is in it stays."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            handle.close()

    def discard(self) -> None:
        """Remove the rows and their record."""
        self.record_file.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)


def npy_header(shape: tuple[int, int]) -> bytes:
    """Return the first bytes of the `.npy` of a float32 array of this shape."""
    buffer = BytesIO()
    layout = {"descr": np.lib.format.dtype_to_descr(DTYPE), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, layout)
    return buffer.getvalue()


def hash_file(path: Path, size: int | None = None) -> Any:
    """Return the sha256 object of the first `size` bytes of a file, or of all of it."""
    digest = hashlib.sha256()
    left = path.stat().st_size if size is None else size
    with path.open("rb") as handle:
        while left > 0 and (block := handle.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest


def canonical_json(metadata: Mapping[str, Any]) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(metadata, sort_keys=True, separators=(",", ":"))


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of what computes and writes features."""
    found = {"python": platform.python_version()}
    for name in ("cnnboost", "keras", "tensorflow", "numpy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only when its folder is. Windows cannot open folders.
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
