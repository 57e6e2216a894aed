"""Files of the cache, written so that a reader sees them whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnnboost.errors import StoreError

_SPARE = 1 << 20


@contextlib.contextmanager
def disk_errors(place: Path, needed: int = 0) -> Iterator[None]:
    """Turn an error of the disk into a `StoreError` that says what to do about it."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        free = _free(place)
        wanted = f"{needed} bytes are needed, " if needed else ""
        raise StoreError(
            f"{place}: cannot be written ({error.strerror or error}); {wanted}{free} bytes are free. Make "
            "room, name another folder in CNNBOOST_CACHE, or load with cache=False"
        ) from error


def _free(place: Path) -> int:
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(folder: Path, needed: int) -> None:
    """Raise `StoreError` where a folder's disk cannot hold so many bytes more."""
    free = _free(folder)
    if free < needed + _SPARE:
        raise StoreError(
            f"{folder}: {needed} bytes are needed, {free} bytes are free. Make room, name another folder "
            "in CNNBOOST_CACHE, or load with cache=False"
        )


def write_text(path: Path, text: str) -> None:
    """Write a small file under a temporary name and rename it."""
    with disk_errors(path, len(text)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.tmp-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)  # noqa: PTH105 - the counterpart of mkstemp
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
