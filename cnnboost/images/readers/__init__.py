"""The kinds of source that images are read from."""

from __future__ import annotations

import difflib
from pathlib import Path

from cnnboost.errors import DataError
from cnnboost.images.readers.cifar import CifarReader
from cnnboost.images.readers.csv import CsvReader
from cnnboost.images.readers.digits import DigitsReader
from cnnboost.images.readers.folder import FolderReader, ZipReader
from cnnboost.images.readers.listing import Listing, Reader
from cnnboost.images.readers.npz import NpzReader

READERS: tuple[Reader, ...] = (
    DigitsReader(),
    CifarReader(),
    FolderReader(),
    CsvReader(),
    NpzReader(),
    ZipReader(),
)
"""Every reader; the first one that matches a source reads it."""

__all__ = ["READERS", "Listing", "Reader", "find_reader"]


def find_reader(source: str | Path) -> Reader:
    """Return the reader for a source.

    Parameters
    ----------
    source : str or Path

    Raises
    ------
    DataError
        The source does not exist, or no reader matches; the message says what is accepted.

    Examples
    --------
    >>> find_reader("digits").name
    'digits'
    """
    for reader in READERS:
        if reader.matches(source):
            return reader
    path = Path(source)
    accepted = "; ".join(reader.accepts for reader in READERS)
    if path.exists():
        raise DataError(f"{path}: no reader for this kind of file. Accepted: {accepted}")
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, [*near, "digits"], n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise DataError(
        f"{str(source)!r} does not exist (looked for {path.absolute()}).{hint} Accepted: {accepted}"
    )
