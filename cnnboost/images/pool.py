"""Decoding on all cores.

Threads, not processes: Pillow leaves Python's lock while it decodes, so two threads decode nearly twice
as fast as one; there is nothing to start, nothing to send back, and no script is imported again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from cnnboost.errors import DataError, StoreError, UnreadError
from cnnboost.files import reason_of
from cnnboost.images.decode import InputSpec

log = logging.getLogger("cnnboost")

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 256
_BATCH_BYTES = 1 << 20
_GONE = 32
"""Number of images in a row that could not be read, from which on the others are not tried."""


class Batch(NamedTuple, Generic[T]):
    """Some items in order, what is wrong with each (None: nothing), and the pixels of the good ones.

    `unread` are those of them that may be read another time, see `UnreadError`.
    """

    items: list[T]
    errors: list[str | None]
    pixels: np.ndarray
    unread: list[T]


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads: `n_jobs`, or for None and -1 one for each core this process may use."""
    if n_jobs is None or n_jobs == -1:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if n_jobs < 1:
        raise ValueError(f"n_jobs={n_jobs!r}: give a number of threads of at least 1, or None for all cores")
    return n_jobs


def decode_all(
    items: Iterable[T],
    decode: Callable[[T], np.ndarray],
    spec: InputSpec,
    n_jobs: int | None = None,
    ahead: int = 0,
) -> Generator[Batch[T], None, None]:
    """Decode items in order, some batches and at least `ahead` items before their use; see `work_ahead`."""
    step = max(1, min(_BATCH, _BATCH_BYTES // int(np.prod(spec))))
    # Few items are shared out evenly: a thread without any would be of no use at URLs.
    if isinstance(items, Sized):
        step = min(step, max(1, len(items) // (4 * n_threads(n_jobs))))

    def work(chunk: list[T], stop: threading.Event) -> Batch[T]:
        pixels = np.empty((len(chunk), *spec), dtype=np.uint8)
        errors: list[str | None] = []
        unread: list[T] = []
        good = 0
        for item, decoded in attempts(chunk, decode, stop):
            if isinstance(decoded, np.ndarray):
                errors.append(None)
                pixels[good] = decoded
                good += 1
            else:
                errors.append(why_not(decoded))
                if isinstance(decoded, UnreadError | OSError):
                    unread.append(item)
        return Batch(chunk, errors, pixels[:good], unread)

    return work_ahead(items, work, step, n_jobs, ahead)


def attempts(
    items: Iterable[T], function: Callable[[T], R], stop: threading.Event
) -> Iterator[tuple[T, R | DataError | OSError]]:
    """Give each item with what a function makes of it, or with what is wrong with it, until `stop` is set."""
    for item in items:
        if stop.is_set():
            return
        try:
            found: R | DataError | OSError = function(item)
        except StoreError:  # it is about the machine
            raise
        except (DataError, OSError) as error:
            found = error
        yield item, found


def watched(
    batches: Iterable[Batch[T]],
    source: str,
    total: int,
    progress: Callable[[int, int], object] | None,
    *,
    retried: bool = False,
) -> Iterator[Batch[T]]:
    """Pass on batches of images; report progress, and log how many images could not be read this time.

    Images that are `retried` could not be read before: many of them in a row do not mean that all are gone.

    Raises
    ------
    UnreadError
        If many images in a row could not be read, and none of them is `retried`: whatever holds them is gone.
    """
    done = unread = in_a_row = 0
    for batch in batches:
        unread += len(batch.unread)
        gone = set(batch.unread)
        for item, reason in zip(batch.items, batch.errors, strict=True):
            in_a_row = in_a_row + 1 if item in gone else 0
            if in_a_row >= _GONE and not retried:
                raise UnreadError(
                    f"{source}: {in_a_row} images in a row could not be read (the last one {reason}). "
                    "Nothing was kept: run the same command again when they can be"
                )
        yield batch
        done += len(batch.items)
        if progress is not None:
            progress(done, total)
    if unread:
        log.warning(
            "%s: %d of %d images could not be read this time; the next run tries to read them again",
            source, unread, total,
        )  # fmt: skip


def why_not(error: DataError | OSError) -> str:
    """Say why an item could not be decoded, without its place."""
    if isinstance(error, DataError):
        return error.bad[0].reason if error.bad else str(error)
    return f"cannot be read ({reason_of(error)})"


def work_ahead(
    items: Iterable[T],
    work: Callable[[list[T], threading.Event], R],
    step: int,
    n_jobs: int | None = None,
    ahead: int = 0,
) -> Generator[R, None, None]:
    """Do work on `step` items at a time, in order, a little ahead of the use of its results.

    When the caller stops early, or is interrupted, all threads have ended before the generator is closed; the
    event tells work that its result is not wanted any more.
    """
    stop = threading.Event()
    threads = n_threads(n_jobs)
    most = max(2 * threads + 2, -(-ahead // step))
    remaining = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        waiting: deque[Future[R]] = deque()
        while True:
            while len(waiting) < most and (chunk := list(islice(remaining, step))):
                waiting.append(pool.submit(work, chunk, stop))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
