"""Two classes: what the threshold does from which on a probability counts as a yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.metrics.curves import average_precision, one_against_rest
from cnnboost.metrics.intervals import check_level, percentile_interval, plain
from cnnboost.metrics.scores import Estimate

SWEEP = tuple(percent / 100 for percent in range(40, 61, 2))
"""The thresholds of every sweep: 0.40 to 0.60 in steps of 0.02."""


@dataclass(frozen=True)
class AtThreshold:
    """Scores where every row is called positive whose probability of it reaches a threshold."""

    threshold: float
    accuracy: float
    average_class_accuracy: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Thresholds:
    """What the choice of a threshold does to a classifier of two classes."""

    positive: str
    average_precision: Estimate
    best: AtThreshold
    best_f1: Estimate
    sweep: tuple[AtThreshold, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; the F1 of `best` is there with its interval."""
        metadata = asdict(self)
        metadata["best"]["f1"] = metadata.pop("best_f1")
        return plain(metadata)


def thresholds(
    y: Sequence[int] | np.ndarray,
    proba: np.ndarray,
    classes: Sequence[object],
    positive: str,
    *,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Thresholds:
    """Score a classifier of two classes over the thresholds of the positive one's probability.

    A threshold that is chosen here is chosen on the rows that are scored, which is optimistic: to use one,
    choose it on validation rows and score it on test rows.
    """
    from sklearn import metrics

    check_level(confidence, n_resamples)
    if len(classes) != 2:
        raise DataError(
            f"A threshold parts two classes; there are {len(classes)} ({', '.join(map(str, classes))}). Make "
            "one of them against the rest first."
        )
    there, p = one_against_rest(y, proba, classes, positive)
    precision, recall, edges = metrics.precision_recall_curve(there, p)
    # The last point of the curve is drawn for show and has no threshold. No denominator is 0: at every
    # other point at least one row is called positive.
    both = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], both, out=np.zeros_like(both), where=both > 0)
    best = float(edges[int(np.argmax(f1))])
    cells = _cells(there, p >= best)
    drawn = np.random.default_rng(seed).multinomial(len(p), np.array(cells) / len(p), size=n_resamples)
    # A resample without a positive row, called or true, has no F1.
    of = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
    spread = np.divide(2 * drawn[:, 0], of, out=np.full(n_resamples, np.nan), where=of > 0)
    at_best = _at(there, p, best)
    return Thresholds(
        positive=positive,
        average_precision=average_precision(there, p, confidence),
        best=at_best,
        best_f1=Estimate(at_best.f1, percentile_interval(spread, confidence)),
        sweep=tuple(_at(there, p, threshold) for threshold in SWEEP),
    )


def _cells(there: np.ndarray, called: np.ndarray) -> tuple[int, int, int, int]:
    """Count rows that are found, called wrongly, missed, and left alone rightly."""
    counts = np.bincount(2 * there + called, minlength=4)
    return int(counts[3]), int(counts[1]), int(counts[2]), int(counts[0])


def _at(there: np.ndarray, p: np.ndarray, threshold: float) -> AtThreshold:
    right, false, missed, left = _cells(there, p >= threshold)
    return AtThreshold(
        threshold=threshold,
        accuracy=(right + left) / len(p),
        average_class_accuracy=(right / (right + missed) + left / (left + false)) / 2,
        precision=right / (right + false) if right + false else 0.0,
        recall=right / (right + missed),
        f1=2 * right / (2 * right + false + missed),
    )
