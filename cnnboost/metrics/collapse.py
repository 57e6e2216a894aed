"""Predictions that collapse to one class: what a classifier does that has learnt the shares and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.errors import DataError

NEARLY_ALL = 0.9
"""Share of the predictions from which on they count as nearly all."""
FOREIGN_CAUSES = (
    "the scale of its pixels (--pixels) and the order of its outputs (--classes), the commonest causes with "
    "a model file from elsewhere"
)
"""What to look at first where a collapsed network was trained elsewhere."""


@dataclass(frozen=True)
class Collapse:
    """One class that nearly everything is called."""

    name: str
    share: float
    label_share: float

    def __str__(self) -> str:
        """Say it as a sentence without its subject: `calls 97.2% of the images happy, which 24.9% are`."""
        return f"calls {self.share:.1%} of the images {self.name}, which {self.label_share:.1%} are"

    def to_dict(self) -> dict[str, Any]:
        """Return class and share as JSON can hold them."""
        return {"class": self.name, "share": self.share}


def find_collapse(
    confusion: Sequence[Sequence[int]] | np.ndarray, classes: Sequence[object]
) -> Collapse | None:
    """Look for one class that nearly all predictions are, although the labels are not.

    At least 90 % of the predictions are the class, fewer than 90 % of the labels are, and the other classes
    are predicted at most half as often as they occur.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(classes), len(classes)):
        raise DataError(
            f"confusion of shape {counts.shape}: {len(classes)} classes need as many rows and columns"
        )
    n = int(counts.sum())
    if n == 0:
        return None
    predicted = counts.sum(axis=0)
    top = int(predicted.argmax())
    called, labelled = int(predicted[top]), int(counts[top].sum())
    one_sided = called >= NEARLY_ALL * n and labelled < NEARLY_ALL * n
    if not one_sided or 2 * (n - called) > n - labelled:
        return None
    return Collapse(str(classes[top]), called / n, labelled / n)
