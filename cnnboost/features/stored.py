"""Features in the store: what they were made from, and their parts."""

from __future__ import annotations

import hashlib
import io
import json
import operator
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnnboost.errors import FeatureError
from cnnboost.files import replacing

FORMAT = 2


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
        """sha256 over all that changes the values; the layer's name does not."""
        inputs = asdict(self) | {"dtype": "float32", "format": FORMAT}
        del inputs["layer"]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.rows * self.width * 4


@dataclass(frozen=True)
class Stored:
    """Features in the store; `path` is the only part, or the folder of several."""

    spec: FeatureSpec
    parts: tuple[Path, ...]
    cached: bool
    resumed_from: int = 0

    @property
    def path(self) -> Path:
        """The file, or the folder of several."""
        return self.parts[0] if len(self.parts) == 1 else self.parts[0].parent

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
        with replacing(target, needed=self.spec.nbytes) as temporary, temporary.open("wb") as file:
            file.write(npy_header((self.spec.rows, self.spec.width)))
            for array in self.arrays():
                file.write(np.ascontiguousarray(array).data)
        return target


def npy_header(shape: tuple[int, int]) -> bytes:
    """Return the first bytes of the `.npy` of a float32 array of this shape."""
    buffer = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, layout)
    return buffer.getvalue()
