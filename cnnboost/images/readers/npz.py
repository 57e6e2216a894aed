"""Arrays in an .npz file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnboost.errors import DataError
from cnnboost.images.archive import list_members
from cnnboost.images.readers.arrays import array_listing
from cnnboost.images.readers.listing import Listing, stamp
from cnnboost.images.tree import FileStamp

_PAIRS = (
    ("train", ("x", "images"), ("y", "labels")),
    ("train", ("x_train", "train_images"), ("y_train", "train_labels")),
    (
        "validation",
        ("x_val", "x_valid", "x_validation", "val_images"),
        ("y_val", "y_valid", "y_validation", "val_labels"),
    ),
    ("test", ("x_test", "test_images"), ("y_test", "test_labels")),
)


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
        list_members(path)
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {key.lower(): stored[key] for key in stored.files}
        except Exception as error:
            raise DataError(
                f"{path}: cannot be read ({error}); save plain arrays again, none of dtype object"
            ) from error
        return _list_arrays(path, arrays)


def _find(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _list_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Listing:
    parts: list[tuple[str, np.ndarray, np.ndarray]] = []
    for split, pixel_names, label_names in _PAIRS:
        x, y = _find(arrays, pixel_names), _find(arrays, label_names)
        if x is None and y is None:
            continue
        if x is None or y is None:
            there = x or y
            raise DataError(f"{path}: has {there!r} without its other half; images and labels come in pairs")
        parts.append((split, _pixels(path, x, arrays[x]), _labels(path, x, arrays[x], y, arrays[y])))
    if not parts:
        raise DataError(
            f"{path}: has the arrays {', '.join(sorted(arrays)) or '(none)'}; wanted are X and y, or "
            "x_train, y_train, x_test, y_test"
        )
    if len({pixels.shape[1:] for _, pixels, _ in parts}) > 1:
        told = ", ".join(f"{split} {pixels.shape}" for split, pixels, _ in parts)
        raise DataError(f"{path}: the images of the splits differ in shape: {told}")
    labels = np.concatenate([y for _, _, y in parts])
    classes, codes = _classes(path, labels, arrays.get("classes"))
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
    if labels.ndim != 1 or labels.dtype.kind not in "iuUSb":
        raise DataError(
            f"{path}: {name!r} has shape {labels.shape} and dtype {labels.dtype}; wanted is one whole "
            "number or name for each image"
        )
    if len(labels) != len(pixels):
        raise DataError(f"{path}: {len(pixels)} images in {x_name!r}, but {len(labels)} labels in {name!r}")
    return labels.astype(np.str_) if labels.dtype.kind == "S" else labels


def _classes(
    path: Path, labels: np.ndarray, names: np.ndarray | None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Class names and codes: alphabetical, or in the order of whole numbers."""
    if names is None or labels.dtype.kind == "U":
        found, codes = np.unique(labels, return_inverse=True)
        if names is not None and sorted(map(str, names.tolist())) != found.tolist():
            raise DataError(f"{path}: 'classes' are {names.tolist()}, the labels {found.tolist()}")
        return tuple(str(value) for value in found.tolist()), codes.astype(np.int64)
    known = tuple(str(value) for value in names.reshape(-1).tolist())
    wrong = np.flatnonzero((labels < 0) | (labels >= len(known)))
    if len(wrong):
        raise DataError(
            f"{path}: row {int(wrong[0]) + 1} has label {labels[wrong[0]]}, but 'classes' names "
            f"{len(known)} classes (0 to {len(known) - 1})"
        )
    return known, labels.astype(np.int64)
