"""What a source contains, as one hash; remembered for as long as its size and time stamps stay."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cnnboost.errors import StoreError
from cnnboost.files import open_regular, read_json, write_json
from cnnboost.images.files import REMEDY
from cnnboost.images.pool import n_threads
from cnnboost.images.tree import FileStamp

# A file that changed this shortly before it was hashed can change again under the same time stamp.
_SETTLED_NS = 2_000_000_000
_BATCH = 512

log = logging.getLogger("cnnboost")


def content_hash(files: Sequence[FileStamp], origin: str, folder: Path, n_jobs: int | None = None) -> str:
    """Return a sha256 over names and contents of files; read only where their stamps are new."""
    signature = hashlib.sha256(repr([(f.name, f.size, f.mtime_ns) for f in files]).encode()).hexdigest()
    note = folder / f"{hashlib.sha256(os.fsencode(origin)).hexdigest()[:32]}.json"
    newest = max((file.mtime_ns for file in files), default=0)
    known = read_json(note) or {}
    if (
        known.get("signature") == signature
        and isinstance(content := known.get("content"), str)
        and isinstance(hashed_at := known.get("hashed_at_ns"), int)
        and newest + _SETTLED_NS < hashed_at
    ):
        return content
    hashed_at = time.time_ns()
    content = _hash_files(files, n_jobs)
    metadata = {"origin": origin, "signature": signature, "content": content, "hashed_at_ns": hashed_at}
    try:
        write_json(note, metadata, REMEDY)
    except StoreError as error:  # in a cache that may only be read the files are hashed each time
        log.debug("%s", error)
    return content


def _hash_files(files: Sequence[FileStamp], n_jobs: int | None) -> str:
    def batch(start: int) -> bytes:
        return b"".join(_line(file) for file in files[start : start + _BATCH])

    whole = hashlib.sha256()
    with ThreadPoolExecutor(n_threads(n_jobs)) as pool:
        for lines in pool.map(batch, range(0, len(files), _BATCH)):
            whole.update(lines)
    return whole.hexdigest()


def _line(file: FileStamp) -> bytes:
    try:
        with open_regular(file.path) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        digest = f"unreadable {error.errno}"  # the reader names it; here it only must not look like content
    return f"{digest} {file.name!r}\n".encode()
