"""Files below a folder, seen as names with ``/`` and bytes; `archive.ZipTree` is the same for a zip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

from cnnboost.errors import BadInput
from cnnboost.images.decode import bad_input

MAX_FILE_BYTES = 1 << 28  # 256 MiB: more than any image in the accepted formats needs
_IGNORED = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


class Tree(Protocol):
    """What a reader of files needs to know about where they stand.

    Attributes
    ----------
    name : str
        For messages.
    files : list of str
        Paths below the root, sorted, with ``/`` between their parts.
    folders : list of str
        The same for folders; empty ones are among them.
    bad : tuple of BadInput
        Members that must not be read, and why.
    """

    name: str
    files: list[str]
    folders: list[str]
    bad: tuple[BadInput, ...]

    def read(self, path: str) -> bytes:
        """Return the content of one file; `DataError` where it cannot be had. Safe in threads."""


class FileStamp(NamedTuple):
    """What tells without reading that a file has not changed.

    Attributes
    ----------
    name : str
        Path below the root of the source.
    path : str
        Where to open it.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change, in nanoseconds.
    """

    name: str
    path: str
    size: int
    mtime_ns: int


def ignored(path: str) -> bool:
    """Tell whether a path is one of the files that operating systems leave behind.

    Examples
    --------
    >>> ignored("__MACOSX/train/._1.png"), ignored("train/happy/1.png")
    (True, False)
    """
    return any(part.startswith(".") or part.lower() in _IGNORED for part in path.split("/"))


def walk(root: Path) -> tuple[list[FileStamp], list[str]]:
    """List the files and the folders below a folder, sorted by name; links to folders are followed once.

    Returns
    -------
    files : list of FileStamp
    folders : list of str
    """
    files: list[FileStamp] = []
    folders: list[str] = []
    seen = {os.path.realpath(root)}
    todo = [(os.fspath(root), "")]
    while todo:
        folder, prefix = todo.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.lower() in _IGNORED:
                    continue
                if entry.is_dir():
                    if entry.is_symlink():
                        real = os.path.realpath(entry.path)
                        if real in seen:
                            continue
                        seen.add(real)
                    folders.append(prefix + name)
                    todo.append((entry.path, f"{prefix}{name}/"))
                else:
                    try:
                        stat = entry.stat()
                        size, changed = stat.st_size, stat.st_mtime_ns
                    except FileNotFoundError:  # a link to nowhere: named when it is read
                        size, changed = -1, 0
                    files.append(FileStamp(prefix + name, entry.path, size, changed))
    return sorted(files), sorted(folders)


class FolderTree:
    """The files below a folder on disk.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        stamps, self.folders = walk(root)
        self.name = str(root)
        self.files = [stamp.name for stamp in stamps]
        self.bad: tuple[BadInput, ...] = ()
        self._root = f"{root}{os.sep}"

    def read(self, path: str) -> bytes:
        """Return the content of one file."""
        try:
            with open(self._root + path, "rb", buffering=0) as file:  # noqa: PTH123 - once for each image
                # Asking for the limit would set that much memory aside for each small file.
                data = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
        except OSError as error:
            raise bad_input(path, f"cannot be read ({error.strerror})") from error
        if len(data) > MAX_FILE_BYTES:
            raise bad_input(path, f"is larger than {MAX_FILE_BYTES} bytes, the limit for one image")
        return data
