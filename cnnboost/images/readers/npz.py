"""Arrays in an .npz file: ``X, y`` or ``x_train, y_train, x_val, y_val, ...``, and ``classes`` for names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnboost.errors import DataError
from cnnboost.escape import is_unicode
from cnnboost.files import open_regular
from cnnboost.images.archive import list_members
from cnnboost.images.imageset import SPLITS
from cnnboost.images.readers.listing import Listing, array_listing, codes_of, file_reader, split_of

_CLASSES = ("", "classes")
#: What an array is by its name in small letters: its split, and "x" or "y".
_ROLES = {
    **dict.fromkeys(("x", "images", "imgs", "image", "data"), ("train", "x")),
    **dict.fromkeys(("y", "labels", "label", "targets", "target"), ("train", "y")),
    **dict.fromkeys(("classes", "class_names"), _CLASSES),
}
for _word in ("train", "val", "valid", "validation", "test"):
    for _letter, _plurals in (("x", ("images", "data")), ("y", ("labels", "targets"))):
        _names = (f"{_letter}_{_word}", *(f"{_word}_{name}" for name in (_letter, *_plurals)))
        _ROLES.update(dict.fromkeys(_names, (split_of(_word) or "", _letter)))


def _read(source: str) -> Listing:
    """Read the arrays; no pickled objects."""
    list_members(Path(source))
    try:
        with open_regular(source) as file, np.load(file, allow_pickle=False) as stored:
            for info in stored.zip.infolist():  # compares its name with the one in the archive's directory
                stored.zip.open(info).close()
            others = ", ".join(stored.files) or "(none)"
            wanted = [(name, stored[name]) for name in stored.files if name.lower() in _ROLES]
    except MemoryError as error:
        raise DataError(
            f"{source}: is damaged, or larger than the memory; write its images into class folders"
        ) from error
    except Exception as error:
        raise DataError(
            f"{source}: cannot be read ({error}); save plain arrays again, none of dtype object"
        ) from error
    names: dict[tuple[str, str], str] = {}
    arrays: dict[tuple[str, str], np.ndarray] = {}
    for name, array in wanted:
        role = _ROLES[name.lower()]
        if role in names:
            raise DataError(f"{source}: has {names[role]!r} and {name!r}; keep the one that is meant")
        if not isinstance(array, np.ndarray):
            raise DataError(f"{source}: {name!r} is not a NumPy array; save the file with np.savez")
        names[role], arrays[role] = name, array
    pixels: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    splits: list[str] = []
    ids: list[str] = []
    several = len({split for split, _ in names if split}) > 1
    for split in SPLITS:
        x, y = names.get((split, "x")), names.get((split, "y"))
        if x is None and y is None:
            continue
        if x is None or y is None:
            raise DataError(
                f"{source}: has {x or y!r} without its other half; images and labels come in pairs"
            )
        pixels.append(_pixels(source, x, arrays[split, "x"]))
        n = len(pixels[-1])
        labels.append(_labels(source, y, arrays[split, "y"], n))
        splits += [split] * n
        ids += [f"{split} row {row + 1}" if several else f"row {row + 1}" for row in range(n)]
    if not pixels:
        raise DataError(
            f"{source}: has the arrays {others}; wanted are X and y, or x_train, y_train, x_test, y_test "
            "(np.savez('set.npz', X=images, y=labels))"
        )
    if len({part.shape[1:] for part in pixels}) > 1:
        shapes = ", ".join(str(part.shape) for part in pixels)
        raise DataError(f"{source}: the images of the splits differ in shape: {shapes}")
    if not ids:
        raise DataError(f"{source}: holds no images: its arrays have no rows")
    classes, codes = _classes(source, np.concatenate(labels), arrays.get(_CLASSES))
    return array_listing(
        source, np.concatenate(pixels) if several else pixels[0], codes, classes, splits, ids
    )


def _pixels(source: str, name: str, pixels: np.ndarray) -> npt.NDArray[np.uint8]:
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        raise DataError(
            f"{source}: {name!r} has shape {pixels.shape}; wanted is (n, height, width), or "
            "(n, height, width, channels) with 1 or 3 channels"
        )
    whole = np.issubdtype(pixels.dtype, np.integer)
    if not whole or (pixels.size and (pixels.min() < 0 or pixels.max() > 255)):
        raise DataError(
            f"{source}: {name!r} holds {pixels.dtype} pixels; save them as uint8, 0 to 255 "
            "(for values in 0..1: np.rint(x * 255).astype(np.uint8))"
        )
    return pixels.astype(np.uint8, copy=False)


def _labels(source: str, name: str, labels: np.ndarray, n: int) -> np.ndarray:
    """Return labels as names or as numbers from 0 on."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    _check_column(source, name, labels, "iufUSb")
    if len(labels) != n:
        raise DataError(f"{source}: {n} images, but {len(labels)} labels in {name!r}")
    if labels.dtype.kind in "US":
        return np.array(_texts(source, name, labels), dtype=np.str_)
    if labels.dtype.kind == "b":
        return labels
    with np.errstate(invalid="ignore"):
        numbers = labels.astype(np.int64)
    wrong = np.flatnonzero((numbers != labels) | (numbers < 0))
    if len(wrong):
        raise DataError(
            f"{source}: row {int(wrong[0]) + 1} of {name!r} is {labels[wrong[0]]}; labels are names, or "
            "whole numbers from 0 on"
        )
    return numbers


def _check_column(source: str, name: str, values: np.ndarray, kinds: str) -> None:
    if values.ndim != 1 or values.dtype.kind not in kinds:
        raise DataError(
            f"{source}: {name!r} has shape {values.shape} and dtype {values.dtype}; it should be a list of "
            "names or whole numbers"
        )


def _texts(source: str, name: str, names: np.ndarray) -> list[str]:
    """Return names as text that can be shown and stored; bytes are UTF-8, or escaped."""
    if names.dtype.kind == "U" and not is_unicode(names):
        raise DataError(f"{source}: {name!r} is damaged: its text has characters beyond Unicode")
    encoded = [
        one if isinstance(one, bytes) else str(one).encode("utf-8", "backslashreplace")
        for one in names.tolist()
    ]
    return [one.decode("utf-8", "backslashreplace") for one in encoded]


def _classes(
    source: str, labels: np.ndarray, names: np.ndarray | None
) -> tuple[tuple[str, ...], npt.NDArray[np.integer]]:
    """Return class names and codes: alphabetical, or in the order of whole numbers."""
    if names is None:
        values, codes = np.unique(labels, return_inverse=True)
        return tuple(str(value) for value in values.tolist()), codes
    _check_column(source, "classes", names, "iuUSb")
    known = tuple(_texts(source, "classes", names))
    if labels.dtype.kind != "U":
        return known, labels.astype(np.int64)
    if missing := sorted(set(labels.tolist()) - set(known)):
        raise DataError(f"{source}: the label {missing[0]!r} is not one of the classes {', '.join(known)}")
    return known, codes_of(labels.tolist(), known)


NPZ = file_reader(
    "npz", "an .npz file with X and y, or x_train, y_train, x_test, y_test (uint8 pixels)", ".npz", _read
)
