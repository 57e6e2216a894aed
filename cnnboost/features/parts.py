"""Features on the disk: what they were made from, and their parts, which are verified before use."""

from __future__ import annotations

import hashlib
import io
import json
import operator
import os
import platform
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.errors import StoreError
from cnnboost.features.feature_parts import FeatureParts, open_parts
from cnnboost.files import disk_error, file_digest, open_regular, read_json, replacing, write_json

FORMAT = 2
PART_BYTES = 64 << 20
PART_ROWS = 4096
"""Of a part, at most: so many images are computed again after a kill."""


class StoreWarning(UserWarning):
    """Features in the store cannot be used as they are; the message names them and says what is wrong."""


class Unusable(Exception):
    """Why features on the disk cannot be used."""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that changes the values of some features, and nothing about places."""

    layer: str
    trunk: str
    width: int
    pixels: str
    images: str
    rows: int
    view: str = "identity"

    @property
    def key(self) -> str:
        """sha256 over all that changes the values; the layer's name does not."""
        inputs = asdict(self) | {"dtype": "float32", "format": FORMAT}
        del inputs["layer"]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Stored:
    """Features in the store."""

    spec: FeatureSpec
    parts: tuple[Path, ...]
    cached: bool
    resumed_from: int = 0

    @property
    def path(self) -> Path:
        """The only part, or the folder of several."""
        return self.parts[0] if len(self.parts) == 1 else self.parts[0].parent

    @property
    def features(self) -> FeatureParts:
        """All rows, to be read a block at a time."""
        return FeatureParts([open_parts(self.parts)])

    @cached_property
    def X(self) -> np.ndarray:
        """All rows, read-only."""
        arrays = list(self.arrays())
        array: np.ndarray = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        array.flags.writeable = False
        return array

    def arrays(self) -> Iterator[np.ndarray]:
        """Give the rows part by part, mapped from the disk."""
        for path in self.parts:
            yield np.load(path, mmap_mode="r")

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Copy the features to one plain `.npy` of any name, whole or not at all."""
        target = Path(path)
        if target.exists() and target.samefile(self.parts[0]):
            return target
        shape = self.spec.rows, self.spec.width
        with replacing(target, needed=shape[0] * shape[1] * 4) as temporary, temporary.open("wb") as file:
            file.write(_npy_header(shape))
            for array in self.arrays():
                file.write(np.ascontiguousarray(array).data)
        return target


class PartWriter:
    """Features that are being made: the parts that are finished, and the rows of the next one."""

    def __init__(self, target: Path, spec: FeatureSpec, chunk: int, part_rows: int, force: bool) -> None:
        self.spec, self._chunk, self._target = spec, chunk, target
        self._part_rows = max(1, min(part_rows, PART_BYTES // (spec.width * 4)))
        self.folder = target.with_name(f"{target.name}.part")
        self._records: list[dict[str, Any]] = []
        self._blocks: list[np.ndarray] = []
        try:
            if not force and self.folder.is_dir() and any(self.folder.iterdir()):
                self._records = verified_parts(self.folder, spec, chunk)[1]
        except Unusable as reason:
            warnings.warn(f"{self.folder} is begun again: {reason}.", StoreWarning, stacklevel=2)
        except OSError as error:
            raise disk_error(self.folder, error) from error
        if not self._records:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def done(self) -> int:
        """Rows in finished parts."""
        return sum(record["rows"] for record in self._records)

    def add(self, start: int, block: np.ndarray) -> None:
        """Take up rows; rows of finished parts stay as they are."""
        waiting = sum(map(len, self._blocks))
        if start < self.done + waiting:
            return
        self._blocks.append(block)
        if waiting + len(block) >= self._part_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows taken up so far as a part, then the manifest."""
        if not self._blocks:
            return
        rows = np.concatenate(self._blocks)
        path = self.folder / _part_name(len(self._records))
        try:
            with replacing(path, needed=rows.nbytes) as temporary, temporary.open("wb") as file:
                # np.save does not tell a full disk from other errors.
                file.write(_npy_header(rows.shape))
                file.write(rows.data)
        except StoreError as error:
            raise StoreError(
                f"{error} Finished rows are kept: the same command goes on from there."
            ) from error
        record = {"rows": len(rows), "sha256": file_digest(path)}
        # One statement: a Ctrl-C must not find the one without the other.
        self._records, self._blocks = [*self._records, record], []
        self._write_manifest({})

    def _write_manifest(self, details: Mapping[str, Any]) -> None:
        manifest = {
            "format": FORMAT,
            "key": self.spec.key,
            "spec": asdict(self.spec),
            "dtype": "float32",
            "chunk": self._chunk,
            "parts": self._records,
            "made_with": _library_versions(),
            "details": dict(details),
        }
        write_json(self.folder / "manifest.json", manifest)

    def finish(self, details: Mapping[str, Any]) -> tuple[Path, ...]:
        """Give the folder its name; features of the same key that are there go only now."""
        self.flush()
        self._write_manifest(details)
        old = self._target.with_name(f"{self._target.name}.old")
        try:
            shutil.rmtree(old, ignore_errors=True)
            if self._target.exists():
                self._target.rename(old)
            self.folder.rename(self._target)
        except OSError as error:
            raise disk_error(self._target, error) from error
        shutil.rmtree(old, ignore_errors=True)
        return tuple(self._target / _part_name(number) for number in range(len(self._records)))


def verified_parts(
    folder: Path, spec: FeatureSpec, chunk: int | None = None
) -> tuple[tuple[Path, ...], list[dict[str, Any]]]:
    """Return the parts of a folder and their records, if they match its manifest.

    If a chunk size is given, the last parts may be missing: the others are continued in steps of that size.
    """
    manifest = read_json(folder / "manifest.json")
    if manifest is None:
        raise Unusable("its manifest.json is missing, damaged or altered")
    if manifest.get("format") != FORMAT:
        raise Unusable(f"it has format {manifest.get('format')!r} and this version reads {FORMAT}")
    if manifest.get("key") != spec.key:
        raise Unusable("its manifest belongs to other features")
    if chunk is not None and manifest.get("made_with") != _library_versions():
        raise Unusable("it was begun with other library versions")
    if chunk not in (None, manifest.get("chunk")):
        raise Unusable(f"it was begun in steps of {manifest.get('chunk')} rows, and now they are {chunk}")
    records: Any = manifest.get("parts")
    parts = []
    try:
        for number, record in enumerate(records):
            parts.append(folder / _part_name(number))
            _check_part(parts[-1], (operator.index(record["rows"]), spec.width), record["sha256"])
        total = sum(record["rows"] for record in records)
    except (TypeError, KeyError) as error:
        raise Unusable("its manifest.json does not list its parts") from error
    if total != spec.rows and (chunk is None or total > spec.rows or total % chunk):
        raise Unusable(f"its parts have {total} rows instead of {spec.rows}")
    return tuple(parts), records


def stored_in(folder: Path) -> Stored:
    """Open the features in a folder of a store, whatever they were made from."""
    manifest = read_json(folder / "manifest.json") or {}
    try:
        spec = FeatureSpec(**manifest["spec"])
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{folder} is not a folder of features: its manifest.json is missing, damaged or altered; name a "
            "folder that 'cnnboost extract' wrote, or .npy files"
        ) from error
    try:
        return Stored(spec, verified_parts(folder, spec)[0], cached=True)
    except Unusable as reason:
        raise StoreError(f"{folder} cannot be used: {reason}; extract its features again") from reason


def _check_part(path: Path, shape: tuple[int, int], sha256: str) -> None:
    header = _npy_header(shape)
    try:
        with open_regular(path) as file:
            same_header = file.read(len(header)) == header
        if not same_header or path.stat().st_size != len(header) + shape[0] * shape[1] * 4:
            raise Unusable(f"{path.name} is not a whole file of float32 {shape}")
        if file_digest(path) != sha256:
            raise Unusable(f"{path.name} was altered: its sha256 is not the one in manifest.json")
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error}") from error


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, layout)
    return buffer.getvalue()


def _part_name(number: int) -> str:
    return f"part-{number:05}.npy"


@cache
def _library_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("cnnboost", "keras", "tensorflow", "numpy"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
