"""Files below a folder or in a zip archive, seen as names with ``/`` and bytes; nothing is ever unpacked."""

from __future__ import annotations

import functools
import os
import re
import stat
import struct
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from cnnboost.errors import BadInput, DataError
from cnnboost.files import not_regular, open_regular, read_regular
from cnnboost.images.decode import bad_input
from cnnboost.images.kinds import HEAD, is_picture, named_as_image

MAX_FILE_BYTES = 1 << 28  # 256 MiB: more than any image in the accepted formats needs
MAX_RATIO = 200  # images hardly compress; even a white BMP of a sane size stays below SMALL
SMALL = 1 << 23
MAX_MEMBERS = 10_000_000
_IGNORED = re.compile(
    r"(^|/)(\.|(__macosx|thumbs\.db|desktop\.ini|@eadir|\$recycle\.bin|system volume information)(/|$))",
    re.IGNORECASE,
)
_MOST_VISITS = 64  # of one folder, through links
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED, _UTF8 = 0x1, 0x800
_END = 22 + 0xFFFF  # the record at the end of an archive, with the longest comment
_MANY = 0xFFFF  # stated where 16 bits do not hold the number


class FileStamp(NamedTuple):
    """What tells without reading that a file has not changed."""

    name: str
    path: str
    size: int
    mtime_ns: int


class Folder(NamedTuple):
    """One folder of a scan; `same` is the name under which it was met before, through another link."""

    prefix: str
    path: str
    files: list[os.DirEntry[str]]
    error: OSError | None
    same: str | None


def scan(root: str | os.PathLike[str]) -> Iterator[Folder]:
    """Walk a folder and those below it, by name; links are followed unless they lead back."""
    top = os.fspath(root)
    met: dict[str, tuple[str, int]] = {}
    # The real paths of the folders on the way down tell a link that leads back.
    todo: list[tuple[str, str, tuple[str, ...], bool]] = [("", top, (os.path.realpath(top),), False)]
    while todo:
        prefix, path, way, known = todo.pop()
        first, visits = met.setdefault(way[-1], (prefix, 0))
        if visits >= _MOST_VISITS:
            raise DataError(f"{top}: links lead to {prefix} more than {_MOST_VISITS} times; remove some")
        met[way[-1]] = first, visits + 1
        same = first if visits and not known else None
        try:
            with os.scandir(path) as opened:
                entries = sorted(opened, key=lambda entry: entry.name)
        except OSError as error:
            yield Folder(prefix, path, [], error, same)
            continue
        files: list[os.DirEntry[str]] = []
        folders: list[os.DirEntry[str]] = []
        for entry in entries:
            if not _IGNORED.search(entry.name):
                (folders if _is_folder(entry) else files).append(entry)
        yield Folder(prefix, path, files, None, same)
        for entry in reversed(folders):
            real = f"{way[-1].rstrip(os.sep)}{os.sep}{entry.name}"
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                if any(f"{step}{os.sep}".startswith(f"{real}{os.sep}") for step in way):
                    continue
            todo.append((f"{prefix}{entry.name}/", entry.path, (*way, real), known or visits > 0))


def is_ignored(name: str) -> bool:
    """Tell a file that an operating system or file manager left among others."""
    return _IGNORED.search(name) is not None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: named when it is read
        return False


class FolderTree:
    """The files below a folder on disk, sorted, with their stamps; `same` are folders met twice."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self.stamps: list[FileStamp] = []
        self.folders: list[str] = []
        self.bad: list[BadInput] = []
        self.same: list[tuple[str, str]] = []
        for folder in scan(root):
            if folder.prefix:
                self.folders.append(folder.prefix[:-1])
            if folder.error is not None:
                reason = f"cannot be read ({folder.error.strerror})"
                self.bad.append(BadInput(folder.prefix or self.name, reason))
            if folder.same is not None:
                self.same.append((folder.prefix[:-1], folder.same[:-1]))
            for entry in folder.files:
                name = folder.prefix + entry.name
                try:
                    info = entry.stat()
                except OSError:  # a link to nowhere: named when it is read
                    self.stamps.append(FileStamp(name, entry.path, -1, 0))
                    continue
                if kind := not_regular(info.st_mode):
                    self.bad.append(BadInput(name, f"is {kind}"))
                else:
                    self.stamps.append(FileStamp(name, entry.path, info.st_size, info.st_mtime_ns))
        self.stamps.sort()
        self.folders.sort()
        self.files = [stamp.name for stamp in self.stamps]
        self._root = f"{root}{os.sep}"

    def read(self, path: str) -> bytes:
        """Return the content of one file."""
        return read_image_file(self._root + path, path)

    def head(self, path: str) -> bytes:
        """Return the first bytes of one file."""
        return head_of(self._root + path)


def head_of(path: str) -> bytes:
    """Return the first bytes of a file, `HEAD` at most; none where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(HEAD)
    except OSError:
        return b""


def read_image_file(path: str, place: str) -> bytes:
    """Return the content of a file that should be an image; `DataError` where it cannot be one."""
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise bad_input(place, "does not exist") from error
    except OSError as error:
        raise bad_input(place, f"cannot be read ({error.strerror})") from error


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
            if _IGNORED.search(name) and not leads_out:
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
        weakref.finalize(self, self._file.close)  # images may be read long after they were listed
        for info in infos:  # a file whose name was damaged may look like a folder
            if info.filename.endswith("/") and not _IGNORED.search(info.filename):
                try:
                    self._packed(info.filename, info, 0)
                except DataError as error:
                    self.bad.extend(error.bad)

    def __reduce__(self) -> tuple[Any, ...]:
        return zip_tree, (os.path.abspath(self.name),)  # noqa: PTH100 - as it was named, links and all

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
            raise bad_input(path, f"cannot be read from the archive ({error.strerror})") from error
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


@functools.lru_cache(maxsize=8)
def zip_tree(path: str) -> ZipTree:
    """Open an archive again in another process, once for all that read from it."""
    return ZipTree(Path(path))


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


class Tree(Protocol):
    """Files by name, wherever they lie."""

    name: str
    files: list[str]
    folders: list[str]
    bad: list[BadInput]
    same: list[tuple[str, str]]

    def read(self, path: str) -> bytes:
        """Return the content of one file."""

    def head(self, path: str) -> bytes:
        """Return the first bytes of one file."""


def looks_like_image(tree: Tree, path: str) -> bool:
    """Tell by name or first bytes whether a file should be read as an image."""
    try:
        return named_as_image(path) or is_picture(tree.head(path))
    except DataError:
        return True  # damaged: named when it is read
