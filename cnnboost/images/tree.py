"""Files below a folder, seen as names with ``/`` and bytes."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from cnnboost.errors import BadInput, DataError, UnreadError
from cnnboost.files import not_regular, open_regular, read_regular, reason_of
from cnnboost.images.decode import bad_input
from cnnboost.images.kinds import HEAD, is_picture, named_as_image

MAX_FILE_BYTES = 1 << 28  # 256 MiB: more than any image in the accepted formats needs
_IGNORED = re.compile(
    r"(^|/)(\.|(__macosx|thumbs\.db|desktop\.ini|@eadir|\$recycle\.bin|system volume information)(/|$))",
    re.IGNORECASE,
)
_MOST_VISITS = 64  # of one folder, through links
_ABOUT_THE_FILE = {errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG}


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
                reason = f"cannot be read ({reason_of(folder.error)})"
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
        # What it is, or its size, is about the file; the rest is about this machine, its disk or its network.
        kind = DataError if error.errno in _ABOUT_THE_FILE else UnreadError
        raise bad_input(place, f"cannot be read ({reason_of(error)})", kind) from error


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
