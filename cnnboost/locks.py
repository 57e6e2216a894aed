"""One process at a time makes a file; whoever only reads needs no lock."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cnnboost.files import disk_error
from cnnboost.temporary import fcntl

log = logging.getLogger("cnnboost")

_NOT_OURS = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def file_lock(lock_file: Path, path: Path) -> Iterator[None]:
    """Let one process at a time make a file; another waits and then finds it there.

    In a folder where nothing may be written there is nothing to wait for: what is there can be read, and
    whoever has to write finds out when it does.
    """
    lock = FileLock(lock_file)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process is making %s; waiting for it", path)
            lock.acquire()
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise disk_error(lock_file, error) from error
        log.debug("%s: %s", lock_file, error)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time write a set of files that belong together to a folder.

    The folder itself is locked, so that nothing strange is left in it. Where that cannot be done (Windows,
    some network file systems) each file is still whole, but two sets may mix.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is writing to %s; waiting for it", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("%s: %s", folder, error)
        yield
    finally:
        os.close(handle)
