"""Pictures as an app holds them: paths, encoded bytes, Pillow images, arrays of any size."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from cnnboost.deploy.pixels import as_pixels
from cnnboost.errors import DataError
from cnnboost.images.decode import InputSpec, decode_image, fit_array, fit_picture
from cnnboost.images.pool import n_threads
from cnnboost.images.tree import read_image_file

_NAMED = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)


def pixels_of(X: Any, spec: InputSpec, threads: int | None = None) -> np.ndarray | None:
    """Turn pictures into the pixels that a graph takes, as `cnnboost predict` does."""
    if isinstance(X, _NAMED):
        return _pixels(0, X, spec)[None]
    if not isinstance(X, list | tuple) or not any(isinstance(one, (*_NAMED, np.ndarray)) for one in X):
        return None
    with ThreadPoolExecutor(min(n_threads(threads), len(X))) as pool:
        return np.stack(list(pool.map(partial(_pixels, spec=spec), range(len(X)), X)))


def _pixels(number: int, picture: Any, spec: InputSpec) -> np.ndarray:
    place = f"image {number}"
    if isinstance(picture, str | os.PathLike):
        path = os.fsdecode(picture)
        return decode_image(read_image_file(path, path), spec, path)
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode_image(bytes(picture), spec, place)
    if isinstance(picture, Image.Image):
        return fit_picture(picture, spec, getattr(picture, "filename", "") or place)
    pixels = np.asarray(picture)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    in_shape = pixels.ndim == 3 and pixels.shape[2] in (1, 3) and 0 not in pixels.shape
    if not in_shape or pixels.dtype.kind not in "buif":
        raise DataError(
            f"{place} of the list is neither a path, a Pillow image nor an array of pixels (height, width) "
            f"or (height, width, 1 or 3): {type(picture).__name__} of shape {np.shape(picture)}"
        )
    return fit_array(as_pixels(pixels[None], number)[0], spec, place)
