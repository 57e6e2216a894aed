"""Progressive resizing: the first epochs of a training see smaller images, which cost less.

A network whose weights do not depend on the size of an image (convolutions, then global pooling) can learn
most of what it learns from small images; the last epochs show it the images as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError


@dataclass(frozen=True)
class Stage:
    """Epochs of a training that show images of one size."""

    start: int
    stop: int
    size: tuple[int, int]
    full: bool


def stages(options: TrainingOptions, size: tuple[int, int]) -> list[Stage]:
    """Divide a training into stages."""
    height, width = size
    found, start, passed = [], 0, 0.0
    for pixels, share in options.progressive_resizing:
        if pixels >= height:
            raise ParameterError(
                f"progressive_resizing: a stage of {pixels} pixels needs images of more than {pixels} pixels "
                f"in height; these have {height}"
            )
        passed += share
        # However the shares round: what is asked about full images later should have seen some.
        stop = min(round(passed * options.epochs), options.epochs - 1)
        if stop > start:
            found.append(Stage(start, stop, (pixels, max(1, round(width * pixels / height))), full=False))
            start = stop
    return [*found, Stage(start, options.epochs, (height, width), full=True)]


def shrink(X: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize images by averaging: a pixel is the mean of what it covers."""
    if X.shape[1:3] == tuple(size):
        return X
    down, across = _means(X.shape[1], size[0]), _means(X.shape[2], size[1])
    n, _, width, channels = X.shape
    rows = down @ X.astype(np.float32).reshape(n, X.shape[1], width * channels)
    columns = across @ rows.reshape(n * size[0], width, channels)
    return columns.reshape(n, *size, channels)


@lru_cache
def _means(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of old pixels in new ones; each row sums to 1."""
    edges = np.arange(new + 1) * (old / new)
    upper = np.minimum(edges[1:, None], np.arange(1, old + 1))
    lower = np.maximum(edges[:-1, None], np.arange(old))
    covered = np.maximum(upper - lower, 0)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
