"""Labels of any kind to output columns and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight

from cnnboost.errors import DataError


def check_classes(classes: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return classes as a one-dimensional array without repetitions."""
    names = np.asarray(classes)
    if names.ndim != 1 or len(names) < 2:
        raise DataError(f"classes={classes!r}: at least two classes in one row are needed")
    if len(np.unique(names)) != len(names):
        raise DataError(f"classes={list(classes)!r} names a class twice")
    return names


def encode(y: Any, n: int, classes: Sequence[Any] | np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Turn labels into columns."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"y has shape {y.shape}; one label per image is needed")
    if len(y) != n:
        raise DataError(f"there are {n} images and {len(y)} labels")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"label {int(np.argmin(np.isfinite(y)))} is NaN or infinite")
    if classes is None:
        names = np.unique(y)
        if len(names) < 2:
            raise DataError(f"all {n} labels are {names[0]!r}; at least two classes are needed")
    else:
        names = check_classes(classes)
    order = np.argsort(names, kind="stable")
    place = np.searchsorted(names, y, sorter=order).clip(max=len(names) - 1)
    codes = order[place]
    wrong = names[codes] != y
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise DataError(
            f"label {y[row : row + 1].tolist()[0]!r} of image {row} is none of the classes {names.tolist()}"
        )
    return names, codes.astype(np.int64)


def stratified_part(codes: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a seeded share of every class."""
    counts = np.bincount(codes)
    rows = np.arange(len(codes))
    single = counts[codes] < 2
    try:
        kept, held_out = train_test_split(
            rows[~single], test_size=fraction, random_state=seed, stratify=codes[~single]
        )
    except ValueError as error:
        raise DataError(f"validation_fraction={fraction} of {len(codes)} images: {error}") from error
    return np.sort(np.concatenate([kept, rows[single]])), np.sort(held_out)


def image_weights(
    classes: np.ndarray, codes: np.ndarray, class_weight: Any, sample_weight: Any
) -> np.ndarray | None:
    """Return the weight of each image in the loss."""
    weight = None
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float32)
        if weight.shape != codes.shape:
            raise DataError(f"sample_weight has shape {weight.shape}, there are {len(codes)} images")
    if class_weight is None:
        return weight
    present = np.unique(codes)
    if isinstance(class_weight, Mapping):
        unknown = [name for name in class_weight if name not in set(classes.tolist())]
        if unknown:
            raise DataError(f"class_weight names {unknown[0]!r}; the classes are {classes.tolist()}")
        class_weight = {int(i): float(class_weight.get(classes[i], 1.0)) for i in present}
    by_class = np.ones(len(classes), np.float32)
    by_class[present] = compute_class_weight(class_weight, classes=present, y=codes)
    return by_class[codes] if weight is None else weight * by_class[codes]
