"""What arrays count as images, and how their pixels reach a model.

Pixels are always in [0, 255] at the door, as uint8 or float. The model's own preprocessing, or the stated
`pixels` scale of a foreign file, takes it from there, so nobody can scale twice.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from cnnboost.errors import DataError, ModelError, ParameterError
from cnnboost.images.pixels import TWO_LEVELS

SCALES = {
    "raw": "0..255",
    "unit": "0..1",
    "symmetric": "-1..1",
    "caffe": "BGR less ImageNet's channel means",
    "torch": "0..1 less ImageNet's channel means, over its channel deviations",
}
"""Every scale of pixels, and what it means."""

CAFFE_MEANS = (103.939, 116.779, 123.68)
"""Of blue, green and red, in 0..255."""
TORCH_MEANS, TORCH_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue, in 0..1."""


class TakesImages:
    """What estimators of images have in common, left of scikit-learn's base class."""

    image_shape: tuple[int, ...] | None
    _made_at_first_use: ClassVar[tuple[str, ...]] = ()
    """Attributes that are never pickled, and made again when they are wanted."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        for name in self._made_at_first_use:
            state.pop(name, None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        return tags


def check_pixels(pixels: str, channels: int | None = None) -> str:
    """Return `pixels` if it names a scale, and one for images of so many channels."""
    if pixels not in SCALES:
        known = ", ".join(f"{name} ({meaning})" for name, meaning in SCALES.items())
        raise ParameterError(f"pixels={pixels!r}: unknown scale; choose one of {known}")
    if pixels in ("caffe", "torch") and channels not in (3, None):
        raise ParameterError(
            f"pixels={pixels!r}: this scale is for 3 channels, the images have {channels}; "
            "choose raw, unit or symmetric"
        )
    return pixels


def scale_pixels(x: Any, pixels: str) -> Any:
    """Bring float32 pixels in [0, 255] to the scale a model expects.

    `symmetric`, `caffe` and `torch` are the three modes of `keras.applications`.
    """
    check_pixels(pixels, x.shape[-1])
    if pixels == "unit":
        return x / 255.0
    if pixels == "symmetric":
        return x / 127.5 - 1.0
    if pixels == "caffe":
        return x[..., ::-1] - np.array(CAFFE_MEANS, np.float32)
    if pixels == "torch":
        return (x / 255.0 - np.array(TORCH_MEANS, np.float32)) / np.array(TORCH_DEVIATIONS, np.float32)
    return x


def check_images(X: Any, image_shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Check and shape images; memory-mapped uint8 images pass without a copy."""
    X = np.asanyarray(X) if not hasattr(X, "toarray") else X
    if not isinstance(X, np.ndarray):
        raise DataError(f"images must be a dense array, got {type(X).__name__}; convert them with .toarray()")
    if X.ndim == 2 and image_shape is not None:
        X = _unflatten(X, image_shape)
    if X.ndim == 3:
        X = X[..., None]
    if X.ndim != 4:
        hint = "; for flat rows give image_shape=(height, width, channels)" if X.ndim == 2 else ""
        hint = "; put a single image into a batch: X[None]" if X.ndim == 1 else hint
        raise DataError(
            "images must be (n, height, width) or (n, height, width, channels), "
            f"got an array of shape {X.shape}{hint}"
        )
    if 0 in X.shape:
        raise DataError(f"there are no pixels in an array of shape {X.shape}")
    if X.dtype == np.uint8:
        return X
    if X.dtype.kind == "b":
        return X.astype(np.uint8) * np.uint8(255)
    if X.dtype.kind not in "iuf":
        raise DataError(f"images must be numbers, got dtype {X.dtype}; uint8 in 0..255 is what fits best")
    return _check_range(X)


def check_fits(X: np.ndarray, input_shape: tuple[int | None, ...]) -> None:
    """Refuse images that the model cannot take."""
    got = X.shape[1:]
    if len(got) != len(input_shape) or any(w not in (None, g) for g, w in zip(got, input_shape, strict=True)):
        want = "x".join("any" if s is None else str(s) for s in input_shape)
        raise ModelError(
            f"the images are {'x'.join(map(str, got))} (height x width x channels), the CNN takes {want}; "
            "load the images with that size and those channels"
        )


def _unflatten(X: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    if len(image_shape) not in (2, 3) or any(int(s) < 1 for s in image_shape):
        raise DataError(f"image_shape={image_shape!r} must be (height, width) or (height, width, channels)")
    width = int(np.prod(image_shape))
    if X.shape[1] != width:
        raise DataError(f"rows of {X.shape[1]} values are no images of {image_shape}: that takes {width}")
    return X.reshape(len(X), *image_shape)


def _check_range(X: np.ndarray) -> np.ndarray:
    finite = np.isfinite(X).reshape(len(X), -1).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"image {row} has NaN or infinite pixels ({int((~finite).sum())} such images in all); remove them"
        )
    low, high = X.min(), X.max()
    if low < 0 or high > 255:
        raise DataError(f"pixels must be in 0..255, these are in {low:g}..{high:g}; undo their scaling first")
    if X.dtype.kind != "f":
        return X.astype(np.uint8)
    if 0 < high <= 1 and not np.any((X > 0) & (X < 1)):
        raise DataError(TWO_LEVELS)
    if 0 < high <= 1:
        raise DataError(
            "the pixels are fractions in [0, 1]: they look scaled already, and the CNN would scale them "
            "again. Give pixels in [0, 255] (X * 255)"
        )
    return X.astype(np.float32, copy=False)
