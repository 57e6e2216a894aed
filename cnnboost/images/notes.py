"""Notes on a source, so that another run need not read it again: its content, and what of it is bad."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cnnboost.errors import StoreError
from cnnboost.files import open_regular, read_json, write_json
from cnnboost.images.pool import n_threads
from cnnboost.images.tree import FileStamp

log = logging.getLogger("cnnboost")

REMEDY = "Make room, name another folder in CNNBOOST_CACHE, or load with cache=False"
# A file that changed this shortly before it was hashed can change again under the same time stamp.
_SETTLED_NS = 2_000_000_000
_HASHED_AT_ONCE = 512


def write_if_possible(path: Path, metadata: dict[str, object]) -> None:
    """Write what only saves time: a cache that may only be read is used without it."""
    try:
        write_json(path, metadata, REMEDY)
    except StoreError as error:
        log.debug("%s", error)


def content_hash(files: Sequence[FileStamp], origin: str, folder: Path, n_jobs: int | None = None) -> str:
    """Return a sha256 over names and contents of files; they are read only where their stamps are new."""
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
    content, is_lasting = _hash_files(files, n_jobs)
    if is_lasting:
        write_if_possible(
            note, {"origin": origin, "signature": signature, "content": content, "hashed_at_ns": hashed_at}
        )
    return content


def _hash_files(files: Sequence[FileStamp], n_jobs: int | None) -> tuple[str, bool]:
    """Return the digest, and whether stamps tell when it is another: not those of files without rights."""

    def lines(start: int) -> list[tuple[bytes, bool]]:
        return [_hash_line(file) for file in files[start : start + _HASHED_AT_ONCE]]

    whole, is_lasting = hashlib.sha256(), True
    with ThreadPoolExecutor(n_threads(n_jobs)) as pool:
        for part in pool.map(lines, range(0, len(files), _HASHED_AT_ONCE)):
            for line, lasts in part:
                whole.update(line)
                is_lasting &= lasts
    return whole.hexdigest(), is_lasting


def _hash_line(file: FileStamp) -> tuple[bytes, bool]:
    lasts = True
    try:
        with open_regular(file.path) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        digest = f"unreadable {error.errno}"  # the reader names it; here it only must not look like content
        lasts = file.size < 0  # a link to nowhere; its stamp is another as soon as there is a file
    return f"{digest} {file.name!r}\n".encode(), lasts


def known_bad_rows(
    note: Path, n: int, find: Callable[[Sequence[int]], tuple[dict[int, str], list[int]]]
) -> dict[int, str]:
    """Return the rows of a source that cannot be used, with the reasons.

    `find` looks for them among the rows that it is given, and says which of them may be read another time:
    these are looked at again by the next caller, all others once.
    """
    known = read_json(note) or {}
    bad = {int(row): str(reason) for row, reason in known.get("bad", ())}
    wanted: Sequence[int] = known.get("unread", ()) if "bad" in known else range(n)
    if not wanted:
        return bad
    found, unread = find(wanted)
    bad |= found
    settled = sorted(bad.items() - {(row, found[row]) for row in unread})
    write_if_possible(note, {"bad": settled, "unread": unread})
    return dict(sorted(bad.items()))
