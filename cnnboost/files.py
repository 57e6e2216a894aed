"""Files that are never half there, and files of strangers that are read only where they are regular ones.

A file is written under a temporary name, brought to the disk, then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from cnnboost.errors import CnnboostError, StoreError
from cnnboost.temporary import claim, fcntl, sweep

REMEDY = "Check the folder, its permissions and the free space."
CHECKSUM = "facts_sha256"
"""Key of a document under which the checksum of all its other keys is kept."""

NO_ROOM = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_LONGEST_REASON = 300
_MOST_JSON_BYTES = 1 << 28
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
    """Open a regular file for reading; pipes and devices are refused, where `open` would wait for ever."""
    return os.fdopen(_open(path)[0], "rb")


def read_regular(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """Read a regular file."""
    number, size = _open(path)
    try:
        data = b""
        while limit is None or max(size, len(data)) <= limit:
            # Asking for the limit would set that much memory aside for each small file.
            more = os.read(number, 1 << 20 if data else size + 1)
            data += more
            if not more or len(data) == size:
                return data
    finally:
        os.close(number)
    raise OSError(errno.EFBIG, f"larger than {limit:,} bytes, the limit", os.fspath(path))


def reason_of(error: BaseException) -> str:
    """Say in one line why something failed.

    Of an error of the system these are its words alone, without number and file name; of an error of another
    library, whose message may be pages long, the beginning. A message of this package is left as it is.
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text if isinstance(error, CnnboostError) else " ".join(str(text).split())[:_LONGEST_REASON]


def disk_error(
    path: str | os.PathLike[str], error: OSError, needed: int | None = None, remedy: str = REMEDY
) -> StoreError:
    """Return what to raise where a file could not be written: its name, the reason, the remedy."""
    if isinstance(error, StoreError):
        return error
    reason = reason_of(error)
    if error.errno in NO_ROOM:
        wanted = "" if needed is None else f"{needed:,} bytes are needed, "
        reason += f" ({wanted}{_free(Path(path)):,} are free)"
        remedy = "Free space, raise the quota, or choose a folder on another disk."
    elif error.errno in _NO_RIGHT:
        remedy = "Choose a folder that you may write to, or change its permissions."
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "Choose a shorter name."
    return StoreError(f"{path} cannot be written: {reason}. {remedy}")


def _free(path: Path) -> int:
    for parent in path.absolute().parents:
        with suppress(OSError):
            return shutil.disk_usage(parent).free
    return 0


@contextmanager
def replacing(
    path: str | os.PathLike[str], remedy: str = REMEDY, *, needed: int | None = None
) -> Iterator[Path]:
    """Give a temporary name to write to, and rename what was written to `path`.

    What an earlier process left of the same file when it was killed is removed.

    Raises
    ------
    StoreError
        If the file cannot be written: the message names it, the reason and the remedy.
    """
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            # Renaming would put a file in the place of a device, or fail at a folder after the work was done.
            raise StoreError(f"{target} cannot be written: it is a folder or a device. Name a file.")
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        temporary, handle = claim(target)
        try:
            yield temporary
            os.fsync(handle)
            if fcntl is None:
                os.close(handle)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
            if fcntl is not None:
                os.close(handle)
    except OSError as error:
        raise disk_error(target, error, needed, remedy) from error


@contextmanager
def while_used(path: str | os.PathLike[str], content: bytes) -> Iterator[Path]:
    """Keep content in a file for as long as it is used, under a name that no other process has.

    The name is that of `path` with a random part. What an earlier process left under such a name when it was
    killed is removed.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        used, handle = claim(target)
    except OSError as error:
        raise disk_error(target, error, len(content)) from error
    try:
        try:
            used.write_bytes(content)
        except OSError as error:
            raise disk_error(used, error, len(content)) from error
        yield used
    finally:
        os.close(handle)
        used.unlink(missing_ok=True)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, if it is there, and what a process that was killed left of it.

    Raises
    ------
    StoreError
        If it cannot be removed.
    """
    target = Path(path)
    try:
        sweep(target)
        target.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{target} cannot be removed: {reason_of(error)}") from error


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview, remedy: str = REMEDY) -> Path:
    """Write a file whole or not at all; see `replacing`."""
    with replacing(path, remedy, needed=memoryview(content).nbytes) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_json(path: str | os.PathLike[str], metadata: dict[str, Any], remedy: str = REMEDY) -> Path:
    """Write a JSON document with its checksum, whole or not at all; see `replacing`."""
    content = json.dumps({**metadata, CHECKSUM: digest_of(metadata)}, indent=2, allow_nan=False)
    return write_bytes(path, f"{content}\n".encode(), remedy)


def parsed_json(path: Path, remedy: str, most: int = _MOST_JSON_BYTES) -> dict[str, Any]:
    """Parse a file that should hold a JSON object; its checksum and its keys are not looked at."""
    try:
        metadata = json.loads(
            read_regular(path, most), parse_constant=_no_constant, parse_int=_int, parse_float=_float
        )
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing; {remedy}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {reason_of(error)}; {remedy}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: not JSON ({error}); {remedy}") from error
    if not isinstance(metadata, dict):
        raise StoreError(f"{path} is damaged: it holds no JSON object; {remedy}")
    return metadata


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _int(digits: str) -> int:
    float(value := int(digits))  # what no float holds is not used as a number anywhere
    return value


def _float(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"{digits[:20]} is larger than any number")
    return value


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a JSON document holds; None where it is missing, damaged or altered.

    For documents that are made again when they cannot be used.
    """
    try:
        metadata = parsed_json(path, "")
    except StoreError:
        return None
    if CHECKSUM not in metadata:
        return metadata
    return metadata if metadata.pop(CHECKSUM) == digest_of(metadata) else None


def digest_of(metadata: Any) -> str:
    """Hash JSON-able values."""
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def file_part(layer: str) -> str:
    """Return a layer's name as a part of a file name, which other layers' names do not give."""
    plain = layer.replace("/", ".")
    safe = re.sub(r'[\x00-\x1f<>:"\\|?*]', "_", plain)[:100]
    return safe if safe == plain and "." not in layer else f"{safe}-{short_digest(layer)}"


def short_digest(text: str) -> str:
    """Return eight characters that tell texts apart in file names."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def file_digest(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
