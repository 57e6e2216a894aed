"""What a network gives, as class probabilities."""

from __future__ import annotations

import numpy as np


def probabilities(scores: np.ndarray, kind: str) -> np.ndarray:
    """Turn what a network gives into class probabilities."""
    if kind == "sigmoid":
        return np.concatenate([1 - scores, scores], axis=1)
    if kind == "logits":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return found
