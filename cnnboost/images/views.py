"""Test-time views: fixed changes of an image, over whose predictions the mean is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cnnboost.errors import ParameterError
from cnnboost.images.pixels import largest_chunk

#: Share of the height and width by which a view is shifted or cropped: 4 of 48 pixels.
MARGIN = 1 / 12

#: Test-time views by name, with their number; each kind begins with the image itself, or its middle.
TTA = {"none": 1, "flip": 2, "shifts": 10, "ten-crop": 10}


def check_tta(tta: object) -> str:
    """Return a name of test-time views if it is known."""
    if tta not in TTA:
        raise ParameterError(f"tta={tta!r} must be one of {', '.join(TTA)}")
    return str(tta)


def views(X: np.ndarray, tta: str) -> Iterator[np.ndarray]:
    """Give the test-time views of images, one after the other."""
    for view in _UNMIRRORED[check_tta(tta)](X):
        yield view
        if tta != "none":
            yield view[:, :, ::-1]


def mean_over_views(predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray, tta: str) -> np.ndarray:
    """Return the mean of a function over the test-time views of images."""
    if check_tta(tta) == "none":
        return np.asarray(predict(X))
    step = largest_chunk(X.shape[1:])  # whose views are in memory at a time
    parts = [_mean(predict, X[start : start + step], tta) for start in range(0, max(1, len(X)), step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _mean(predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray, tta: str) -> np.ndarray:
    remaining = views(X, tta)
    total = np.asarray(predict(next(remaining)))
    total = total.astype(np.result_type(total, np.float32))
    for view in remaining:
        total += predict(view)
    mean: np.ndarray = total / total.dtype.type(TTA[tta])
    return mean


def margin_of(size: int) -> int:
    """Return by how many pixels images of some height or width are shifted or cropped, at least 1."""
    return max(1, round(size * MARGIN))


def _shifts(X: np.ndarray) -> Iterator[np.ndarray]:
    down, right = margin_of(X.shape[1]), margin_of(X.shape[2])
    for dy, dx in ((0, 0), (0, right), (0, -right), (down, 0), (-down, 0)):
        rows = np.clip(np.arange(X.shape[1]) - dy, 0, X.shape[1] - 1)
        columns = np.clip(np.arange(X.shape[2]) - dx, 0, X.shape[2] - 1)
        yield X[:, rows][:, :, columns]


def _crops(X: np.ndarray) -> Iterator[np.ndarray]:
    height, width = X.shape[1:3]
    down, right = margin_of(height), margin_of(width)
    if height <= 2 * down or width <= 2 * right:
        raise ParameterError(f"tta='ten-crop' leaves nothing of {height}x{width} images; use 'flip'")
    for top, left in ((down, right), (0, 0), (0, 2 * right), (2 * down, 0), (2 * down, 2 * right)):
        crop = X[:, top : top + height - 2 * down, left : left + width - 2 * right]
        yield _stretched(_stretched(crop.astype(np.float32), height, 1), width, 2)


def _stretched(X: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Interpolate linearly along an axis; pixels are areas, and those beyond the edge are the edge's."""
    places = np.clip((np.arange(size) + 0.5) * X.shape[axis] / size - 0.5, 0, X.shape[axis] - 1)
    low = np.floor(places).astype(np.intp)
    high = np.minimum(low + 1, X.shape[axis] - 1)
    share = (places - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(X.ndim)])
    one, other = np.take(X, low, axis), np.take(X, high, axis)
    between = other - one
    between *= share
    between += one
    # Rounded differences may lead past the further of two neighbours, and white past what a pixel can be.
    return np.clip(between, np.minimum(one, other), np.maximum(one, other), out=between)


_UNMIRRORED: dict[str, Callable[[np.ndarray], Iterator[np.ndarray]]] = {
    "none": lambda X: iter([X]),
    "flip": lambda X: iter([X]),
    "shifts": _shifts,
    "ten-crop": _crops,
}
