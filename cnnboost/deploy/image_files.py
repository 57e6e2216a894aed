"""Image files that somebody named: single ones, folders, zip archives, lists; and their pixels.

Nothing is gathered before it is used: a folder of a million images needs the memory of a few.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnboost.errors import DataError
from cnnboost.images.archive import ZipTree
from cnnboost.images.decode import InputSpec, bad_input, decode_image
from cnnboost.images.kinds import HEAD, is_picture, kind_of, named_as_image
from cnnboost.images.pool import n_threads
from cnnboost.images.tree import MAX_FILE_BYTES, head_of, looks_like_image, read_image_file, scan

log = logging.getLogger("cnnboost")

LIST = "-"
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM", b"II", b"MM", b"P", b"\0", b"8BPS")
"""Of images, and of few paths: where one of these stands first, more is read before it is judged."""
_BATCH = 64
_BATCH_BYTES = 1 << 22


class _Archive(ZipTree):
    """An archive that is closed when none of its images is left to read: they are found before."""

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


class ImageFile(NamedTuple):
    """One file that is taken for an image."""

    path: str
    read: Callable[[], bytes]


class Batch(NamedTuple):
    """Some image files, in order."""

    paths: list[str]
    errors: list[str | None]
    pixels: np.ndarray


def find_images(paths: Iterable[str], listed: Iterable[bytes] = ()) -> Iterator[ImageFile]:
    """Find the images that paths name."""
    others: Counter[str] = Counter()
    for path in paths:
        if path == LIST:
            picture, lines = _one_picture(listed)
            if picture is not None:
                yield picture
            for line in lines:
                name = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape").removeprefix("\ufeff")
                if name.strip():
                    yield from _find(name, others)
        else:
            yield from _find(path, others)
    for place, count in others.items():
        log.info("%s: left out %d files that are not images", place, count)


def decode_files(
    files: Iterable[ImageFile], spec: InputSpec, *, threads: int | None = None
) -> Generator[Batch, None, None]:
    """Decode image files on all cores, ahead of their use."""
    step = max(1, min(_BATCH, _BATCH_BYTES // int(np.prod(spec))))
    stop = threading.Event()

    def decode(chunk: list[ImageFile]) -> Batch:
        pixels = np.empty((len(chunk), *spec), np.uint8)
        errors: list[str | None] = []
        good = 0
        for path, read in chunk:
            if stop.is_set():
                break
            try:
                pixels[good] = decode_image(read(), spec, path)
            except DataError as error:
                errors.append(error.bad[0].reason if error.bad else str(error))
            except OSError as error:
                errors.append(f"cannot be read ({error.strerror or error})")
            else:
                errors.append(None)
                good += 1
        return Batch([file.path for file in chunk], errors, pixels[:good])

    workers = n_threads(threads)
    remaining = iter(files)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        waiting: deque[Future[Batch]] = deque()
        while True:
            while len(waiting) < 2 * workers and (chunk := list(islice(remaining, step))):
                waiting.append(pool.submit(decode, chunk))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _one_picture(listed: Iterable[bytes]) -> tuple[ImageFile | None, Iterator[bytes]]:
    """Tell the content of an image file from a list of paths; no more is read of a list than is needed."""
    lines = iter(listed)
    read: list[bytes] = []
    size = 0
    for line in lines:
        read.append(line)
        size += len(line)
        if size >= HEAD or not b"".join(read).startswith(_BEGINNINGS):
            break
    head = b"".join(read)
    is_path = head[:2] in (b"P5", b"P6") and os.path.exists(read[0].rstrip(b"\r\n"))  # noqa: PTH110 - bytes
    if not head or is_path or not (is_picture(head) or (b"\0" in head[:HEAD] and kind_of(head[:HEAD]))):
        return None, chain(read, lines)
    for line in lines:
        if size > MAX_FILE_BYTES:
            return _unusable(LIST, f"is larger than {MAX_FILE_BYTES} bytes, the limit for one image"), iter(
                ()
            )
        read.append(line)
        size += len(line)
    content = b"".join(read)
    return ImageFile(LIST, lambda: content), iter(())


def _find(path: str, others: Counter[str]) -> Iterator[ImageFile]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - to Path, no name at all is this folder
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        missing = isinstance(error, FileNotFoundError)
        yield _unusable(path, "does not exist" if missing else f"cannot be read ({reason})")
        return
    if stat.S_ISDIR(mode):
        yield from _in_folder(path, others)
    elif path.lower().endswith(".zip"):
        yield from _in_archive(path, others)
    else:
        yield _file(path)


def _in_folder(root: str, others: Counter[str]) -> Iterator[ImageFile]:
    try:
        for folder in scan(root):
            if folder.error is not None:
                yield _unusable(folder.path, f"cannot be read ({folder.error.strerror})")
            for entry in folder.files:
                if named_as_image(entry.name) or is_picture(head_of(entry.path)):
                    yield _file(entry.path)
                else:
                    others[root] += 1
    except DataError as error:
        yield _unusable(root, str(error).removeprefix(f"{root}: "))


def _in_archive(path: str, others: Counter[str]) -> Iterator[ImageFile]:
    try:
        tree = _Archive(Path(path))
    except DataError as error:
        yield _unusable(path, str(error).removeprefix(f"{path}: "))
        return
    except OSError as error:
        yield _unusable(path, f"cannot be read ({error.strerror})")
        return
    for bad in tree.bad:
        yield _unusable(f"{path}/{bad.place}", bad.reason)
    for member in tree.files:
        if looks_like_image(tree, member):
            yield ImageFile(f"{path}/{member}", partial(tree.read, member))
        else:
            others[path] += 1


def _file(path: str) -> ImageFile:
    return ImageFile(path, partial(read_image_file, path, path))


def _unusable(path: str, reason: str) -> ImageFile:
    def read() -> bytes:
        raise bad_input(path, reason)

    return ImageFile(path, read)
