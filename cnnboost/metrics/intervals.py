"""Labels and probabilities that may be scored, and the intervals that every score uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnboost.errors import DataError

Interval = tuple[float, float]

_SUM_TOLERANCE = 1e-3  # a float16 softmax over a few classes stays well inside


def check_level(confidence: float, n_resamples: int) -> None:
    """Refuse an impossible confidence level or number of resamples."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence!r}.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1; got {n_resamples!r}.")


def check_proba(proba: np.ndarray, name: str, n_classes: int | None = None) -> np.ndarray:
    """Return float64 probabilities whose rows sum to 1 to the last bits."""
    p = np.asarray(proba)
    if p.ndim != 2 or p.shape[0] < 1 or p.shape[1] < 2 or p.dtype.kind not in "fiu":
        raise DataError(
            f"{name} must be numbers of shape (rows, classes), with at least 1 row and 2 classes; "
            f"got {p.dtype} {p.shape}."
        )
    if n_classes is not None and p.shape[1] != n_classes:
        raise DataError(f"{name} has {p.shape[1]} columns and there are {n_classes} classes.")
    p = p.astype(np.float64)
    total = p.sum(axis=1)
    # NaN fails every comparison, so these say what must hold and not what must not.
    fine = (p >= 0).all(axis=1) & (np.abs(total - 1) <= _SUM_TOLERANCE)
    if not fine.all():
        row = int(np.argmin(fine))
        values = np.array2string(p[row], precision=4, threshold=10)
        raise DataError(
            f"Row {row} of {name} is no probability distribution: {values} sums to {total[row]:.4g}. "
            "Give softmax outputs, not logits or votes."
        )
    return p / total[:, None]


def check_labels(y: Sequence[int] | np.ndarray, rows: int, classes: Sequence[object]) -> np.ndarray:
    """Return the labels as int64 once each points at one of the classes."""
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != rows:
        raise DataError(
            f"{rows} rows of probabilities need {rows} labels; got labels of shape {labels.shape}."
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"Labels must be integers that point into the classes; got {labels.dtype}.")
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"Label {int(labels[row])} of row {row} is out of range: there are {len(classes)} classes "
            f"({', '.join(map(str, classes))}), numbered from 0."
        )
    return labels.astype(np.int64)


def wilson_interval(right: int, of: int, confidence: float = 0.95) -> Interval | None:
    """Return Wilson's score interval of a share.

    Parameters
    ----------
    right, of : int
        So many of so many.
    confidence : float, default=0.95

    Returns
    -------
    tuple of float, or None
        None where there is nothing to share.

    Examples
    --------
    >>> from cnnboost.evaluation import wilson_interval
    >>> [round(edge, 3) for edge in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    from scipy.stats import binomtest

    if of == 0:
        return None
    found = binomtest(int(right), int(of)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def percentile_interval(values: np.ndarray, confidence: float) -> Interval:
    """Return the middle of a bootstrap distribution; resamples without a value count for nothing."""
    edge = (1 - confidence) / 2
    low, high = np.nanquantile(values, [edge, 1 - edge])
    return float(low), float(high)


def plain(value: Any) -> Any:
    """Tuples as lists: what comes back from JSON equals what went in."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(entry) for entry in value]
    return value
