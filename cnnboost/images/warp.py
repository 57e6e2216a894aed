"""Affine maps of images: one bilinear resampling, in whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# What is worked on at once should fit a core's cache: ten times slower without.
_BLOCK_PIXELS = 20_000


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Divide a batch into parts that are worked on at once."""
    step = max(1, _BLOCK_PIXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def warp(X: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Resample each image under a map of its own."""
    n, height, width, channels = X.shape
    x, y = _places(maps, height, width)
    corner = (y >> 8) * width
    corner += x >> 8
    corner += (np.arange(n, dtype=corner.dtype) * (height * width))[:, None, None]
    x &= 255
    y &= 255
    right, down = x.astype(np.uint32), y.astype(np.uint32)
    left, up = 256 - right, 256 - down
    out = np.empty_like(X)
    for channel in range(channels):
        # The four pixels around a place lie in one 32-bit word, so that each place is looked up once: left
        # and right are 16 bits apart in two words, and upper and lower row are blended at the same time.
        around = _neighbours(X[..., channel]).ravel().take(corner)
        second = (around >> 8) & 0x00FF00FF
        around &= 0x00FF00FF
        around *= left
        second *= right
        around += second
        lower = around >> 16
        around &= 0xFFFF
        around *= up
        lower *= down
        around += lower
        around += 1 << 15
        around >>= 16
        out[..., channel] = around
    return out


def _places(maps: np.ndarray, height: int, width: int) -> tuple[Any, Any]:
    """Where each pixel of the result comes from, in 1/256 pixels, held inside the image."""
    kind: Any = np.int32 if max(height, width) < 1 << 15 else np.int64
    across = np.arange(width) - (width - 1) / 2
    along = np.arange(height) - (height - 1) / 2
    found = []
    for row, size in ((0, width), (1, height)):
        of_x = maps[:, row, 0, None] * across + maps[:, row, 2, None] + (size - 1) / 2
        of_y = maps[:, row, 1, None] * along
        of_x, of_y = (of_x * 256 + 0.5).astype(np.float32), (of_y * 256).astype(np.float32)
        place = (of_x[:, None, :] + of_y[:, :, None]).astype(kind)
        found.append(np.clip(place, 0, (size - 1) * 256, out=place))
    return found[0], found[1]


def _neighbours(plane: np.ndarray) -> np.ndarray:
    """Return each pixel with those right of it, below it, and right below it, as bytes of one word."""
    n, height, width = plane.shape
    padded = np.empty((n, height + 1, width + 1), np.uint32)
    padded[:, :height, :width] = plane
    padded[:, height, :width] = padded[:, height - 1, :width]
    padded[:, :, width] = padded[:, :, width - 1]
    pairs = padded[:, :, 1:] << 8
    pairs |= padded[:, :, :width]
    return (pairs[:, 1:] << 16) | pairs[:, :height]
