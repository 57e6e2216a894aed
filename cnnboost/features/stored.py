"""A feature file that is there: what it was made from, whether it is intact, and a plain copy of it."""

from __future__ import annotations

import hashlib
import operator
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnboost.errors import FeatureError
from cnnboost.features.partfile import DTYPE, FORMAT, canonical_json, hash_file, npy_header
from cnnboost.files import read_json, replacing


class StoreWarning(UserWarning):
    """A file in the store cannot be used as it is; the message names it and says what is wrong."""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that changes the values of one feature file, and nothing about places."""

    layer: str
    trunk: str
    width: int
    pixels: str
    images: str
    rows: int
    view: str = "identity"

    def __post_init__(self) -> None:
        for name in ("layer", "trunk", "pixels", "images", "view"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise FeatureError(f"FeatureSpec needs a text for {name}; got {getattr(self, name)!r}.")
        for name in ("width", "rows"):
            value = operator.index(getattr(self, name))
            if value < 1:
                raise FeatureError(f"FeatureSpec needs {name} of at least 1 for {self.layer!r}; got {value}.")
            object.__setattr__(self, name, value)  # NumPy integers would not go into JSON

    @property
    def key(self) -> str:
        """sha256 over the canonical JSON of all that changes the values, dtype and format included."""
        metadata = asdict(self) | {"dtype": "float32", "format": FORMAT}
        del metadata["layer"]
        return hashlib.sha256(canonical_json(metadata).encode()).hexdigest()


@dataclass(frozen=True)
class Stored:
    """Features in the store."""

    spec: FeatureSpec
    path: Path
    X: np.memmap
    cached: bool
    resumed_from: int = 0


def export_plain(stored: Stored, path: str | os.PathLike[str]) -> Path:
    """Copy features out of the store to a plain `.npy` of any name, whole or not at all."""
    target = Path(path)
    if target.exists() and target.samefile(stored.path):
        return target
    with replacing(target, needed=stored.X.nbytes) as temporary:
        shutil.copyfile(stored.path, temporary)
    return target


def open_features(path: Path) -> np.memmap:
    """Map a feature file, read-only."""
    return np.lib.format.open_memmap(path, mode="r")


def sidecar(spec: FeatureSpec, details: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the `.json` beside a feature file says of its making."""
    return {
        "format": FORMAT,
        "key": spec.key,
        "spec": asdict(spec),
        "dtype": "float32",
        "details": dict(details or {}),
    }


def fault(path: Path, spec: FeatureSpec) -> str:
    """Say what is wrong with a feature file; "" if nothing is."""
    metadata = read_json(path.with_suffix(".json"))
    if metadata is None:
        name = path.with_suffix(".json").name
        return f"{name}, which says what it was made from, is missing, damaged or altered"
    if metadata.get("format") != FORMAT:
        return f"it has format {metadata.get('format')!r} and this version reads {FORMAT}"
    if metadata.get("key") != spec.key:
        return "the .json beside it belongs to other features"
    try:
        header = npy_header((spec.rows, spec.width))
        size = path.stat().st_size
        wanted = len(header) + spec.rows * spec.width * DTYPE.itemsize
        if size != wanted:
            return f"it has {size:,} bytes instead of {wanted:,}"
        with path.open("rb") as handle:
            if handle.read(len(header)) != header:
                return f"its header is not that of a float32 array of {spec.rows} x {spec.width}"
        if hash_file(path).hexdigest() != metadata.get("sha256"):
            return "its sha256 is not the one in its .json: it was altered"
    except OSError as error:
        return f"it cannot be read: {error}"
    return ""
