"""What an exported graph is given: arrays and pictures as uint8 pixels, or an error that says why not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from cnnboost.errors import DataError, ModelError
from cnnboost.images.decode import InputSpec, fit_array, fit_image
from cnnboost.images.pictures import PICTURES, as_picture
from cnnboost.images.pixels import TWO_LEVELS
from cnnboost.images.pool import n_threads


def decode_pictures(X: Any, spec: InputSpec, threads: int | None = None) -> np.ndarray | None:
    """Decode a picture, or a list of pictures and arrays, as `cnnboost predict` does; None for others."""
    if isinstance(X, PICTURES):
        return _decode(0, X, spec)[None]
    if not isinstance(X, list | tuple) or not any(isinstance(one, (*PICTURES, np.ndarray)) for one in X):
        return None
    with ThreadPoolExecutor(min(n_threads(threads), len(X))) as pool:
        return np.stack(list(pool.map(partial(_decode, spec=spec), range(len(X)), X)))


def _decode(number: int, picture: Any, spec: InputSpec) -> np.ndarray:
    place = f"image {number}"
    if isinstance(picture, PICTURES):
        return fit_image(as_picture(picture, place), spec, place)
    pixels = np.asarray(picture)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    in_shape = pixels.ndim == 3 and pixels.shape[2] in (1, 3) and 0 not in pixels.shape
    if not in_shape or pixels.dtype.kind not in "buif":
        raise DataError(
            f"{place} of the list must be a path, a Pillow image, or an array of pixels (height, width) or "
            f"(height, width, 1 or 3), got {type(picture).__name__} of shape {np.shape(picture)}"
        )
    return fit_array(as_pixels(pixels[None], number)[0], spec, place)


def as_batch(X: Any, spec: InputSpec, place: str) -> np.ndarray:
    """Give images the shape that a graph takes, without looking at their pixels."""
    if hasattr(X, "toarray"):
        raise DataError(f"images must be a dense array, got {type(X).__name__}; convert them with .toarray()")
    try:
        images = np.asarray(X)
    except (TypeError, ValueError) as error:
        raise DataError(f"images must be an array of pixels, all of one shape: {error}") from error
    shape = images.shape
    if images.dtype.kind not in "buif":
        raise DataError(f"images must be numbers, got dtype {images.dtype}; the graph takes uint8 in 0..255")
    if 0 in shape:
        raise DataError(f"there are no pixels in an array of shape {shape}; give at least one image")
    if spec.channels == 1 and shape[1:] == spec[:2]:
        return images[..., None]
    if shape[1:] == spec:
        return images
    if shape in (spec, spec[:2]):
        raise DataError(f"this is a single image of shape {shape}; put it into a batch: X[None]")
    if images.ndim not in (3, 4):
        raise DataError(
            "images must be (n, height, width, channels), or (n, height, width) if they are grey; got an "
            f"array of shape {shape}"
        )
    size = (*shape[1:], 1)[:3]
    raise ModelError(
        f"the images are {'x'.join(map(str, size))} (height x width x channels), {place} takes "
        f"{'x'.join(map(str, spec))}; bring them to that size and those channels"
    )


def as_pixels(X: np.ndarray, first: int = 0) -> np.ndarray:
    """Turn numbers into uint8 where nothing is lost; `first` is the number of the first image."""
    if X.dtype == np.uint8:
        return X
    if X.dtype.kind == "b":
        return X.astype(np.uint8) * np.uint8(255)
    low, high = X.min(), X.max()
    if not np.isfinite(low) or not np.isfinite(high):
        finite = np.isfinite(X).reshape(len(X), -1).all(axis=1)
        raise DataError(f"image {first + int(np.argmin(finite))} has NaN or infinite pixels; leave it out")
    if low < 0 or high > 255:
        raise DataError(
            f"pixels must be in 0..255, those of images {first} to {first + len(X) - 1} are in "
            f"{low:g}..{high:g}; undo their scaling first"
        )
    pixels = X.astype(np.uint8)
    if X.dtype.kind != "f":
        return pixels
    whole = (pixels == X).reshape(len(X), -1).all(axis=1)
    if whole.all():
        if high == 1:
            raise DataError(TWO_LEVELS)
        return pixels
    if high <= 1:
        raise DataError(
            "the pixels are fractions in [0, 1]: they look scaled already, and the graph would scale them "
            "again. Give pixels in 0..255: np.rint(X * 255).astype('uint8')"
        )
    raise DataError(
        f"image {first + int(np.argmin(whole))} has pixels that are not whole numbers, and the graph takes "
        "uint8: round them with np.rint(X).astype('uint8')"
    )
