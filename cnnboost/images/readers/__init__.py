"""The kinds of source that images are read from."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from cnnboost.errors import DataError
from cnnboost.files import open_regular, reason_of
from cnnboost.images.kinds import HEAD, is_picture, kind_of
from cnnboost.images.readers.csv import CSV
from cnnboost.images.readers.datasets import CIFAR, DIGITS
from cnnboost.images.readers.folder import FOLDER, ZIP
from cnnboost.images.readers.listing import Listing, Reader
from cnnboost.images.readers.npz import NPZ
from cnnboost.images.readers.remote import LIST, REMOTE

READERS = (DIGITS, CIFAR, FOLDER, CSV, NPZ, ZIP, LIST, REMOTE)
"""Every reader; the first one that matches a source reads it."""

_ZIP = b"PK\x03\x04"

__all__ = ["READERS", "Listing", "Reader", "find_reader"]


def find_reader(source: str | os.PathLike[str]) -> Reader:
    """Return the reader for a source."""
    name = os.fspath(source)
    if not name.strip():
        raise DataError("the source of the images is an empty name; give a folder, a file or 'digits'")
    path = Path(name)
    head = None
    try:
        if not path.is_dir():
            with open_regular(path) as file:
                head = file.read(HEAD)
    except FileNotFoundError:
        pass
    except OSError as error:
        shown = name if len(name) <= 100 else f"{name[:60]}...{name[-30:]}"
        raise DataError(f"{shown!r} cannot be read ({reason_of(error)})") from error
    if head is not None:
        _check_kind(path, head)
    for reader in READERS:
        if reader.matches(name):
            return reader
    accepted = "; ".join(reader.accepts for reader in READERS)
    if head is not None:
        raise DataError(f"{path}: no reader for this kind of file. Accepted: {accepted}")
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, [*near, "digits"], n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise DataError(f"{name!r} does not exist (looked for {path.absolute()}).{hint} Accepted: {accepted}")


def _check_kind(path: Path, head: bytes) -> None:
    """Name a file that is something else than its name says, or of a kind that is not read at all."""
    if not head:
        raise DataError(f"{path}: is empty (0 bytes); download or write it again")
    if is_picture(head):
        raise DataError(f"{path}: is a single image; give a folder of class folders (<class>/<image>)")
    kind = kind_of(head, path.name)
    if kind is not None and (not head.startswith(_ZIP) or path.suffix.lower() == ".csv"):
        raise DataError(f"{path}: is {kind[0]}; {kind[1]}")
