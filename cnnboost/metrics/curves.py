"""Curves over all thresholds of a probability, the areas under them, and scores at single thresholds.

`positive` tells which rows are of the class, `p` is its probability; both kinds of rows must occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.metrics.intervals import Estimate, logit_interval, percentile_interval

SWEEP = tuple(percent / 100 for percent in range(40, 61, 2))
"""The thresholds of every sweep: 0.40 to 0.60 in steps of 0.02."""


@dataclass(frozen=True)
class Curve:
    """A curve over all thresholds."""

    x: np.ndarray
    y: np.ndarray
    area: Estimate


def area_under_roc(
    labels: np.ndarray, proba: np.ndarray, classes: Sequence[object], *, confidence: float = 0.95
) -> dict[str, Estimate]:
    """Return the area under the ROC curve of each class against the rest, where both have rows."""
    return {
        str(name): auc(proba[labels == i, i], proba[labels != i, i], confidence)
        for i, name in enumerate(classes)
        if 0 < np.count_nonzero(labels == i) < len(labels)
    }


def roc(positive: np.ndarray, p: np.ndarray, *, confidence: float = 0.95) -> Curve:
    """Return the ROC curve of one class against the rest."""
    from sklearn import metrics

    false, true, _ = metrics.roc_curve(positive, p)
    return Curve(false, true, auc(p[positive], p[~positive], confidence))


def precision_recall(positive: np.ndarray, p: np.ndarray, *, confidence: float = 0.95) -> Curve:
    """Return the precision-recall curve of one class against the rest."""
    from sklearn import metrics

    precision, recall, _ = metrics.precision_recall_curve(positive, p, drop_intermediate=True)
    # The last point that comes back is precision 1 by convention: no threshold gives it.
    return Curve(recall[:-1], precision[:-1], average_precision(positive, p, confidence))


def auc(positive: np.ndarray, negative: np.ndarray, confidence: float) -> Estimate:
    """Return the share of pairs in the right order, ties as half, and DeLong's interval of it.

    The interval is on the scale of the log odds, so that it stays within 0 and 1.
    """
    from scipy.stats import rankdata

    m, n = len(positive), len(negative)
    rank = rankdata(np.concatenate([positive, negative]))
    # Of each row: the share of the other side that it beats.
    beats = (rank[:m] - rankdata(positive)) / n
    beaten = 1 - (rank[m:] - rankdata(negative)) / m
    value = float(beats.mean())
    if min(m, n) < 2:
        return Estimate(value)
    variance = float(beats.var(ddof=1) / m + beaten.var(ddof=1) / n)
    return Estimate(value, logit_interval(value, np.sqrt(variance), confidence))


def average_precision(positive: np.ndarray, p: np.ndarray, confidence: float) -> Estimate:
    """Return the area under the steps of the precision-recall curve, with the logit interval."""
    from sklearn import metrics

    value = float(metrics.average_precision_score(positive, p))
    error = np.sqrt(value * (1 - value) / np.count_nonzero(positive))
    return Estimate(value, logit_interval(value, error, confidence))


def thresholds(
    true: np.ndarray, p: np.ndarray, *, confidence: float = 0.95, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Score a classifier of two classes over the thresholds of the positive one's probability.

    `best` is the threshold where F1 is highest, with the interval of that F1.

    A threshold that is chosen here is chosen on the rows that are scored, which is optimistic: to use one,
    choose it on validation rows and score it on test rows.
    """
    from sklearn import metrics

    p = p.astype(np.float64)  # as the thresholds of the sweep are
    precision, recall, edges = metrics.precision_recall_curve(true, p)
    # The last point of the curve is drawn for show and has no threshold. No denominator is 0: at every
    # other point at least one row is called positive.
    both = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], both, out=np.zeros_like(both), where=both > 0)
    best = float(edges[int(np.argmax(f1))])
    cells = _cells(true, p >= best)
    drawn = np.random.default_rng(seed).multinomial(len(p), np.array(cells) / len(p), size=n_resamples)
    # A resample without a positive row, predicted or true, has no F1.
    of = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
    spread = np.divide(2 * drawn[:, 0], of, out=np.full(n_resamples, np.nan), where=of > 0)
    at_best = _at(true, p, best)
    best_f1 = Estimate(at_best["f1"], percentile_interval(spread, confidence)).to_dict()
    return {
        "average_precision": average_precision(true, p, confidence).to_dict(),
        "best": {**at_best, "f1": best_f1},
        "sweep": [_at(true, p, threshold) for threshold in SWEEP],
    }


def _cells(true: np.ndarray, called: np.ndarray) -> tuple[int, int, int, int]:
    """Count true positives, false positives, false negatives and true negatives."""
    counts = np.bincount(2 * true + called, minlength=4)
    return int(counts[3]), int(counts[1]), int(counts[2]), int(counts[0])


def _at(true: np.ndarray, p: np.ndarray, threshold: float) -> dict[str, float]:
    """Score every row as positive whose probability reaches a threshold."""
    tp, fp, fn, tn = _cells(true, p >= threshold)
    return {
        "threshold": threshold,
        "accuracy": (tp + tn) / len(p),
        "average_class_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }
