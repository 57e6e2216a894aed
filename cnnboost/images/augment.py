"""Views: the one place where an image is flipped, turned, moved or changed in tone.

The random numbers of a view are a hash of (seed, epoch, number of the image), not the next ones of a running
generator. So a view is the same in whatever batch or order its image comes, in whichever thread it is made,
and after a training was killed and continued.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np

from cnnboost.errors import ParameterError, did_you_mean

#: What a draw of random numbers is for: draws of different kinds are independent under one seed.
TRAINING, VIEWS, ORDER, DROPOUT = range(4)

_WORD = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_SMALLEST_ERASED = 0.02
# What is worked on at once should fit a core's cache: ten times slower without.
_BLOCK_PIXELS = 20_000

#: Field: the highest value that makes sense, and the unit.
_LIMITS = {
    "flip": (1.0, "a probability in [0, 1]"),
    "rotation": (180.0, "degrees in [0, 180]"),
    "shift": (1.0, "a share of height and width in [0, 1]"),
    "zoom": (0.9, "a share of the size in [0, 0.9]"),
    "shear": (80.0, "degrees in [0, 80]"),
    "crop": (0.9, "a share of height and width in [0, 0.9]"),
    "brightness": (1.0, "a share of the range of pixels in [0, 1]"),
    "contrast": (1.0, "a share of the contrast in [0, 1]"),
    "erasing": (1.0, "a probability in [0, 1]"),
    "erasing_area": (1.0, f"a share of the image in [{_SMALLEST_ERASED}, 1]"),
}


@dataclass(frozen=True)
class Augmentation:
    """Random changes of images that leave their label as it is.

    Rotation, shift, zoom, shear, brightness and contrast are the largest change: that of an image is drawn
    evenly between its negative and itself. What is not named does not happen. Flip, rotation, shift, zoom,
    shear and crop are one affine map per image and one bilinear resampling; an image is turned, scaled and
    sheared around the middle of what the crop leaves of it. Pixels from outside are those of the nearest
    edge.
    """

    flip: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    crop: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erasing: float = 0.0
    erasing_area: float = 0.2

    def __post_init__(self) -> None:
        for name, (high, unit) in _LIMITS.items():
            value = getattr(self, name)
            low = _SMALLEST_ERASED if name == "erasing_area" else 0.0
            if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) <= high:
                raise ParameterError(f"augment: {name}={value!r} must be {unit}")

    @classmethod
    def of(cls, given: Augmentation | Mapping[str, Any]) -> Augmentation:
        """Read a mapping of fields, as a recipe or a parameter holds it."""
        if isinstance(given, Augmentation):
            return given
        if not isinstance(given, Mapping):
            raise ParameterError(
                f"augment={given!r} must be a mapping such as {{'flip': 0.5, 'rotation': 10}}"
            )
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise ParameterError(f"augment has no {name!r}{hint}. Known: {', '.join(known)}")
        return cls(**given)

    def apply(self, X: np.ndarray, seed: int, epoch: int = 0, index: Any = None) -> np.ndarray:
        """Change each image in its own way."""
        return self._apply(X, TRAINING, seed, epoch, index)

    def view(self, X: np.ndarray, k: int, seed: int = 0, index: Any = None) -> np.ndarray:
        """Return view `k` of each image; view 0 is the image itself."""
        return _checked(X) if k == 0 else self._apply(X, VIEWS, seed, k, index)

    def _apply(self, X: np.ndarray, kind: int, seed: int, epoch: int, index: Any) -> np.ndarray:
        X = _checked(X)
        numbers = np.arange(len(X)) if index is None else np.asarray(index)
        if numbers.shape != (len(X),):
            raise ParameterError(f"index has shape {numbers.shape}, there are {len(X)} images")
        # What came later draws after the first 13, so that older recipes make the views that they made.
        u = uniforms(kind, seed, epoch, numbers, 15 if self.crop else 13)
        bent = bool(self.rotation or self.shift or self.zoom or self.shear or self.crop)
        maps = self._maps(u, X.shape[1], X.shape[2]) if bent else None
        out = np.empty_like(X)
        for rows in _blocks(X.shape):
            if maps is not None:
                out[rows] = warp(X[rows], maps[rows])
            else:
                mirrored = (u[rows, 0] < self.flip)[:, None, None, None]
                out[rows] = np.where(mirrored, X[rows, :, ::-1], X[rows]) if self.flip else X[rows]
            if self.erasing:
                self._erase(out[rows], u[rows])
            if self.brightness or self.contrast:
                out[rows] = self._tone(out[rows], u[rows])
        return out

    def _maps(self, u: np.ndarray, height: int, width: int) -> np.ndarray:
        """Affine maps from places in the result to places in the image, (n, 2, 3), rows x and y."""
        turn = np.deg2rad(self.rotation) * (2 * u[:, 1] - 1)
        scale = 1 / (1 + self.zoom * (2 * u[:, 4] - 1))
        lean = np.tan(np.deg2rad(self.shear) * (2 * u[:, 5] - 1))
        mirror = np.where(u[:, 0] < self.flip, -1.0, 1.0)
        cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
        maps = np.empty((len(u), 2, 3))
        maps[:, 0, 0], maps[:, 0, 1] = mirror * cos, mirror * (lean * cos - sin)
        maps[:, 1, 0], maps[:, 1, 1] = sin, lean * sin + cos
        maps[:, 0, 2] = self.shift * width * (2 * u[:, 3] - 1)
        maps[:, 1, 2] = self.shift * height * (2 * u[:, 2] - 1)
        if self.crop:
            maps *= 1 - self.crop
            maps[:, 0, 2] += self.crop * width * (u[:, 14] - 0.5)
            maps[:, 1, 2] += self.crop * height * (u[:, 13] - 0.5)
        return maps

    def _erase(self, X: np.ndarray, u: np.ndarray) -> None:
        height, width = X.shape[1:3]
        for i in np.flatnonzero(u[:, 8] < self.erasing):
            area = _SMALLEST_ERASED + (self.erasing_area - _SMALLEST_ERASED) * u[i, 9]
            root = math.sqrt(math.exp((2 * u[i, 10] - 1) * math.log(1 / 0.3)))
            side = math.sqrt(area * height * width)
            h = min(height, max(1, round(side * root)))
            w = min(width, max(1, round(side / root)))
            top, left = int(u[i, 11] * (height - h + 1)), int(u[i, 12] * (width - w + 1))
            X[i, top : top + h, left : left + w] = np.rint(X[i].mean(axis=(0, 1)))

    def _tone(self, X: np.ndarray, u: np.ndarray) -> np.ndarray:
        gain = (1 + self.contrast * (2 * u[:, 7] - 1)).astype(np.float32)[:, None, None, None]
        plus = (255 * self.brightness * (2 * u[:, 6] - 1)).astype(np.float32)[:, None, None, None]
        mean = X.mean(axis=(1, 2, 3), dtype=np.float32, keepdims=True)
        changed = X * gain
        changed += (1 - gain) * mean + plus + np.float32(0.5)
        return np.clip(changed, 0, 255, out=changed).astype(np.uint8)


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
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
    places = []
    for row, size in ((0, width), (1, height)):
        of_x = maps[:, row, 0, None] * across + maps[:, row, 2, None] + (size - 1) / 2
        of_y = maps[:, row, 1, None] * along
        of_x, of_y = (of_x * 256 + 0.5).astype(np.float32), (of_y * 256).astype(np.float32)
        place = (of_x[:, None, :] + of_y[:, :, None]).astype(kind)
        places.append(np.clip(place, 0, (size - 1) * 256, out=place))
    return places[0], places[1]


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


def uniforms(kind: int, seed: int, epoch: int, index: np.ndarray, count: int) -> np.ndarray:
    """Random numbers that belong to images, whatever is drawn before or beside them.

    Each image's numbers are a SplitMix64 sequence whose start is a hash of what it is drawn for.
    """
    start = 0
    for part in (kind, int(seed), int(epoch)):
        start = int(_mixed(np.array([(start + part + _STEP) & _WORD], np.uint64))[0])
    keys = _mixed(_mixed(index.astype(np.uint64) * np.uint64(_STEP) + np.uint64(start)))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
    return (_mixed(keys[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def _mixed(z: np.ndarray) -> np.ndarray:
    """SplitMix64's output function; integers of 64 bits wrap around, as they should."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _checked(X: np.ndarray) -> np.ndarray:
    if not isinstance(X, np.ndarray) or X.dtype != np.uint8 or X.ndim != 4 or 0 in X.shape[1:]:
        got = f"{X.dtype} {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
        raise ParameterError(f"views are made of uint8 images (n, height, width, channels), got {got}")
    return X
