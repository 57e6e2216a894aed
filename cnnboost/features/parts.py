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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

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


class PartFolder:
    """Features that are being made: the folder, its manifest, and how it gets its name."""

    def __init__(
        self, target: Path, spec: FeatureSpec, chunk: int, part_rows: int, made_with: Mapping[str, str]
    ) -> None:
        self.spec, self._chunk, self._target, self._made_with = spec, chunk, target, dict(made_with)
        self._part_rows = max(1, min(part_rows, PART_BYTES // (spec.width * 4)))
        self.folder = target.with_name(f"{target.name}.part")
        self._records: list[dict[str, Any]] = []

    @property
    def done(self) -> int:
        """Rows in finished parts."""
        return sum(record["rows"] for record in self._records if record)

    def _write_manifest(self, details: Mapping[str, Any]) -> None:
        manifest = {
            "format": FORMAT,
            "key": self.spec.key,
            "spec": asdict(self.spec),
            "dtype": "float32",
            "chunk": self._chunk,
            "parts": self._records,
            "made_with": self._made_with,
            "details": dict(details),
        }
        write_json(self.folder / "manifest.json", manifest)

    def finish(self, details: Mapping[str, Any]) -> tuple[Path, ...]:
        """Give the folder its name; features of the same key that are there go only now."""
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
        return tuple(self._target / part_name(number) for number in range(len(self._records)))


class PartWriter(PartFolder):
    """Parts that are made one after the other: those that are finished, and the rows of the next one."""

    def __init__(self, target: Path, spec: FeatureSpec, chunk: int, part_rows: int, force: bool) -> None:
        super().__init__(target, spec, chunk, part_rows, library_versions(*KERAS))
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
        record = write_part(self.folder / part_name(len(self._records)), np.concatenate(self._blocks))
        # One statement: a Ctrl-C must not find the one without the other.
        self._records, self._blocks = [*self._records, record], []
        self._write_manifest({})

    def finish(self, details: Mapping[str, Any]) -> tuple[Path, ...]:
        """Write what is left, and give the folder its name."""
        self.flush()
        return super().finish(details)


def write_part(path: Path, rows: np.ndarray) -> dict[str, Any]:
    """Write one part whole or not at all; return its record."""
    try:
        with replacing(path, needed=rows.nbytes) as temporary, temporary.open("wb") as file:
            # np.save does not tell a full disk from other errors.
            file.write(_npy_header(rows.shape))
            file.write(rows.data)
    except StoreError as error:
        raise StoreError(f"{error} Finished rows are kept: the same command goes on from there.") from error
    return {"rows": len(rows), "sha256": file_digest(path)}


class PartCheck(NamedTuple):
    """A part, and what its manifest says of it."""

    path: Path
    shape: tuple[int, int]
    sha256: str

    def fault(self) -> str | None:
        """Say what is wrong with the file; None where it is the one that was written."""
        header = _npy_header(self.shape)
        try:
            with open_regular(self.path) as file:
                same_header = file.read(len(header)) == header
            size = len(header) + self.shape[0] * self.shape[1] * 4
            if not same_header or self.path.stat().st_size != size:
                return f"{self.path.name} is not a whole file of float32 {self.shape}"
            if file_digest(self.path) != self.sha256:
                return f"{self.path.name} was altered: its sha256 is not the one in manifest.json"
        except OSError as error:
            return f"{self.path.name} cannot be read: {error}"
        return None


Verify = Callable[[Sequence[PartCheck]], Iterable[str | None]]


def check_here(checks: Sequence[PartCheck]) -> Iterator[str | None]:
    """Give what is wrong with each part, one after the other."""
    return (check.fault() for check in checks)


def verified_parts(
    folder: Path, spec: FeatureSpec, chunk: int | None = None, verify: Verify = check_here
) -> tuple[tuple[Path, ...], list[dict[str, Any]]]:
    """Return the parts of a folder and their records, if they match its manifest.

    If a chunk size is given, the last parts may be missing: the others are continued in steps of that size.
    """
    records = listed_parts(folder, spec, chunk, library_versions(*KERAS))
    try:
        checks = [
            PartCheck(
                folder / part_name(number), (operator.index(record["rows"]), spec.width), record["sha256"]
            )
            for number, record in enumerate(records)
        ]
        total = sum(check.shape[0] for check in checks)
    except (TypeError, KeyError) as error:
        raise Unusable("its manifest.json does not list its parts") from error
    for fault in verify(checks):
        if fault is not None:
            raise Unusable(fault)
    if total != spec.rows and (chunk is None or total > spec.rows or total % chunk):
        raise Unusable(f"its parts have {total} rows instead of {spec.rows}")
    return tuple(check.path for check in checks), records


def listed_parts(folder: Path, spec: FeatureSpec, chunk: int | None, made_with: Mapping[str, str]) -> Any:
    """Return the records of a folder's manifest, if it is of these features.

    If a chunk size is given, they must have been begun in steps of that size with the same libraries.
    """
    manifest = read_json(folder / "manifest.json")
    if manifest is None:
        raise Unusable("its manifest.json is missing, damaged or altered")
    if manifest.get("format") != FORMAT:
        raise Unusable(f"it has format {manifest.get('format')!r} and this version reads {FORMAT}")
    if manifest.get("key") != spec.key:
        raise Unusable("its manifest belongs to other features")
    if chunk is not None and manifest.get("made_with") != made_with:
        raise Unusable("it was begun with other library versions")
    if chunk not in (None, manifest.get("chunk")):
        raise Unusable(f"it was begun in steps of {manifest.get('chunk')} rows, and now they are {chunk}")
    return manifest.get("parts")


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


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, layout)
    return buffer.getvalue()


def part_name(number: int) -> str:
    """Return the name of a part's file."""
    return f"part-{number:05}.npy"


KERAS = ("cnnboost", "keras", "tensorflow", "numpy")
"""Packages that decide about the last bits of features that Keras computes."""


@cache
def library_versions(*names: str) -> dict[str, str]:
    """Return the versions of packages that are installed, and of Python."""
    versions = {"python": platform.python_version()}
    for name in names:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
