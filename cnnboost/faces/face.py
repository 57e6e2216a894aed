"""A face in a picture: where it is, how certain that is, and its eyes; and boxes of several, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Face(NamedTuple):
    """One face, in pixels of the upright picture; a box may reach beyond its edges.

    Attributes
    ----------
    x, y : float
        Left upper corner of its box, which goes from the forehead to the chin.
    width, height : float
        Of the box.
    score : float
        How certain the detector is, in 0..1.
    landmarks : tuple of five (x, y), or None
        The person's right eye, left eye, tip of the nose, right and left corner of the mouth.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None

    @property
    def tilt(self) -> float:
        """By how many degrees the line of the eyes is turned clockwise; 0 without landmarks."""
        if self.landmarks is None:
            return 0.0
        (x, y), (to_x, to_y) = self.landmarks[:2]
        return math.degrees(math.atan2(to_y - y, to_x - x))

    @property
    def box(self) -> dict[str, float]:
        """Where it is, as values of JSON."""
        return {name: round(getattr(self, name), 1) for name in ("x", "y", "width", "height")}

    def to_dict(self) -> dict[str, Any]:
        """Return it as values of JSON, rounded to what has a meaning."""
        points = [[round(x, 1), round(y, 1)] for x, y in self.landmarks] if self.landmarks else None
        return {**self.box, "score": round(self.score, 4), "landmarks": points}


def boxes_of(faces: Sequence[Face]) -> np.ndarray:
    """Return left, top, right and bottom of faces: (n, 4)."""
    given = np.array([face[:4] for face in faces], dtype=float).reshape(-1, 4)
    return np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)


def overlaps(first: np.ndarray, second: np.ndarray, of: str = "union") -> np.ndarray:
    """Return what boxes (n, 4) and (m, 4) share, as a part of their union or of the smaller one: (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(given[:, 2:] - given[:, :2], 0, None).prod(axis=1) for given in (first, second)]
    mine, theirs = areas[0][:, None], areas[1][None]
    whole = mine + theirs - shared if of == "union" else np.minimum(mine, theirs)
    return shared / np.maximum(whole, 1e-9)


def strongest(boxes: np.ndarray, overlap: float, most: int, of: str = "union") -> np.ndarray:
    """Choose boxes, given from the most certain to the least: none shares more with one before it."""
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        first, rest = int(left[0]), left[1:]
        kept.append(first)
        left = rest[overlaps(boxes[[first]], boxes[rest], of)[0] <= overlap]
    return np.array(kept, dtype=int)
