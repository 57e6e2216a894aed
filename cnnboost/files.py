"""Files that are never half there, and files of strangers that are read only where they are regular ones."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from cnnboost.errors import StoreError

REMEDY = "Check the folder, its permissions and the free space."
# A pipe that is opened for reading waits for a writer, even against Ctrl-C, unless it is told not to.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def not_regular(mode: int) -> str | None:
    """Say what something is by its `st_mode`; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    kind = next((name for test, name in _KINDS if test(mode)), "a special file")
    return f"{kind}, not a regular file"


def _open(path: str | os.PathLike[str]) -> tuple[int, int]:
    try:
        number = os.open(path, _READ)
    except ValueError:  # a name with a zero byte in it
        raise OSError(errno.EINVAL, "a file name cannot hold a zero byte", os.fspath(path)) from None
    info = os.fstat(number)
    kind = not_regular(info.st_mode)
    if kind is not None:
        os.close(number)
        raise OSError(errno.EINVAL, kind, os.fspath(path))
    return number, info.st_size


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading; pipes and devices are refused, where `open` would wait for ever.

    Raises
    ------
    OSError
        It cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    return os.fdopen(_open(path)[0], "rb")


def read_regular(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """Read a regular file; of one that is larger than `limit`, one byte more than that.

    Raises
    ------
    OSError
        As `open_regular`.
    """
    number, size = _open(path)
    try:
        # Asking for the limit would set that much memory aside for each small file.
        data = os.read(number, (size if limit is None else min(size, limit)) + 1)
        while len(data) != size and (limit is None or len(data) <= limit):
            more = os.read(number, 1 << 20)
            if not more:
                break
            data += more
    finally:
        os.close(number)
    return data if limit is None else data[: limit + 1]


@contextmanager
def replacing(path: str | os.PathLike[str], remedy: str = REMEDY) -> Iterator[Path]:
    """Give a temporary name to write to, and rename what was written to `path`.

    Parameters
    ----------
    path : path-like
        Its folder is made. A file that is there stays as it is until the new one is whole.
    remedy : str
        What the error should advise.

    Yields
    ------
    Path
        In the same folder and with the same ending.

    Raises
    ------
    StoreError
        If the disk or its rights do not allow it. Nothing is left behind.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    if target.exists() and not target.is_file():
        # Renaming would put a file in the place of a device, or fail at a folder after the work was done.
        raise StoreError(f"{target} cannot be written: it is a folder or a device. Name a file.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}. {remedy}") from error


def write_bytes(path: str | os.PathLike[str], content: bytes, remedy: str = REMEDY) -> Path:
    """Write a file whole or not at all; see `replacing`.

    Parameters
    ----------
    path : path-like
    content : bytes
    remedy : str
        What the error should advise.

    Returns
    -------
    Path
    """
    with replacing(path, remedy) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_json(path: str | os.PathLike[str], facts: Any) -> Path:
    """Write a JSON document whole or not at all; see `replacing`.

    Parameters
    ----------
    path : path-like
    facts : JSON-able

    Returns
    -------
    Path
    """
    return write_bytes(path, (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is no such file or it is damaged.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict or None
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def digest_of(facts: Any) -> str:
    """Hash JSON-able facts.

    Parameters
    ----------
    facts : JSON-able

    Returns
    -------
    str
        sha256, hexadecimal.

    Examples
    --------
    >>> from cnnboost.files import digest_of
    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_part(layer: str) -> str:
    """Return a layer's name as a part of a file name, which other layers' names do not give.

    Parameters
    ----------
    layer : str

    Returns
    -------
    str

    Examples
    --------
    >>> from cnnboost.files import file_part
    >>> file_part("body/conv"), file_part("body.conv")
    ('body.conv', 'body.conv-8c6310e7')
    """
    plain = layer.replace("/", ".")
    safe = re.sub(r'[\x00-\x1f<>:"\\|?*]', "_", plain)[:100]
    return safe if safe == plain and "." not in layer else f"{safe}-{short_digest(layer)}"


def short_digest(text: str) -> str:
    """Return eight characters that tell texts apart in file names."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def file_digest(path: Path) -> str:
    """Hash a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
