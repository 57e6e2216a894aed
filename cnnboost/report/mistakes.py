"""The images that a classifier is surest of and wrong about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """One image that was called something else than its label says, as a picture."""

    png: bytes
    place: str
    truth: str
    said: str
    probability: float


def most_confident_mistakes(proba: np.ndarray, y: np.ndarray, count: int = 12) -> np.ndarray:
    """Find the rows with the highest probability for a wrong class."""
    said = proba.argmax(axis=1)
    wrong = np.flatnonzero(said != y)
    order = np.argsort(-proba[wrong, said[wrong]], kind="stable")
    return wrong[order][:count]
