"""Boxes of faces as arrays: how much they overlap, and which of those that do are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnnboost.faces.face import Face


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
