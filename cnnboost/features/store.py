"""The feature store: features in parts, found by what they were made from.

`<root>/<key>/` holds `part-00000.npy`, `part-00001.npy`, ... and `manifest.json`: what the features were made
from, and rows and sha256 of each part. A folder is verified before it is used. While it is being made it is
called `<key>.part`; a kill costs the rows of the part at work, and one process at a time makes it. The store
knows nothing of Keras: who asks for features hands it a function that computes the rows from one to another.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from cnnboost.errors import FeatureError, StoreError
from cnnboost.features.parts import PART_ROWS, PartWriter, StoreWarning, Unusable, verified_parts
from cnnboost.features.stored import FeatureSpec, Stored

__all__ = ["FeatureSpec", "FeatureStore", "StoreWarning", "Stored"]

_SPARE = 1 << 20  # bytes for the manifest

Compute = Callable[[int, int, tuple[int, ...]], Sequence[np.ndarray]]


class FeatureStore:
    """Features in one folder, which is made at the first write and not before."""

    def __init__(self, root: str | os.PathLike[str], *, part_rows: int = PART_ROWS) -> None:
        self.root = Path(root)
        self.part_rows = part_rows

    def path(self, spec: FeatureSpec) -> Path:
        """Return the folder of `spec`."""
        return self.root / spec.key[:16]

    def get(self, spec: FeatureSpec) -> Stored | None:
        """Return the features of `spec` if they are there and intact."""
        if not self.path(spec).exists():
            return None
        try:
            return self._intact(spec)
        except Unusable as reason:
            message = (
                f"{self.path(spec)} is not used: {reason}. Its features are extracted again when needed."
            )
            warnings.warn(message, StoreWarning, stacklevel=2)
            return None

    def _intact(self, spec: FeatureSpec) -> Stored:
        return Stored(spec, verified_parts(self.path(spec), spec, spec.rows)[0], cached=True)

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
        json.dumps(dict(details or {}))  # what JSON cannot hold must show now, not after the work
        first = {spec.key: index for index, spec in reversed(list(enumerate(specs)))}
        found: dict[str, Stored] = {}
        if not force:
            found = {key: stored for key in first if (stored := self.get(specs[first[key]]))}
        with ExitStack() as locks:
            for key in sorted(first.keys() - found.keys()):
                spec = specs[first[key]]
                self._lock(spec, locks, on_wait)
                if not force and self.path(spec).exists():
                    with suppress(Unusable):  # whoever held the lock before may have made them
                        found[key] = self._intact(spec)
            writers = {
                index: PartWriter(self.path(specs[index]), specs[index], chunk, self.part_rows, force)
                for key, index in sorted(first.items(), key=lambda item: item[1])
                if key not in found
            }
            if writers:
                self._check_room(list(writers.values()))
                begun = _fill(writers, compute, rows, chunk, ids, progress)
                for writer in writers.values():
                    parts = writer.finish(details)
                    found[writer.spec.key] = Stored(writer.spec, parts, cached=False, resumed_from=begun)
        return [replace(found[spec.key], spec=spec) for spec in specs]

    def _lock(self, spec: FeatureSpec, locks: ExitStack, on_wait: Callable[[Path], object] | None) -> None:
        lock = FileLock(self.path(spec).with_suffix(".lock"))
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                locks.enter_context(lock.acquire(timeout=0))
            except Timeout:
                if on_wait:
                    on_wait(self.path(spec))
                locks.enter_context(lock.acquire())
        except OSError as error:
            raise StoreError(
                f"The feature store {self.root} cannot be written: {error}. Choose a folder that can."
            ) from error

    def _check_room(self, writers: Sequence[PartWriter]) -> None:
        """Make sure of the room on the disk before anything is computed."""
        needed = sum((writer.spec.rows - writer.done) * writer.spec.width * 4 for writer in writers) + _SPARE
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise StoreError(
                f"The feature store {self.root} needs {needed:,} bytes and {free:,} are free. "
                "Free space or choose another folder; nothing was computed."
            )


def _fill(
    writers: Mapping[int, PartWriter],
    compute: Compute,
    rows: int,
    chunk: int,
    ids: Sequence[object] | None,
    progress: Callable[[int, int], object] | None,
) -> int:
    """Compute the rows that are missing in any of the writers; return the first of them."""
    begun = min(writer.done for writer in writers.values())
    if progress:
        progress(begun, rows)
    with _flushed(writers):
        for start in range(begun, rows, chunk):
            stop = min(start + chunk, rows)
            blocks = compute(start, stop, tuple(writers))
            if len(blocks) != len(writers):
                raise FeatureError(
                    f"Features of {len(writers)} layers were asked for and {len(blocks)} arrays came back."
                )
            for writer, block in zip(writers.values(), blocks, strict=True):
                _check_block(writer.spec, block, start, stop, ids)
            for writer, block in zip(writers.values(), blocks, strict=True):
                writer.add(start, block)
            if progress:
                progress(stop, rows)
    return begun


@contextmanager
def _flushed(writers: Mapping[int, PartWriter]) -> Iterator[None]:
    """Write the rows that are finished when the work is interrupted, whatever the reason."""
    try:
        yield
    except BaseException:
        for writer in writers.values():
            with suppress(StoreError):  # the reason of the interruption is the one to report
                writer.flush()
        raise


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
