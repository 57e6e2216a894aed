"""The feature store: `.npy` files named by what they were made from, with a `.json` beside each.

A file is found by its content key, verified before it is used, written in chunks, continued after a kill,
and never written by two processes at a time. The store knows nothing of Keras: who asks for features hands
it a function that computes the rows from `start` to `stop`.

Beside `fc1-<key>.npy` stand `fc1-<key>.json` (what it was made from, sha256), an empty `<key>.lock`, and,
only while it is being written, `fc1-<key>.npy.part` (the rows so far) and `fc1-<key>.part.json` (how many are
finished).
"""

from __future__ import annotations

import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cnnboost.errors import FeatureError, StoreError
from cnnboost.features.partfile import PartFile, canonical_json
from cnnboost.features.stored import (
    FeatureSpec,
    Stored,
    StoreWarning,
    export_plain,
    fault,
    open_features,
    sidecar,
)
from cnnboost.files import disk_error

__all__ = ["FeatureSpec", "FeatureStore", "StoreWarning", "Stored"]

_SPARE = 1 << 20  # bytes for the small JSON files

Compute = Callable[[int, int, tuple[int, ...]], Sequence[np.ndarray]]


class FeatureStore:
    """Feature files in one folder, which is made at the first write and not before."""

    export_plain = staticmethod(export_plain)

    def __init__(self, root: str | os.PathLike[str], *, record_every: float = 2.0) -> None:
        self.root = Path(root)
        self.record_every = record_every

    def path(self, spec: FeatureSpec) -> Path:
        """Return the `.npy` of `spec`: the one that is there, under whichever alias, or the one to make."""
        short = spec.key[:16]
        own = self.root / f"{_safe(spec.layer)}-{short}.npy"
        if own.exists():
            return own
        for suffix in ("", ".part"):
            for found in sorted(self.root.glob(f"*-{short}.npy{suffix}")):
                return found.with_name(found.name.removesuffix(suffix))
        return own

    def get(self, spec: FeatureSpec) -> Stored | None:
        """Open the features of `spec` if they are there and intact.

        Size, header and the sha256 of the whole file are checked against the `.json` beside it.
        """
        path = self.path(spec)
        # An interrupted finish leaves a .json without its .npy: nothing is wrong, the features are not there.
        if not path.exists():
            return None
        wrong = fault(path, spec)
        if wrong:
            _warn(f"{path} is not used: {wrong}. It is made anew when these features are next extracted.")
            return None
        return Stored(spec, path, open_features(path), cached=True)

    def extract(
        self,
        specs: Sequence[FeatureSpec],
        compute: Compute,
        *,
        chunk: int,
        ids: Sequence[object] | None = None,
        details: Mapping[str, Any] | None = None,
        force: bool = False,
        progress: Callable[[int, int], object] | None = None,
        on_wait: Callable[[Path], object] | None = None,
    ) -> list[Stored]:
        """Return the features of every spec, and compute those that are missing in one pass over the rows."""
        rows = _common_rows(specs, chunk, ids)
        canonical_json(dict(details or {}))  # what JSON cannot hold must show now, not after the work
        first = {spec.key: index for index, spec in reversed(list(enumerate(specs)))}
        found: dict[str, Stored] = {}
        if not force:
            found = {key: stored for key in first if (stored := self.get(specs[first[key]]))}
        with ExitStack() as locks:
            for key in sorted(first.keys() - found.keys()):
                if self._lock(key, specs[first[key]], locks, on_wait):
                    on_wait = None
            if not force:  # whoever held a lock before may have made the file
                for key in first.keys() - found.keys():
                    path = self.path(specs[first[key]])
                    if path.exists() and not fault(path, specs[first[key]]):
                        found[key] = Stored(specs[first[key]], path, open_features(path), cached=True)
            wanted = tuple(sorted(index for key, index in first.items() if key not in found))
            if wanted:
                parts = {index: self._part(specs[index], chunk, force) for index in wanted}
                begun = min(part.done for part in parts.values())
                _claim(self.root, list(parts.values()))
                with _kept(parts.values()):
                    self._fill(specs, parts, compute, rows, chunk, ids, progress)
                    for index, part in parts.items():
                        with _named(part):
                            part.finish(sidecar(specs[index], details))
                        found[part.key] = Stored(
                            specs[index], part.path, open_features(part.path), False, begun
                        )
        return [replace(found[spec.key], spec=spec) for spec in specs]

    def _lock(
        self, key: str, spec: FeatureSpec, locks: ExitStack, on_wait: Callable[[Path], object] | None
    ) -> bool:
        """Hold the lock of a key; return whether somebody else had it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Named by the key alone: two names of one layer must not be computed side by side.
            lock = FileLock(self.root / f"{key[:16]}.lock")
            try:
                locks.enter_context(lock.acquire(timeout=0))
            except Timeout:
                if on_wait:
                    on_wait(self.path(spec))
                locks.enter_context(lock.acquire())
                return True
        except OSError as error:
            raise StoreError(
                f"The feature store {self.root} cannot be written: {error}. Choose a folder that can."
            ) from error
        return False

    def _part(self, spec: FeatureSpec, chunk: int, force: bool) -> PartFile:
        part = PartFile(self.path(spec), spec.key, (spec.rows, spec.width), chunk)
        try:
            if force:
                part.discard()
            elif why := part.resume():
                _warn(f"{part.file} is begun anew: {why}.")
        except OSError as error:
            raise disk_error(part.file, error) from error
        return part

    def _fill(
        self,
        specs: Sequence[FeatureSpec],
        parts: Mapping[int, PartFile],
        compute: Compute,
        rows: int,
        chunk: int,
        ids: Sequence[object] | None,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        """Compute the rows that are missing in any of the parts."""
        begun = min(part.done for part in parts.values())
        recorded = time.monotonic()
        if progress:
            progress(begun, rows)
        for start in range(begun, rows, chunk):
            stop = min(start + chunk, rows)
            blocks = compute(start, stop, tuple(parts))
            if len(blocks) != len(parts):
                raise FeatureError(
                    f"Features of {len(parts)} layers were asked for and {len(blocks)} arrays came back."
                )
            for index, block in zip(parts, blocks, strict=True):
                _check_block(specs[index], block, start, stop, ids)
            for part, block in zip(parts.values(), blocks, strict=True):
                with _named(part):
                    part.write(start, block)
            if time.monotonic() - recorded >= self.record_every:
                for part in parts.values():
                    with _named(part):
                        part.record()
                recorded = time.monotonic()
            if progress:
                progress(stop, rows)


def _safe(layer: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", layer).strip("._")[:60] or "layer"


def _warn(message: str) -> None:
    warnings.warn(message, StoreWarning, stacklevel=3)


def _common_rows(specs: Sequence[FeatureSpec], chunk: int, ids: Sequence[object] | None) -> int:
    if not specs:
        raise FeatureError("No layer was asked for: give at least one FeatureSpec.")
    rows = specs[0].rows
    if any(spec.rows != rows for spec in specs):
        counts = ", ".join(f"{spec.layer}: {spec.rows}" for spec in specs)
        raise FeatureError(f"One pass fills layers of the same rows only; these differ ({counts}).")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 row; got {chunk}.")
    if ids is not None and len(ids) != rows:
        raise FeatureError(f"{len(ids)} row names were given for {rows} rows.")
    return rows


def _check_block(spec: FeatureSpec, block: Any, start: int, stop: int, ids: Sequence[object] | None) -> None:
    got = f"{block.dtype} {block.shape}" if isinstance(block, np.ndarray) else type(block).__name__
    if got != f"float32 {(stop - start, spec.width)}":
        raise FeatureError(
            f"Layer {spec.layer!r} gave {got} for the rows {start} to {stop - 1} "
            f"where float32 {(stop - start, spec.width)} was promised."
        )
    finite = np.isfinite(block)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        name = "" if ids is None else f" ({ids[start + row]})"
        raise FeatureError(
            f"Layer {spec.layer!r} gives {block[row, column]} for row {start + row}{name}, column {column}. "
            "Features must be finite, so none are kept: look at this image, at the weights of the CNN, at "
            "the pixel scale it expects and at its precision (float16 ends at 65504)."
        )


def _claim(root: Path, parts: Sequence[PartFile]) -> None:
    """Make sure of the room on the disk before anything is computed."""
    needed = sum(part.bytes_missing() for part in parts) + _SPARE
    free = shutil.disk_usage(root).free
    if needed > free:
        raise StoreError(
            f"The feature store {root} needs {needed:,} bytes and {free:,} are free. "
            "Free space or choose another folder; nothing was computed."
        )
    for part in parts:
        try:
            part.open()
        except OSError as error:
            for other in parts:
                other.close()
                if other.done == 0:
                    other.discard()
            raise disk_error(part.path, error, needed) from error


@contextmanager
def _named(part: PartFile) -> Iterator[None]:
    """Turn an error of the disk into one that names the file and the bytes."""
    try:
        yield
    except OSError as error:
        reason = disk_error(part.path, error, part.size)
        raise StoreError(f"{reason} Finished rows are kept: the same command goes on from there.") from error


@contextmanager
def _kept(parts: Collection[PartFile]) -> Iterator[None]:
    """Record the finished rows of every part when the work is interrupted, whatever the reason."""
    try:
        yield
    except BaseException:
        for part in filter(PartFile.is_open, parts):
            with suppress(OSError):  # the reason of the interruption is the one to report
                part.record()
        raise
    finally:
        for part in parts:
            part.close()
