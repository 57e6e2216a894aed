"""Files of the cache, written so that a reader sees them whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from cnnboost.errors import StoreError

_SPARE = 1 << 20
REMEDY = "Make room, name another folder in CNNBOOST_CACHE, or load with cache=False"


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
            f"{place}: cannot be written ({error.strerror or error}); {wanted}{free} bytes are free. {REMEDY}"
        ) from error


def _free(place: Path) -> int:
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(folder: Path, needed: int) -> None:
    """Raise `StoreError` where a folder's disk cannot hold so many bytes more."""
    free = _free(folder)
    if free < needed + _SPARE:
        raise StoreError(f"{folder}: {needed} bytes are needed, {free} bytes are free. {REMEDY}")
