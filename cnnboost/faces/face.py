"""A face in a picture: where it is, how certain that is, and where its eyes are."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


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
