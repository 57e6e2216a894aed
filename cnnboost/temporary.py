"""Temporary names of files.

A temporary file is locked for as long as it is used, so that one that a kill left behind can be told from one
that is at work.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

_LONGEST_STEM = 200


def claim(target: Path) -> tuple[Path, int]:
    """Make a temporary file and lock it."""
    while True:
        temporary = target.with_name(_temporary(target, secrets.token_hex(4)))
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        _lock(handle)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), temporary.stat()):
                return temporary, handle
        os.close(handle)  # another process swept it before it was locked


def sweep(target: Path) -> None:
    """Remove temporary files of a target that nobody is writing: a kill left them."""
    before, after = _temporary(target, "\0").split("\0")
    for left in target.parent.iterdir():
        name = left.name
        mark = name[len(before) : len(name) - len(after)]
        if not (name.startswith(before) and name.endswith(after) and len(mark) == 8):
            continue
        # Another process may sweep it first, or its owner may not be this user: then it stays.
        with suppress(OSError, ValueError):
            int(mark, 16)
            handle = os.open(left, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
            try:
                if _lock(handle) and fcntl is not None:
                    left.unlink()
            finally:
                os.close(handle)
            if fcntl is None:
                left.unlink()


def _temporary(target: Path, mark: str) -> str:
    """Name a temporary file of a target; it is never longer than the target's own name may be."""
    stem = os.fsencode(target.stem)[:_LONGEST_STEM].decode(errors="ignore")
    return f".{stem}.{mark}{target.suffix if len(target.suffix) < 16 else ''}"


def _lock(handle: int) -> bool:
    """Lock an open file; False where another process holds it, or the file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
