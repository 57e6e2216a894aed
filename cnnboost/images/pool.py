"""Decoding on all cores.

Threads, not processes: Pillow leaves Python's lock while it decodes, so two threads decode nearly twice
as fast as one; there is nothing to start, nothing to send back, and no script is imported again.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from cnnboost.errors import BadInput, DataError
from cnnboost.images.decode import InputSpec
from cnnboost.images.readers import Listing

Progress = Callable[[int, int], None]

_CHUNK_BYTES = 1 << 20
_CHUNK_ROWS = 256
_LOOKS = 64


class Chunk(NamedTuple):
    """Some rows, decoded."""

    pixels: np.ndarray
    rows: np.ndarray
    bad: list[BadInput]


def n_threads(n_jobs: int | None) -> int:
    """Return the number of threads: `n_jobs`, or for None and -1 one for each core this process may use."""
    if n_jobs is None or n_jobs == -1:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if n_jobs < 1:
        raise ValueError(f"n_jobs={n_jobs!r}: give a number of threads of at least 1, or None for all cores")
    return n_jobs


def first_shape(listing: Listing, source: str = "images") -> InputSpec:
    """Return the shape of the first row that can be read."""
    bad: list[BadInput] = list(listing.bad)
    for row in range(len(listing)):
        try:
            return listing.shape(row)
        except DataError as error:
            bad += error.bad
    first = f": {bad[0].place} {bad[0].reason}" if bad else ""
    raise DataError(f"{source}: none of {len(listing)} images can be decoded{first}", bad)


def sampled_channels(listing: Listing) -> set[int]:
    """Return the numbers of channels that some rows have, spread over all of them; only headers are read."""
    found: set[int] = set()
    for row in range(0, len(listing), max(1, len(listing) // _LOOKS)):
        try:
            found.add(listing.shape(row).channels)
        except DataError:
            continue  # named when it is decoded
    return found


def decode_rows(
    listing: Listing,
    spec: InputSpec,
    *,
    resize: bool,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Generator[Chunk, None, None]:
    """Decode every row of a listing, in order.

    At most a few chunks exist at a time, however many rows there are. When the caller stops early, or is
    interrupted, all threads have ended before the generator is closed.
    """
    total = len(listing)
    step = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // max(1, int(np.prod(spec)))))
    stop = threading.Event()

    def decode(start: int) -> Chunk:
        rows = range(start, min(start + step, total))
        pixels = np.empty((len(rows), *spec), dtype=np.uint8)
        good: list[int] = []
        bad: list[BadInput] = []
        for row in rows:
            if stop.is_set():
                break
            try:
                pixels[len(good)] = listing.image(row, spec, resize)
            except DataError as error:
                bad += error.bad
            except OSError as error:  # of the source: outside of here it would be taken for the cache's
                bad.append(BadInput(listing.ids[row], f"cannot be read ({error.strerror or error})"))
            else:
                good.append(row)
        return Chunk(pixels[: len(good)], np.array(good, dtype=np.int64), bad)

    threads = n_threads(n_jobs)
    starts = iter(range(0, total, step))
    done = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        waiting: deque[Future[Chunk]] = deque()
        while True:
            while len(waiting) < 2 * threads + 2 and (start := next(starts, None)) is not None:
                waiting.append(pool.submit(decode, start))
            if not waiting:
                break
            chunk = waiting.popleft().result()
            yield chunk
            done += min(step, total - done)
            if progress is not None:
                progress(done, total)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
