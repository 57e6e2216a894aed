"""Files in a zip archive, seen as names with ``/`` and bytes; nothing is ever unpacked."""

from __future__ import annotations

import functools
import os
import stat
import struct
import threading
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cnnboost.errors import BadInput, DataError, StoreError, UnreadError
from cnnboost.files import open_regular, reason_of
from cnnboost.images.decode import bad_input
from cnnboost.images.kinds import HEAD
from cnnboost.images.tree import MAX_FILE_BYTES, is_ignored

MAX_RATIO = 200  # images hardly compress; even a white BMP of a sane size stays below SMALL
SMALL = 1 << 23
MAX_MEMBERS = 10_000_000
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED, _UTF8 = 0x1, 0x800
_END = 22 + 0xFFFF  # the record at the end of an archive, with the longest comment
_MANY = 0xFFFF  # stated where 16 bits do not hold the number


class ZipTree:
    """The members of a zip archive.

    Members are read through one file handle under a lock and inflated outside of it, so that threads
    can share a tree. `zipfile` takes three times as long for small members.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        infos = list_members(path)
        overlapping = _overlapping(infos, path.stat().st_size)
        self.bad: list[BadInput] = []
        self.same: list[tuple[str, str]] = []
        folders: set[str] = set()
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename.replace("\\", "/")
            leads_out = ".." in name and ".." in name.split("/")
            if is_ignored(name) and not leads_out:
                continue
            reason = _unsafe(name, info, leads_out)
            if reason is None and id(info) in overlapping:
                reason = "is damaged: it lies outside of the archive, or over another member"
            if reason is None and name in self._members:
                reason = "is in the archive twice"
            if reason is not None:
                self.bad.append(BadInput(info.filename, reason))
                continue
            parent = name.rpartition("/")[0]
            while parent and parent not in folders:
                folders.add(parent)
                parent = parent.rpartition("/")[0]
            if not name.endswith("/"):  # an empty name is that of a damaged file
                self._members[name] = info
        self.files = sorted(self._members)
        self.folders = sorted(folders)
        self._lock = threading.Lock()
        self._file = open_regular(path).detach()  # without a buffer: members are read whole
        opened = os.fstat(self._file.fileno())
        self.size, self._mtime_ns = opened.st_size, opened.st_mtime_ns
        weakref.finalize(self, self._file.close)  # images may be read long after they were listed
        for info in infos:  # a file whose name was damaged may look like a folder
            if info.filename.endswith("/") and not is_ignored(info.filename):
                try:
                    self._packed(info.filename, info, 0)
                except DataError as error:
                    self.bad.extend(error.bad)

    def __reduce__(self) -> tuple[Any, ...]:
        path = os.path.abspath(self.name)  # noqa: PTH100 - as it was named, links and all
        return _ZipElsewhere, (path, self.size, self._mtime_ns)

    def read(self, path: str) -> bytes:
        """Return the content of one member, inflated and checked against its CRC-32."""
        info = self._members[path]
        packed = self._packed(path, info, info.compress_size)
        if len(packed) < info.compress_size:
            raise bad_input(path, "is cut off: the archive ends before it")
        data = self._inflate(path, info, packed, info.file_size + 1)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise bad_input(path, "is damaged: its content does not match its checksum (CRC-32)")
        return data

    def head(self, path: str) -> bytes:
        """Return the first bytes of one member."""
        info = self._members[path]
        return self._inflate(path, info, self._packed(path, info, min(info.compress_size, 2 * HEAD)), HEAD)

    def _packed(self, path: str, info: zipfile.ZipInfo, size: int) -> bytes:
        plain = path.encode()
        try:
            with self._lock:
                self._file.seek(info.header_offset)
                # Most local headers repeat the central one, so header and data come in one read.
                block = self._file.read(_LOCAL.size + len(plain) + len(info.extra) + size)
                if len(block) < _LOCAL.size or block[:4] != b"PK\x03\x04":
                    raise bad_input(path, "is damaged: no member starts where the archive's directory says")
                fields = _LOCAL.unpack_from(block)
                start = _LOCAL.size + fields[9] + fields[10]
                missing = start + size - len(block)
                if missing > 0:
                    block += self._file.read(missing)
        except OSError as error:
            reason = f"cannot be read from the archive ({reason_of(error)})"
            raise bad_input(path, reason, UnreadError) from error
        name = block[_LOCAL.size : _LOCAL.size + fields[9]]
        encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
        same_name = name == plain or name == info.orig_filename.encode(encoding)
        if not same_name or fields[3] != info.compress_type:
            header = f"{name.decode('utf-8', 'replace')!r}, method {fields[3]}"
            raise bad_input(
                path, f"is damaged: its own header ({header}) is not that of the archive's directory"
            )
        return block[start : start + size]

    def _inflate(self, path: str, info: zipfile.ZipInfo, packed: bytes, most: int) -> bytes:
        if info.compress_type == zipfile.ZIP_STORED:
            return packed[:most]
        try:
            # One byte more than announced, so that a member that lies about its size is found out.
            return zlib.decompressobj(-15).decompress(packed, most)
        except zlib.error as error:
            raise bad_input(path, f"is damaged ({error})") from error


class _ZipElsewhere(NamedTuple):
    """An archive that another process has listed; it is opened where a member is read, and not before."""

    path: str
    size: int
    mtime_ns: int

    def read(self, path: str) -> bytes:
        """Return the content of one member."""
        return _opened(self).read(path)


@functools.lru_cache(maxsize=8)
def _opened(archive: _ZipElsewhere) -> ZipTree:
    tree = ZipTree(Path(archive.path))
    if tree.size != archive.size:  # machines may disagree about the digits of a time
        raise StoreError(
            f"{archive.path} has {tree.size:,} bytes here and {archive.size:,} where the command runs: it "
            "was replaced meanwhile, or machines see different files under this path; run the command again"
        )
    return tree


def list_members(path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of an archive, after a look at what they would unpack to in all."""
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
            stated = _stated_members(file)
        except MemoryError:
            raise
        except Exception as error:  # the file could be opened: whatever it is, it is the archive's fault
            raise DataError(
                f"{path}: is not a readable zip archive ({error}); download or pack it again"
            ) from error
    # A length that was damaged in the directory swallows the entries behind it, and zipfile does not count.
    if stated not in (_MANY, len(infos) & 0xFFFF):
        raise DataError(
            f"{path}: is damaged: its directory lists {len(infos)} members, and its end says that it should "
            f"list {stated}; download or pack it again"
        )
    total = sum(info.file_size for info in infos)
    size = path.stat().st_size
    if len(infos) > MAX_MEMBERS or total > MAX_RATIO * max(size, SMALL):
        raise DataError(
            f"{path}: {len(infos)} members of {total} bytes in an archive of {size} bytes; more than "
            f"{MAX_RATIO} times its size is refused as a decompression bomb"
        )
    return infos


def _stated_members(file: BinaryIO) -> int:
    """Return how many members an archive has by the record at its end, which counts in 16 bits."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    tail = file.read()
    record = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[record + 10 : record + 12], "little")


def _overlapping(infos: list[zipfile.ZipInfo], size: int) -> set[int]:
    """Find members that lie outside of the archive, or over one another (as those of some bombs do)."""
    wrong: set[int] = set()
    end, last = 0, None
    for info in sorted(infos, key=lambda info: info.header_offset):
        start = info.header_offset
        if last is not None and start < end:
            wrong |= {id(last), id(info)}
        reach = start + _LOCAL.size + len(info.orig_filename) + info.compress_size
        if start < 0 or reach > size:
            wrong.add(id(info))
        if reach > end:
            end, last = reach, info
    return wrong


def _unsafe(name: str, info: zipfile.ZipInfo, leads_out: bool) -> str | None:
    if name.startswith("/") or name[1:2] == ":":
        return "is an absolute path; pack the archive with relative ones"
    if leads_out:
        return "leads out of the archive ('..'); pack it with plain relative paths"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link; pack the archive with the files that its links lead to"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; pack the archive without a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is packed by method {info.compress_type}; pack with deflate or without compression"
    if info.file_size > MAX_FILE_BYTES:
        return f"unpacks to {info.file_size} bytes; the limit for one image is {MAX_FILE_BYTES}"
    if info.file_size > SMALL and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"unpacks to {info.file_size} bytes from {info.compress_size}: a decompression bomb"
    return None
