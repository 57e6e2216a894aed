"""Parts that several processes make in any order."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnnboost.features.parts import (
    FeatureSpec,
    PartCheck,
    PartFolder,
    StoreWarning,
    Unusable,
    Verify,
    listed_parts,
    part_name,
)
from cnnboost.files import disk_error

_SAVED_EVERY = 1.0  # seconds: a manifest of many parts is long


class PartToMake(NamedTuple):
    """A part that is missing: of which of several features, its number, its rows, its file, its layer.

    The path is absolute, so that other processes find it.
    """

    table: int
    number: int
    start: int
    stop: int
    path: Path
    layer: str


class PartTable(PartFolder):
    """Features whose parts are made in any order; the manifest lists those that are missing as null.

    Where parts of finished features were altered, the others are kept.
    """

    def __init__(
        self,
        target: Path,
        spec: FeatureSpec,
        chunk: int,
        part_rows: int,
        force: bool,
        made_with: Mapping[str, str],
        verify: Verify,
    ) -> None:
        super().__init__(target, spec, chunk, part_rows, made_with)
        self.size = -(-self._part_rows // chunk) * chunk
        self._starts = range(0, spec.rows, self.size)
        self._records = [None] * len(self._starts)  # type: ignore[list-item]
        self._saved_at = 0.0
        try:
            if not force:
                self._take_up(target, verify)
            if not self.done:
                shutil.rmtree(self.folder, ignore_errors=True)
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def _take_up(self, target: Path, verify: Verify) -> None:
        for folder in (self.folder, target):
            if not folder.is_dir() or not any(folder.iterdir()):
                continue
            try:
                self._records = self._found(folder, verify)
            except Unusable as reason:
                warnings.warn(f"{folder} is begun again: {reason}.", StoreWarning, stacklevel=3)
                continue
            if folder is target:
                shutil.rmtree(self.folder, ignore_errors=True)
                target.rename(self.folder)
            return

    def _found(self, folder: Path, verify: Verify) -> list[Any]:
        """Return the records of the parts in a folder that are what they should be."""
        records = listed_parts(folder, self.spec, self._chunk, self._made_with)
        if not isinstance(records, list) or len(records) != len(self._starts):
            raise Unusable("its parts have other boundaries")
        checks = {}
        for number, record in enumerate(records):
            rows = self._rows(number)
            if record is not None:
                if not isinstance(record, dict) or record.get("rows") != rows:
                    raise Unusable("its parts have other boundaries")
                shape = (rows, self.spec.width)
                checks[number] = PartCheck(folder / part_name(number), shape, str(record.get("sha256")))
        faults = dict(zip(checks, verify(list(checks.values())), strict=True))
        return [record if faults.get(number, "") is None else None for number, record in enumerate(records)]

    def _rows(self, number: int) -> int:
        start = self._starts[number]
        return min(start + self.size, self.spec.rows) - start

    def missing(self, table: int) -> dict[int, PartToMake]:
        """Return the parts to make, by their first row; they carry the number of this table."""
        folder, layer = self.folder.resolve(), self.spec.layer
        return {
            start: PartToMake(
                table, number, start, start + self._rows(number), folder / part_name(number), layer
            )
            for number, start in enumerate(self._starts)
            if self._records[number] is None
        }

    def add(self, number: int, record: dict[str, Any]) -> None:
        """Take up a part that was made."""
        self._records[number] = record
        if time.monotonic() - self._saved_at > _SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """Write which parts are there."""
        self._write_manifest({})
        self._saved_at = time.monotonic()


def pieces_of(tables: Mapping[int, PartTable]) -> Iterator[list[PartToMake]]:
    """Group missing parts so that those of the same rows are made in one pass over the images.

    Parts of wide layers have fewer rows. They go along with longer ones where a whole number of them has as
    many rows.
    """
    left = sorted(tables, key=lambda index: -tables[index].size)
    while left:
        longest = tables[left[0]].size
        together = [index for index in left if longest % tables[index].size == 0]
        left = [index for index in left if index not in together]
        missing = [(tables[index].size, tables[index].missing(index)) for index in together]
        for start in range(0, tables[together[0]].spec.rows, longest):
            starts = ((of, first) for size, of in missing for first in range(start, start + longest, size))
            parts = [of[first] for of, first in starts if first in of]
            if parts:
                yield parts
