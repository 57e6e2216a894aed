"""Rows that stay on the disk, handed to XGBoost block by block; its bins go to a cache if need be.

Where XGBoost cuts its bins is decided by rows taken from all over: a sketch of all rows takes gigabytes of
memory where there are many, and as much time as to put them into bins. So trees depend on the rows alone, and
not on blocks, files or the memory there is. They are not those of an array to the last bit, but as accurate.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from cnnboost.errors import DeviceError, FeatureError
from cnnboost.features.feature_parts import FeatureParts
from cnnboost.files import disk_error
from cnnboost.memory import budget, show_size

if TYPE_CHECKING:
    from xgboost import DMatrix

    from cnnboost.boost.trees import Rows

T = TypeVar("T")

#: Values looked at together in the search for NaN, so that its scratch memory stays small.
_CHUNK = 1 << 22
_CACHE = ".boost-cache-"
_SLACK = 1 << 14
_REMEDY = "Choose a folder that can be written to, or allow more memory (memory=, --memory)."


def refuse_non_finite(X: NDArray[np.float32], name: str, first_row: int = 0) -> None:
    """Raise at the first value that is NaN or infinite."""
    step = max(1, _CHUNK // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        finite = np.isfinite(X[start : start + step])
        if finite.all():
            continue
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        value = X[start + row, column]
        kind = "NaN" if np.isnan(value) else "infinite (inf), or too large for float32,"
        raise FeatureError(
            f"{name} is {kind} at row {first_row + start + row}, column {column}; leave that row out or "
            "impute it"
        )


def _bytes_of_bin(max_bin: int) -> int:
    """Return what the bin of a value takes: XGBoost keeps it by rows and by columns."""
    return 2 * (1 if max_bin <= 256 else 2)


def needed_cache(
    rows: Rows, watched: Rows | None, n_classes: int, max_bin: int, memory: str | int | None, device: str
) -> tuple[Path, int] | None:
    """Return the folder and the size of a cache, where bins would take more memory than is to be used."""
    kept = [part.X for part in (rows, watched) if part and isinstance(part.X, FeatureParts)]
    files = [file for X in kept for file in X.files]
    if not files:
        return None
    parts = [rows, watched] if watched else [rows]
    bins = sum(int(part.X.size) for part in parts) * _bytes_of_bin(max_bin)
    # Of each row and class: a score, a gradient and its derivative.
    needed, allowed = bins + sum(len(part.X) for part in parts) * n_classes * 12, budget(memory)
    if needed <= allowed:
        return None
    folder = files[0].parent
    if device != "cpu":
        raise DeviceError(
            f"the features take {show_size(needed)} as XGBoost's bins and {show_size(allowed)} may be used, "
            f"so they would be kept on the disk, which works on the CPU alone and not on {device}: use "
            "device='cpu', or allow more memory (memory=, --memory)"
        )
    pages = sum(-(-len(part.X) // _step(part.X)) * _page_bytes(part.X, max_bin) for part in parts)
    return folder, pages


def _step(X: NDArray[np.float32] | FeatureParts) -> int:
    """Return the rows of a block."""
    return X.block_rows if isinstance(X, FeatureParts) else max(1, len(X))


def _page_bytes(X: NDArray[np.float32] | FeatureParts, max_bin: int) -> int:
    """Return what a block takes in the cache: its bins, and for each row and each bin a number besides."""
    rows, width = min(_step(X), len(X)), X.shape[1]
    return rows * width * _bytes_of_bin(max_bin) + 8 * rows + 8 * width * max_bin + _SLACK


class BinsCache:
    """A folder for XGBoost's cache, and the room that it will need on the disk.

    XGBoost ends the process where it cannot write. So the room is taken beforehand, by a file that shrinks as
    the cache grows.
    """

    def __init__(self, path: Path, needed: int) -> None:
        self.path, self._needed = path, needed
        self._reserve = path / "reserve"

    def reserve(self) -> None:
        """Take the room."""
        with self._reserve.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(1, self._needed))

    def give_way(self, margin: int) -> None:
        """Leave room for what is written until this is called the next time."""
        written = sum(file.stat().st_size for file in self.path.iterdir() if file != self._reserve)
        os.truncate(self._reserve, max(0, min(self._reserve.stat().st_size, self._needed - written - margin)))


@contextmanager
def bins_cache(beside: Path, needed: int) -> Iterator[BinsCache]:
    """Give a folder for a cache; it is removed at the end, and what a kill left of others before."""
    _sweep(beside)
    path = beside / f"{_CACHE}{secrets.token_hex(4)}"
    lock = FileLock(f"{path}.lock")
    cache = BinsCache(path, needed)
    try:
        try:
            lock.acquire()
            path.mkdir()
            cache.reserve()
        except OSError as error:
            raise disk_error(path, error, needed, _REMEDY) from error
        yield cache
    except BaseException as error:
        # The frames that failed hold the matrices, which must be gone before their cache is.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)
        lock.release()
        with suppress(OSError):  # a disk that cannot be written to has said so already
            Path(lock.lock_file).unlink()


def _sweep(beside: Path) -> None:
    """Remove the caches of processes that ended without doing so; those of others at work are locked."""
    for left in beside.glob(f"{_CACHE}*.lock"):
        try:
            with FileLock(left, timeout=0):
                shutil.rmtree(left.with_suffix(""), ignore_errors=True)
                left.unlink(missing_ok=True)
        except (Timeout, OSError):
            continue  # at work, or another user's


def block_matrix(
    rows: Rows, name: str, *, max_bin: int, n_threads: int, ref: Any = None, cache: BinsCache | None = None
) -> DMatrix:
    """Quantise rows block by block, with the bins of `ref` if there is one; into a cache if there is one."""
    import xgboost

    blocks = _blocks_class()(rows, name, cache, max_bin)
    kind = xgboost.QuantileDMatrix if cache is None else xgboost.ExtMemQuantileDMatrix
    return in_thread(lambda: kind(blocks, max_bin=max_bin, nthread=n_threads, ref=ref), blocks.stop)


def in_thread(make: Callable[[], T], stop: Callable[[], None] = lambda: None) -> T:
    """Call a function in another thread, and return its result.

    XGBoost calls back into Python while it makes a matrix, and an exception that a signal raises there would
    be lost. Signals arrive in the main thread, so the work is done in another one. Any other thread keeps its
    work: the connection of a worker to the others belongs to the thread that made it.
    """
    if threading.current_thread() is not threading.main_thread():
        return make()
    with ThreadPoolExecutor(1, thread_name_prefix="quantise") as pool:
        made = pool.submit(make)
        try:
            return made.result()
        except BaseException:
            stop()
            raise


@functools.cache
def _blocks_class() -> Any:
    from xgboost import DataIter

    class Blocks(DataIter):
        """Rows as XGBoost asks for them: several times over, a block at a time."""

        def __init__(self, rows: Rows, name: str, cache: BinsCache | None, max_bin: int) -> None:
            self.rows, self.name, self.cache, self.stopped = rows, name, cache, False
            self.max_bin = max_bin
            self.at = self.checked = 0
            super().__init__(cache_prefix=None if cache is None else str(cache.path / name.split()[-1]))

        def stop(self) -> None:
            """Raise at the next block."""
            self.stopped = True

        def reset(self) -> None:
            """Begin again."""
            self.at = 0

        def next(self, input_data: Any) -> bool:
            """Hand over the next block, which is an array of its own: XGBoost tells blocks apart by it."""
            if self.stopped:
                raise InterruptedError
            X, codes, weight, margin = self.rows
            start, stop = self.at, min(self.at + _step(X), len(X))
            if start >= stop:
                return False
            if self.cache is not None:  # one block may be on its way to the disk, and this one follows
                self.cache.give_way(2 * _page_bytes(X, self.max_bin))
            block = X.read(start, stop) if isinstance(X, FeatureParts) else X[start:stop]
            if stop > self.checked:
                refuse_non_finite(block, self.name, start)
                self.checked = stop
            input_data(
                data=block,
                label=codes[start:stop],
                weight=None if weight is None else weight[start:stop],
                base_margin=None if margin is None else margin[start:stop],
            )
            self.at = stop
            return True

    return Blocks
