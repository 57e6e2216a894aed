"""Bytes into a file, one after the other, past the page cache where the file system allows it.

Features are written once, are often larger than memory, and are read again much later or not at all. The
page cache would have to find room for all of them first, which on a virtual machine takes several times as
long as the disk does.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from pathlib import Path

#: What direct writes must be aligned to: the largest logical block of common disks.
_ALIGN = 4096
_BUFFER = 1 << 21


class BlockFile:
    """An existing file that is filled from some byte on."""

    def __init__(self, path: Path, offset: int) -> None:
        # Buffers of a map are aligned to pages.
        self._buffer = mmap.mmap(-1, _BUFFER)
        self._start = offset // _ALIGN * _ALIGN
        self._filled = offset - self._start
        binary = getattr(os, "O_BINARY", 0)
        self._file = os.open(path, os.O_RDWR | binary)
        self._direct: int | None = None
        try:
            if hasattr(os, "O_DIRECT"):
                # Some file systems (tmpfs of older kernels, network mounts) refuse it.
                with suppress(OSError):
                    self._direct = os.open(path, os.O_RDWR | os.O_DIRECT)
            os.lseek(self._file, self._start, os.SEEK_SET)
            self._buffer[: self._filled] = os.read(self._file, self._filled)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Give the file descriptor."""
        return self._file

    def write(self, data: memoryview) -> None:
        """Take up bytes; they are in the file after `flush`."""
        while data:
            room = min(len(data), _BUFFER - self._filled)
            self._buffer[self._filled : self._filled + room] = data[:room]
            self._filled += room
            data = data[room:]
            if self._filled == _BUFFER:
                self._empty()

    def flush(self) -> None:
        """Bring everything taken up so far to the disk."""
        self._empty()
        # The block that is not full goes through the page cache; it is written again when it is full.
        self._put(self._file, self._filled)
        os.fsync(self._file)

    def _empty(self) -> None:
        """Write the full blocks of the buffer."""
        full = self._filled // _ALIGN * _ALIGN
        if self._direct is not None:
            try:
                self._put(self._direct, full)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # Opened for direct writes and yet not able to: the rest takes the usual way.
                os.close(self._direct)
                self._direct = None
        if self._direct is None:
            self._put(self._file, full)
        rest = self._buffer[full : self._filled]
        # Side by side and without a call: a Ctrl-C must not find the one without the others.
        self._start += full
        self._filled -= full
        self._buffer[: self._filled] = rest

    def _put(self, handle: int, count: int) -> None:
        """Write the first `count` bytes of the buffer to where they belong."""
        os.lseek(handle, self._start, os.SEEK_SET)
        done = 0
        with memoryview(self._buffer) as whole:
            while done < count:
                with whole[done:count] as part:
                    done += os.write(handle, part)

    def close(self) -> None:
        """Close the file; what was not flushed is lost."""
        handles = [handle for handle in (self._direct, self._file) if handle is not None]
        self._direct = None
        for handle in handles:
            os.close(handle)
        self._buffer.close()
