"""The images that a classifier is surest of and wrong about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """One image that was called something else than its label says, as a picture.

    Attributes
    ----------
    png : bytes
    place : str
        File or row.
    truth, said : str
        Its label, and the class that it was given.
    probability : float
        Of the class that it was given.
    """

    png: bytes
    place: str
    truth: str
    said: str
    probability: float


def most_confident_mistakes(proba: np.ndarray, y: np.ndarray, count: int = 12) -> np.ndarray:
    """Find the rows with the highest probability for a wrong class.

    Parameters
    ----------
    proba : array of shape (n, n_classes), float
    y : array of shape (n,), int
        Labels, as column numbers.
    count : int, default=12
        At most so many.

    Returns
    -------
    array of shape (at most count,), int
        Row numbers, the surest mistake first; of equally sure ones the earlier row.

    Examples
    --------
    >>> import numpy as np
    >>> most_confident_mistakes(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 0]))
    array([2, 1])
    """
    said = proba.argmax(axis=1)
    wrong = np.flatnonzero(said != y)
    order = np.argsort(-proba[wrong, said[wrong]], kind="stable")
    return wrong[order][:count]
