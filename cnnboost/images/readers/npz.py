"""Arrays in an .npz file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnboost.errors import DataError
from cnnboost.escape import is_unicode
from cnnboost.files import open_regular
from cnnboost.images.archive import list_members
from cnnboost.images.readers.arrays import array_listing
from cnnboost.images.readers.listing import Listing, stamp
from cnnboost.images.tree import FileStamp

_PAIRS = (
    (
        "train",
        ("x", "images", "imgs", "image", "data"),
        ("y", "labels", "label", "targets", "target"),
    ),
    (
        "train",
        ("x_train", "train_x", "train_images", "train_data"),
        ("y_train", "train_y", "train_labels", "train_targets"),
    ),
    (
        "validation",
        ("x_val", "x_valid", "x_validation", "val_x", "valid_x", "val_images", "valid_images", "val_data"),
        ("y_val", "y_valid", "y_validation", "val_y", "valid_y", "val_labels", "valid_labels", "val_targets"),
    ),
    (
        "test",
        ("x_test", "test_x", "test_images", "test_data"),
        ("y_test", "test_y", "test_labels", "test_targets"),
    ),
)
_CLASSES = ("classes", "class_names")


class NpzReader:
    """``X, y`` or ``x_train, y_train, x_val, y_val, x_test, y_test``, and `classes` if they have names."""

    name = "npz"
    accepts = "an .npz file with X and y, or x_train, y_train, x_test, y_test (uint8 pixels)"

    def matches(self, source: str | Path) -> bool:
        """Tell whether the source is an .npz file."""
        path = Path(source)
        return path.is_file() and path.suffix.lower() == ".npz"

    def files(self, source: str | Path) -> Iterable[FileStamp]:
        """Return the file itself."""
        return [stamp(Path(source), "")]

    def read(self, source: str | Path) -> Listing:
        """Read the arrays; no pickled objects."""
        path = Path(source)
        wanted = {name for _, xs, ys in _PAIRS for name in (*xs, *ys)} | set(_CLASSES)
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in list_members(path)}
        arrays: dict[str, np.ndarray] = {}
        try:
            with open_regular(path) as file, np.load(file, allow_pickle=False) as stored:
                for info in stored.zip.infolist():
                    stored.zip.open(
                        info
                    ).close()  # its name is compared with the one in the archive's directory
                for name in stored.files:
                    key = name.lower()
                    if key in arrays:
                        raise DataError(f"{path}: has {name!r} in capitals and in small letters; keep one")
                    # Other arrays, which may be large or of objects, are named and not read.
                    arrays[key] = _array(path, stored, name, sizes[name]) if key in wanted else np.empty(0)
        except DataError:
            raise
        except MemoryError as error:
            raise DataError(
                f"{path}: is larger than the memory; write its images into class folders"
            ) from error
        except Exception as error:
            raise DataError(
                f"{path}: cannot be read ({error}); save plain arrays again, none of dtype object"
            ) from error
        return _list_arrays(path, arrays)


def _array(path: Path, stored: Any, name: str, size: int) -> np.ndarray:
    """Read one array, unless its header promises more than the file holds."""
    with stored.zip.open(f"{name}.npy") as member:
        if member.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: {name!r} is not a NumPy array; save the file with np.savez")
        member.seek(0)
        version = np.lib.format.read_magic(member)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(member)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > size:
        raise DataError(
            f"{path}: {name!r} is damaged: its header promises the shape {shape}, more than is there"
        )
    array: np.ndarray = stored[name]
    if array.dtype.kind == "U" and not is_unicode(array):
        raise DataError(f"{path}: {name!r} is damaged: its text has characters beyond Unicode")
    return array


def _find(path: Path, arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    there = [name for name in names if name in arrays]
    if len(there) > 1:
        raise DataError(f"{path}: has {' and '.join(map(repr, there))}; keep the one that is meant")
    return there[0] if there else None


def _list_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Listing:
    parts: list[tuple[str, np.ndarray, np.ndarray]] = []
    for split, pixel_names, label_names in _PAIRS:
        x, y = _find(path, arrays, pixel_names), _find(path, arrays, label_names)
        if x is None and y is None:
            continue
        if x is None or y is None:
            there = x or y
            raise DataError(f"{path}: has {there!r} without its other half; images and labels come in pairs")
        parts.append((split, _pixels(path, x, arrays[x]), _labels(path, x, arrays[x], y, arrays[y])))
    if not parts:
        raise DataError(
            f"{path}: has the arrays {', '.join(sorted(arrays)) or '(none)'}; wanted are X and y, or "
            "x_train, y_train, x_test, y_test (np.savez('set.npz', X=images, y=labels))"
        )
    if len({pixels.shape[1:] for _, pixels, _ in parts}) > 1:
        told = ", ".join(f"{split} {pixels.shape}" for split, pixels, _ in parts)
        raise DataError(f"{path}: the images of the splits differ in shape: {told}")
    labels = np.concatenate([y for _, _, y in parts])
    if not len(labels):
        raise DataError(f"{path}: holds no images: {', '.join(sorted(arrays))} have no rows")
    named = _find(path, arrays, _CLASSES)
    classes, codes = _classes(path, labels, None if named is None else arrays[named])
    return array_listing(
        np.concatenate([pixels for _, pixels, _ in parts]) if len(parts) > 1 else parts[0][1],
        codes,
        classes,
        splits=[split for split, pixels, _ in parts for _ in range(len(pixels))],
        ids=[
            f"row {row + 1}" if len(parts) == 1 else f"{split} row {row + 1}"
            for split, pixels, _ in parts
            for row in range(len(pixels))
        ],
    )


def _pixels(path: Path, name: str, pixels: np.ndarray) -> npt.NDArray[np.uint8]:
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        raise DataError(
            f"{path}: {name!r} has shape {pixels.shape}; wanted is (n, height, width), or "
            "(n, height, width, channels) with 1 or 3 channels"
        )
    if pixels.dtype != np.uint8:
        whole = np.issubdtype(pixels.dtype, np.integer)
        if not whole or (pixels.size and (pixels.min() < 0 or pixels.max() > 255)):
            raise DataError(
                f"{path}: {name!r} holds {pixels.dtype} pixels; save them as uint8, 0 to 255 "
                "(for values in 0..1: np.rint(x * 255).astype(np.uint8))"
            )
    return pixels.astype(np.uint8, copy=False)


def _labels(path: Path, x_name: str, pixels: np.ndarray, name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iufUSb":
        raise DataError(
            f"{path}: {name!r} has shape {labels.shape} and dtype {labels.dtype}; wanted is one whole "
            "number or name for each image"
        )
    if len(labels) != len(pixels):
        raise DataError(f"{path}: {len(pixels)} images in {x_name!r}, but {len(labels)} labels in {name!r}")
    if labels.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(labels) | (labels != np.rint(labels)) | (np.abs(labels) > 1e9))
        if len(broken):
            row = int(broken[0])
            raise DataError(
                f"{path}: row {row + 1} of {name!r} is {labels[row]}; labels are whole numbers or names"
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "i" and (labels < 0).any():
        row = int(np.flatnonzero(labels < 0)[0])
        raise DataError(f"{path}: row {row + 1} of {name!r} is {labels[row]}; number the classes from 0 on")
    return _texts(labels) if labels.dtype.kind in "US" else labels


def _texts(names: np.ndarray) -> np.ndarray:
    """Names as text that can be shown and stored; bytes are UTF-8, or escaped."""
    if names.dtype.kind == "S":
        return np.array([name.decode("utf-8", "backslashreplace") for name in names.tolist()], dtype=np.str_)
    return np.array(
        [name.encode("utf-8", "backslashreplace").decode() for name in names.tolist()], dtype=np.str_
    )


def _classes(
    path: Path, labels: np.ndarray, names: np.ndarray | None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Class names and codes: alphabetical, or in the order of whole numbers."""
    if names is None:
        found, codes = np.unique(labels, return_inverse=True)
        return tuple(str(value) for value in found.tolist()), codes.astype(np.int64)
    if names.ndim != 1 or names.dtype.kind not in "iuUSb":
        raise DataError(
            f"{path}: 'classes' has shape {names.shape} and dtype {names.dtype}; wanted is a list of names"
        )
    known = tuple(map(str, (_texts(names) if names.dtype.kind in "US" else names).tolist()))
    if len(set(known)) < len(known):
        raise DataError(
            f"{path}: 'classes' names {max(known, key=known.count)!r} twice; name each class once"
        )
    if labels.dtype.kind == "U":
        missing = sorted(set(labels.tolist()) - set(known))
        if missing:
            raise DataError(f"{path}: the label {missing[0]!r} is not one of the classes {', '.join(known)}")
        code = {name: position for position, name in enumerate(known)}
        return known, np.array([code[label] for label in labels.tolist()], dtype=np.int64)
    wrong = np.flatnonzero(labels >= len(known))
    if len(wrong):
        raise DataError(
            f"{path}: row {int(wrong[0]) + 1} has label {labels[wrong[0]]}, but 'classes' names "
            f"{len(known)} classes (0 to {len(known) - 1})"
        )
    return known, labels.astype(np.int64)
