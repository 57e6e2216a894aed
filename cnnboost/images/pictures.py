"""A picture in whatever form a caller has it: path, content, Pillow image or array; as one Pillow image."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

from cnnboost.errors import DataError
from cnnboost.images.decode import open_image, upright_image
from cnnboost.images.tree import read_image_file

#: What is a picture by itself; an array needs a second look.
PICTURES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)


def as_picture(given: Any, place: str = "the picture") -> Image.Image:
    """Return a picture as a Pillow image of mode L or RGB, upright and opaque.

    Parameters
    ----------
    given : path-like, bytes-like, PIL.Image.Image, or ndarray
        A file, the content of one, an image, or uint8 pixels: (height, width) or (height, width, 1 or 3).
    place : str
        What it is called in messages, unless it has a name of its own.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    DataError
        If it cannot be read, or has another form.
    """
    if isinstance(given, str | os.PathLike):
        path = os.fsdecode(given)
        return open_image(read_image_file(path, path), path)
    if isinstance(given, bytes | bytearray | memoryview):
        return open_image(bytes(given), place)
    if isinstance(given, Image.Image):
        return upright_image(given, getattr(given, "filename", "") or place)
    pixels = np.asarray(given)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 or 0 in pixels.shape or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise DataError(
            f"{place} must be a path, the content of an image file, a Pillow image, or an array of uint8 "
            f"pixels (height, width) or (height, width, 1 or 3), got {type(given).__name__} of shape "
            f"{pixels.shape}, dtype {pixels.dtype}"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))
