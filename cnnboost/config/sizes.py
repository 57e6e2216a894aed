"""What progressive resizing may ask for, in a recipe or as a parameter of `CNNClassifier`."""

from __future__ import annotations

import math
from collections.abc import Sequence

_CLOSE = 1e-9
"""Shares that come so close to 1 were meant to: 0.7, 0.2 and 0.1 add up to a little less."""


def check_sizes(stages: Sequence[tuple[int, float]]) -> None:
    """Refuse sizes of images that do not grow, and shares of the epochs that leave none for full images."""
    sizes = [size for size, _ in stages]
    if sizes != sorted(set(sizes)):
        raise ValueError("the sizes must grow")
    total = math.fsum(share for _, share in stages)
    if total >= 1 - _CLOSE:
        raise ValueError(
            f"the shares of the epochs come to {total:.4g}; they must come to less than 1, so that the last "
            "epochs see the images as they are"
        )
