"""The parts of features on the disk: written one after the other, verified before they are used."""

from __future__ import annotations

import operator
import platform
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.errors import StoreError
from cnnboost.features.stored import FORMAT, FeatureSpec, npy_header
from cnnboost.files import disk_error, file_digest, open_regular, read_json, replacing, write_json

PART_BYTES = 64 << 20
PART_ROWS = 4096
"""Of a part, at most: so many images are computed again after a kill."""


class StoreWarning(UserWarning):
    """Features in the store cannot be used as they are; the message names them and says what is wrong."""


class PartWriter:
    """Features on their way: the parts that are finished, and the rows of the next one."""

    def __init__(self, folder: Path, spec: FeatureSpec, chunk: int, part_rows: int, force: bool) -> None:
        self.spec, self._chunk, self._target = spec, chunk, folder
        self._part_rows = max(1, min(part_rows, PART_BYTES // (spec.width * 4)))
        self._folder = folder.with_name(f"{folder.name}.part")
        self._records: list[dict[str, Any]] = []
        self._blocks: list[np.ndarray] = []
        try:
            if not force and self._folder.is_dir() and any(self._folder.iterdir()):
                self._resume()
            if not self._records:
                shutil.rmtree(self._folder, ignore_errors=True)
        except OSError as error:
            raise disk_error(self._folder, error) from error

    def _resume(self) -> None:
        try:
            self._records = verified_parts(self._folder, self.spec, None, chunk=self._chunk)[1]
        except Unusable as reason:
            message = f"{self._folder} is begun again: {reason}."
            warnings.warn(message, StoreWarning, stacklevel=2)

    @property
    def done(self) -> int:
        """Rows in finished parts."""
        return sum(record["rows"] for record in self._records)

    def add(self, start: int, block: np.ndarray) -> None:
        """Take up rows; rows of finished parts stay as they are."""
        waiting = self.done + sum(map(len, self._blocks))
        if start < waiting:
            return
        self._blocks.append(block)
        if waiting + len(block) - self.done >= self._part_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows taken up so far as a part, then the manifest."""
        if not self._blocks:
            return
        rows = np.concatenate(self._blocks)
        path = self._folder / part_name(len(self._records))
        try:
            with replacing(path, needed=rows.nbytes) as temporary, temporary.open("wb") as file:
                # np.save does not tell a full disk from other errors.
                file.write(npy_header(rows.shape))
                file.write(rows.data)
        except StoreError as error:
            raise StoreError(
                f"{error} Finished rows are kept: the same command goes on from there."
            ) from error
        # One statement: a Ctrl-C must not find the one without the other.
        self._records, self._blocks = (
            [*self._records, {"rows": len(rows), "sha256": file_digest(path)}],
            [],
        )
        self._write_manifest({})

    def _write_manifest(self, details: Mapping[str, Any]) -> None:
        manifest = {
            "format": FORMAT,
            "key": self.spec.key,
            "spec": asdict(self.spec),
            "dtype": "float32",
            "chunk": self._chunk,
            "parts": self._records,
            "made_with": library_versions(),
            "details": dict(details),
        }
        write_json(self._folder / "manifest.json", manifest)

    def finish(self, details: Mapping[str, Any] | None) -> tuple[Path, ...]:
        """Give the folder its name; features of the same key that are there go only now."""
        self.flush()
        self._write_manifest(details or {})
        old = self._target.with_name(f"{self._target.name}.old")
        try:
            shutil.rmtree(old, ignore_errors=True)
            if self._target.exists():
                self._target.rename(old)
            self._folder.rename(self._target)
        except OSError as error:
            raise disk_error(self._target, error) from error
        shutil.rmtree(old, ignore_errors=True)
        return tuple(self._target / part_name(number) for number in range(len(self._records)))


class Unusable(Exception):
    """Why features on the disk cannot be used."""


def verified_parts(
    folder: Path, spec: FeatureSpec, rows: int | None, chunk: int | None = None
) -> tuple[tuple[Path, ...], list[dict[str, Any]]]:
    """Return the parts of a folder and their records, if they are what they say."""
    manifest = read_json(folder / "manifest.json")
    if manifest is None:
        raise Unusable("its manifest.json is missing, damaged or altered")
    if manifest.get("format") != FORMAT:
        raise Unusable(f"it has format {manifest.get('format')!r} and this version reads {FORMAT}")
    if manifest.get("key") != spec.key:
        raise Unusable("its manifest belongs to other features")
    if chunk is not None and manifest.get("made_with") != library_versions():
        raise Unusable("it was begun with other library versions")
    if chunk not in (None, manifest.get("chunk")):
        raise Unusable(f"it was begun in steps of {manifest.get('chunk')} rows, and now they are {chunk}")
    records: Any = manifest.get("parts")
    parts = []
    try:
        for number, record in enumerate(records):
            parts.append(folder / part_name(number))
            _check_part(parts[-1], (operator.index(record["rows"]), spec.width), record["sha256"])
        total = sum(record["rows"] for record in records)
    except (TypeError, KeyError) as error:
        raise Unusable("its manifest.json does not list its parts") from error
    whole = total == spec.rows
    if not whole and (rows is not None or total > spec.rows or total % (chunk or 1)):
        raise Unusable(f"its parts have {total} rows instead of {spec.rows}")
    return tuple(parts), records


def _check_part(path: Path, shape: tuple[int, int], sha256: str) -> None:
    header = npy_header(shape)
    wanted = len(header) + shape[0] * shape[1] * 4
    try:
        size = path.stat().st_size
        if size != wanted:
            raise Unusable(f"{path.name} has {size:,} bytes instead of {wanted:,}")
        with open_regular(path) as file:
            if file.read(len(header)) != header:
                raise Unusable(f"{path.name} has another header than float32 {shape}")
        if file_digest(path) != sha256:
            raise Unusable(f"{path.name} was altered: its sha256 is not the one in manifest.json")
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error}") from error


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05}.npy"


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of what computes and writes features."""
    found = {"python": platform.python_version()}
    for name in ("cnnboost", "keras", "tensorflow", "numpy"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
