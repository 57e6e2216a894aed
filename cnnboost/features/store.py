"""The feature store: features in parts, found by what they were made from.

`<root>/<key>/` holds `part-00000.npy`, `part-00001.npy`, ... and `manifest.json`: what the features were made
from, and rows and sha256 of each part. A folder is verified before it is used. While it is being made it is
called `<key>.part`; a kill loses the rows of the unfinished part, and one process at a time makes it. The
store does not depend on Keras: its callers pass a function that computes a range of rows.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cnnboost.errors import FeatureError, StoreError
from cnnboost.features.part_table import PartTable, PartToMake, pieces_of
from cnnboost.features.parts import (
    PART_ROWS,
    FeatureSpec,
    PartFolder,
    PartWriter,
    Stored,
    StoreWarning,
    Unusable,
    Verify,
    check_here,
    verified_parts,
)
from cnnboost.files import disk_error
from cnnboost.locks import file_lock

__all__ = ["FeatureSpec", "FeatureStore", "StoreWarning", "Stored"]

_SPARE = 1 << 20  # bytes for the manifest

Folder = TypeVar("Folder", bound=PartFolder)
Compute = Callable[[int, int, tuple[int, ...]], Sequence[np.ndarray]]
MakeParts = Callable[[Iterable[list[PartToMake]]], Iterable[list[tuple[PartToMake, dict[str, Any]]]]]
"""Takes parts, those of the same rows together; gives them with their records as they are written."""


class FeatureStore:
    """Features in one folder, which is made at the first write and not before."""

    def __init__(self, root: str | os.PathLike[str], *, part_rows: int = PART_ROWS) -> None:
        self.root = Path(root)
        self.part_rows = part_rows

    def path(self, spec: FeatureSpec) -> Path:
        """Return the folder of `spec`."""
        return self.root / spec.key[:16]

    def get(self, spec: FeatureSpec, verify: Verify = check_here) -> Stored | None:
        """Return the features of `spec` if they are there and intact."""
        path = self.path(spec)
        if not path.exists():
            return None
        try:
            return self._intact(spec, verify)
        except Unusable as reason:
            message = f"{path} is not used: {reason}. Its features are extracted again when needed."
            warnings.warn(message, StoreWarning, stacklevel=2)
            return None

    def _intact(self, spec: FeatureSpec, verify: Verify) -> Stored:
        return Stored(spec, verified_parts(self.path(spec), spec, verify=verify)[0], cached=True)

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
    ) -> list[Stored]:
        """Return the features of every spec, and compute those that are missing in one pass over the rows."""

        def begin(spec: FeatureSpec) -> PartWriter:
            return PartWriter(self.path(spec), spec, chunk, self.part_rows, force)

        def fill(writers: Mapping[int, PartWriter]) -> None:
            _fill(writers, compute, chunk, ids, progress)

        return self._up_to_date(specs, begin, fill, check_here, details, force)

    def extract_elsewhere(
        self,
        specs: Sequence[FeatureSpec],
        make_parts: MakeParts,
        verify: Verify,
        *,
        chunk: int,
        made_with: Mapping[str, str],
        details: Mapping[str, Any] | None = None,
        force: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Stored]:
        """Return the features of every spec; other processes write the parts that are missing, in any order.

        Parts have the same boundaries as those of `extract`. This process holds the locks and writes the
        manifests; a part is known by the record that `make_parts` gives of it.
        """

        def begin(spec: FeatureSpec) -> PartTable:
            return PartTable(self.path(spec), spec, chunk, self.part_rows, force, made_with, verify)

        def fill(tables: Mapping[int, PartTable]) -> None:
            _collect(tables, make_parts, progress)

        return self._up_to_date(specs, begin, fill, verify, details, force)

    def _up_to_date(
        self,
        specs: Sequence[FeatureSpec],
        begin: Callable[[FeatureSpec], Folder],
        fill: Callable[[Mapping[int, Folder]], None],
        verify: Verify,
        details: Mapping[str, Any] | None,
        force: bool,
    ) -> list[Stored]:
        """Find the features of every spec; those that are missing are made by one process at a time."""
        first: dict[str, int] = {}
        for index, spec in enumerate(specs):
            first.setdefault(spec.key, index)
        made: dict[str, Stored] = {}
        if not force:
            made = {key: stored for key, index in first.items() if (stored := self.get(specs[index], verify))}
        with ExitStack() as locks:
            # In one order, so that no two processes wait for each other.
            for key in sorted(first.keys() - made.keys()):
                path = self.path(specs[first[key]])
                locks.enter_context(file_lock(path.with_suffix(".lock"), path))
                if not force:
                    with suppress(Unusable):  # whoever held the lock before may have made them
                        made[key] = self._intact(specs[first[key]], verify)
            missing = {index: begin(specs[index]) for key, index in first.items() if key not in made}
            if missing:
                self._check_room(missing.values())
                begun = min(folder.done for folder in missing.values())
                fill(missing)
                for folder in missing.values():
                    parts = folder.finish(details or {})
                    made[folder.spec.key] = Stored(folder.spec, parts, cached=False, resumed_from=begun)
        return [replace(made[spec.key], spec=spec) for spec in specs]

    def _check_room(self, writers: Iterable[PartFolder]) -> None:
        """Make sure of the room on the disk, and that it can be written, before anything is computed."""
        needed = sum((writer.spec.rows - writer.done) * writer.spec.width * 4 for writer in writers) + _SPARE
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
            if needed > free:
                raise StoreError(
                    f"The feature store {self.root} needs {needed:,} bytes and {free:,} are free. "
                    "Free space or choose another folder; nothing was computed."
                )
            for writer in writers:
                writer.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(self.root, error) from error


def _collect(
    tables: Mapping[int, PartTable],
    make_parts: MakeParts,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Have missing parts made, and take up their records."""
    total = sum(table.spec.rows for table in tables.values())
    done = sum(table.done for table in tables.values())
    rows = next(iter(tables.values())).spec.rows
    if progress:
        progress(done * rows // total, rows)
    try:
        for made in make_parts(pieces_of(tables)):
            for part, record in made:
                tables[part.table].add(part.number, record)
                done += record["rows"]
            if progress:
                progress(done * rows // total, rows)
    finally:
        # Whatever the reason, the parts that are finished are kept; the reason is the one to report.
        for table in tables.values():
            with suppress(StoreError):
                table.save()


def _fill(
    writers: Mapping[int, PartWriter],
    compute: Compute,
    chunk: int,
    ids: Sequence[object] | None,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Compute the rows that are missing in any of the writers."""
    rows = next(iter(writers.values())).spec.rows
    begun = min(writer.done for writer in writers.values())
    if progress:
        progress(begun, rows)
    try:
        for start in range(begun, rows, chunk):
            stop = min(start + chunk, rows)
            blocks = compute(start, stop, tuple(writers))
            for writer, block in zip(writers.values(), blocks, strict=True):
                check_block(writer.spec.layer, writer.spec.width, block, start, stop, ids)
            for writer, block in zip(writers.values(), blocks, strict=True):
                writer.add(start, block)
            if progress:
                progress(stop, rows)
    except BaseException:
        # Whatever the reason, the rows that are finished are written; the reason is the one to report.
        for writer in writers.values():
            with suppress(StoreError):
                writer.flush()
        raise


def check_block(
    layer: str, width: int, block: Any, start: int, stop: int, ids: Sequence[object] | None = None
) -> None:
    """Refuse features of another shape than was promised, and those that are not finite."""
    if (block.dtype, block.shape) != (np.float32, (stop - start, width)):
        raise FeatureError(
            f"Layer {layer!r} gave {block.dtype} {block.shape} for the rows {start} to {stop - 1} "
            f"where float32 {(stop - start, width)} was promised."
        )
    finite = np.isfinite(block)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        name = "" if ids is None else f" ({ids[start + row]})"
        raise FeatureError(
            f"Layer {layer!r} gives {block[row, column]} for row {start + row}{name}, column {column}. "
            "Features must be finite, so none are kept: look at this image, at the weights of the CNN, at "
            "the pixel scale it expects and at its precision (float16 ends at 65504)."
        )
