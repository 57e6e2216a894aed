"""Zip archives from strangers, read in place: nothing is ever written to disk."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from pathlib import Path

from cnnboost.errors import BadInput, DataError
from cnnboost.images.decode import bad_input
from cnnboost.images.tree import MAX_FILE_BYTES, ignored

MAX_RATIO = 200  # images hardly compress; even a white BMP of a sane size stays below SMALL
SMALL = 1 << 23
MAX_MEMBERS = 10_000_000
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1


class ZipTree:
    """The members of a zip archive.

    Members are read through one file handle under a lock and inflated outside of it, so that threads
    can share a tree.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        No zip archive, a damaged directory, or an archive that would unpack to an absurd size.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        infos = list_members(path)
        bad: list[BadInput] = []
        members: dict[str, zipfile.ZipInfo] = {}
        folders: set[str] = set()
        for info in infos:
            name = info.filename.replace("\\", "/")
            if ignored(name) and ".." not in name.split("/"):
                continue
            reason = _unsafe(name, info)
            if reason is None and name in members:
                reason = "stands twice in the archive"
            if reason is not None:
                bad.append(BadInput(info.filename, reason))
                continue
            parent = name.rstrip("/") if name.endswith("/") else name.rpartition("/")[0]
            while parent and parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
            if not name.endswith("/"):
                members[name] = info
        self.bad = tuple(bad)
        self.files = sorted(members)
        self.folders = sorted(folders)
        self._members = members
        self._lock = threading.Lock()
        self._file = path.open("rb", buffering=0)

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def read(self, path: str) -> bytes:
        """Return the content of one member, inflated and checked against its CRC-32."""
        info = self._members[path]
        with self._lock:
            self._file.seek(info.header_offset)
            # Most local headers repeat the central one, so header and data come in one read.
            guess = _LOCAL.size + len(path.encode()) + len(info.extra) + info.compress_size
            block = self._file.read(guess)
            if len(block) < _LOCAL.size or block[:4] != b"PK\x03\x04":
                raise bad_input(path, "is damaged: no member starts where the archive's directory says")
            fields = _LOCAL.unpack_from(block)
            start = _LOCAL.size + fields[9] + fields[10]
            missing = start + info.compress_size - len(block)
            if missing > 0:
                block += self._file.read(missing)
        packed = block[start : start + info.compress_size]
        if len(packed) < info.compress_size:
            raise bad_input(path, "is cut off: the archive ends before it")
        data = self._inflate(path, info, packed)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise bad_input(path, "is damaged: its content does not match its checksum (CRC-32)")
        return data

    def _inflate(self, path: str, info: zipfile.ZipInfo, packed: bytes) -> bytes:
        if info.compress_type == zipfile.ZIP_STORED:
            return packed
        try:
            # One byte more than announced, so that a member that lies about its size is found out.
            return zlib.decompressobj(-15).decompress(packed, info.file_size + 1)
        except zlib.error as error:
            raise bad_input(path, f"is damaged ({error})") from error


def list_members(path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of an archive, after a look at what they would unpack to in all.

    Raises
    ------
    DataError
        No zip archive, a damaged directory, or a bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    # NotImplementedError is zipfile's word for archives of a kind that it does not read.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise DataError(
            f"{path}: is not a readable zip archive ({error}); download or pack it again"
        ) from error
    total = sum(info.file_size for info in infos)
    size = path.stat().st_size
    if len(infos) > MAX_MEMBERS or total > MAX_RATIO * max(size, SMALL):
        raise DataError(
            f"{path}: {len(infos)} members of {total} bytes in an archive of {size} bytes; more than "
            f"{MAX_RATIO} times its size is refused as a decompression bomb"
        )
    return infos


def _unsafe(name: str, info: zipfile.ZipInfo) -> str | None:
    if name.startswith("/") or name[1:2] == ":":
        return "is an absolute path; pack the archive with relative ones"
    if ".." in name.split("/"):
        return "leads out of the archive ('..'); pack it with plain relative paths"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; pack the archive without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {info.compress_type}; pack with deflate or without compression"
    if info.file_size > MAX_FILE_BYTES:
        return f"unpacks to {info.file_size} bytes; the limit for one image is {MAX_FILE_BYTES}"
    if info.file_size > SMALL and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"unpacks to {info.file_size} bytes from {info.compress_size}: a decompression bomb"
    return None
