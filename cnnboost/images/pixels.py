"""Levels and digests of pixels, and how many images are worked on at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

CHUNKS = (1, 8, 64, 256, 512)
"""Numbers of images that are worked on at once. Each divides the next, so that chunks can be cut again."""
_MOST_PIXELS = 1 << 22
"""Pixels of more than one image, at most: as many in 64 channels of float32 take 1 GiB."""
_HASH_BLOCK = 1 << 24
TWO_LEVELS = (
    "the pixels are 0.0 and 1.0 only: black and white, scaled to [0, 1], or two levels of 0..255? "
    "Give X.astype(bool) for black and white, X.astype('uint8') for levels"
)
"""Why floats of two values are refused: nobody can tell what white is."""


def largest_chunk(shape: Sequence[int]) -> int:
    """Return how many images of a shape (height, width, ...) are worked on at once, at most."""
    pixels = max(1, math.prod(shape[:2]))
    return max(chunk for chunk in CHUNKS if chunk == 1 or chunk * pixels <= _MOST_PIXELS)


def pixel_digest(pixels: np.ndarray) -> str:
    """sha256 over the shape and the bytes of uint8 pixels, read in blocks."""
    hasher = hashlib.sha256(shape_tag(pixels.shape[1:]))
    step = max(1, _HASH_BLOCK // max(1, int(np.prod(pixels.shape[1:]))))
    for start in range(0, len(pixels), step):
        hasher.update(np.ascontiguousarray(pixels[start : start + step]).data)
    return hasher.hexdigest()


def whole_levels(pixels: np.ndarray) -> np.ndarray:
    """Round pixels to the whole levels next to them."""
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels).astype(np.uint8)


def shape_tag(shape: Sequence[int]) -> bytes:
    """Return what a pixel digest starts with, so that 2x8 and 4x4 pixels of the same bytes differ."""
    return ("uint8 " + "x".join(str(int(n)) for n in shape) + "\n").encode()
