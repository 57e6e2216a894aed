"""What arrays an exported graph takes: uint8 pixels, or what can be made so without loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnnboost.errors import DataError, ModelError
from cnnboost.images.decode import InputSpec
from cnnboost.images.pixels import TWO_LEVELS


def fits(X: Any, spec: InputSpec, place: str) -> np.ndarray:
    """Give images the shape that a graph takes; none of their pixels is looked at."""
    if hasattr(X, "toarray"):
        raise DataError(f"images must be a dense array, got {type(X).__name__}; convert them with .toarray()")
    try:
        images = np.asarray(X)
    except (TypeError, ValueError) as error:
        raise DataError(f"images must be an array of pixels, all of one shape: {error}") from error
    shape = images.shape
    if images.dtype.kind not in "buif":
        raise DataError(f"images must be numbers, got dtype {images.dtype}; the graph takes uint8 in 0..255")
    if shape[1:] == spec[:2] and spec.channels == 1:
        return _some(images[..., None])
    if shape == tuple(spec) or shape == spec[:2]:
        raise DataError(f"this is a single image of shape {shape}; put it into a batch: X[None]")
    if images.ndim not in (3, 4):
        raise DataError(
            "images must be (n, height, width, channels), or (n, height, width) where they are grey; got an "
            f"array of shape {shape}"
        )
    _some(images)
    if shape[1:] != tuple(spec):
        got = (*shape[1:], 1) if images.ndim == 3 else shape[1:]
        raise ModelError(
            f"the images are {'x'.join(map(str, got))} (height x width x channels), {place} takes "
            f"{'x'.join(map(str, spec))}; bring them to that size and those channels"
        )
    return images


def as_pixels(X: np.ndarray, first: int = 0) -> np.ndarray:
    """Turn numbers into uint8 where nothing is lost."""
    if X.dtype == np.uint8:
        return X
    if X.dtype.kind == "b":
        return X.astype(np.uint8) * np.uint8(255)
    low, high = X.min(), X.max()
    if not 0 <= low <= high <= 255:  # also where one is NaN
        _refuse_range(X, first)
    if X.dtype.kind == "f" and high == 1 and np.isin(X, (0, 1)).all():
        raise DataError(TWO_LEVELS)
    pixels = X.astype(np.uint8)
    if X.dtype.kind == "f" and not np.array_equal(pixels, X):
        if high <= 1:
            raise DataError(
                "the pixels are fractions in [0, 1]: they look scaled already, and the graph would scale "
                "them again. Give pixels in 0..255: np.rint(X * 255).astype('uint8')"
            )
        row = first + int(np.argmax((pixels != X).reshape(len(X), -1).any(axis=1)))
        raise DataError(
            f"image {row} has pixels that are no whole numbers, and the graph takes uint8: round them with "
            "np.rint(X).astype('uint8')"
        )
    return pixels


def _some(images: np.ndarray) -> np.ndarray:
    if 0 in images.shape:
        raise DataError(f"there are no pixels in an array of shape {images.shape}; give at least one image")
    return images


def _refuse_range(X: np.ndarray, first: int) -> None:
    finite = np.isfinite(X).reshape(len(X), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"image {first + int(np.argmin(finite))} has NaN or infinite pixels; leave it out")
    raise DataError(
        f"pixels must be in 0..255, those of images {first} to {first + len(X) - 1} are in "
        f"{X.min():g}..{X.max():g}; undo their scaling first"
    )
