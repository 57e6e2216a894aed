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
    """Epochs of a training that show images of one size.

    Attributes
    ----------
    start, stop : int
        First epoch, from 0, and the one after the last.
    size : tuple of int
        Height and width, in pixels.
    full : bool
        Whether these are the images as they are.
    """

    start: int
    stop: int
    size: tuple[int, int]
    full: bool


def stages(options: TrainingOptions, size: tuple[int, int]) -> list[Stage]:
    """Divide a training into stages.

    Parameters
    ----------
    options : TrainingOptions
    size : tuple of int
        Height and width of the images.

    Returns
    -------
    list of Stage
        The last one at the images' own size, of one epoch or more; a share that comes to no epoch is left
        out.

    Raises
    ------
    ParameterError
        If a stage's images would not be smaller than the images are.

    References
    ----------
    .. [1] Tan and Le, 2021, "EfficientNetV2: Smaller Models and Faster Training", ICML: progressive learning.

    Examples
    --------
    >>> from cnnboost.cnn.options import TrainingOptions
    >>> from cnnboost.cnn.resizing import stages
    >>> options = TrainingOptions(epochs=10, progressive_resizing=[(32, 0.5), (40, 0.3)])
    >>> [(stage.start, stage.stop, stage.size) for stage in stages(options, (48, 48))]
    [(0, 5, (32, 32)), (5, 8, (40, 40)), (8, 10, (48, 48))]
    """
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
    """Resize images by averaging: a pixel is the mean of what it covers.

    Parameters
    ----------
    X : ndarray, (n, height, width, channels)
    size : tuple of int
        New height and width, at most the old ones.

    Returns
    -------
    ndarray, (n, *size, channels)
        float32; `X` itself where it has that size already.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnboost.cnn.resizing import shrink
    >>> shrink(np.array([[0, 2], [4, 6]], np.uint8)[None, :, :, None], (1, 1)).item()
    3.0
    """
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
