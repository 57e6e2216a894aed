"""What a network gives, as class probabilities."""

from __future__ import annotations

import numpy as np


def probabilities(scores: np.ndarray, kind: str) -> np.ndarray:
    """Turn what a network gives into class probabilities.

    Parameters
    ----------
    scores : ndarray of float32, (n, n_outputs)
    kind : {"softmax", "logits", "sigmoid"}
        Probabilities, scores, or the probability of the second of two classes.

    Returns
    -------
    ndarray of float32, (n, n_classes)
        Rows sum to 1.

    Examples
    --------
    >>> probabilities(np.array([[0.25]], np.float32), "sigmoid")
    array([[0.75, 0.25]], dtype=float32)
    """
    if kind == "sigmoid":
        return np.concatenate([1 - scores, scores], axis=1)
    if kind == "logits":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return found
