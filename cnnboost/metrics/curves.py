"""Curves over all thresholds of a probability: ROC, precision against recall, and the area under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnboost.errors import DataError
from cnnboost.metrics.intervals import (
    Interval,
    check_labels,
    check_level,
    check_proba,
)
from cnnboost.metrics.scores import Estimate


@dataclass(frozen=True)
class Curve:
    """A curve over all thresholds."""

    x: np.ndarray
    y: np.ndarray
    area: Estimate


def area_under_roc(
    y: Sequence[int] | np.ndarray, proba: np.ndarray, classes: Sequence[object], *, confidence: float = 0.95
) -> dict[str, Estimate]:
    """Return the area under the ROC curve of each class against the rest.

    The intervals are DeLong's [1]_, on the scale of the log odds [2]_ so that they stay within 0 and 1.
    """
    check_level(confidence, 1)
    labels, p = _checked(y, proba, classes)
    return {
        str(name): auc(p[labels == i, i], p[labels != i, i], confidence)
        for i, name in enumerate(classes)
        if 0 < np.count_nonzero(labels == i) < len(labels)
    }


def roc(
    y: Sequence[int] | np.ndarray,
    proba: np.ndarray,
    classes: Sequence[object],
    name: str,
    *,
    confidence: float = 0.95,
) -> Curve:
    """Return the ROC curve of one class against the rest."""
    from sklearn import metrics

    check_level(confidence, 1)
    positive, p = one_against_rest(y, proba, classes, name)
    false, true, _ = metrics.roc_curve(positive, p)
    return Curve(false, true, auc(p[positive], p[~positive], confidence))


def precision_recall(
    y: Sequence[int] | np.ndarray,
    proba: np.ndarray,
    classes: Sequence[object],
    name: str,
    *,
    confidence: float = 0.95,
) -> Curve:
    """Return the precision-recall curve of one class against the rest."""
    from sklearn import metrics

    check_level(confidence, 1)
    positive, p = one_against_rest(y, proba, classes, name)
    precision, recall, _ = metrics.precision_recall_curve(positive, p, drop_intermediate=True)
    # The last point that comes back is precision 1 by convention: no threshold gives it.
    return Curve(recall[:-1], precision[:-1], average_precision(positive, p, confidence))


def one_against_rest(
    y: Sequence[int] | np.ndarray, proba: np.ndarray, classes: Sequence[object], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are of a class, and the probability of it."""
    names = [str(one) for one in classes]
    labels, p = _checked(y, proba, names)
    if name not in names:
        raise DataError(f"There is no class {name!r}; the classes are {', '.join(names)}.")
    there = labels == names.index(name)
    if there.all() or not there.any():
        raise DataError(
            f"{np.count_nonzero(there)} of {len(there)} rows are {name}: a curve over thresholds needs rows "
            "of the class and rows of others."
        )
    return there, p[:, names.index(name)]


def _checked(
    y: Sequence[int] | np.ndarray, proba: np.ndarray, classes: Sequence[object]
) -> tuple[np.ndarray, np.ndarray]:
    rows = len(check_proba(proba, "proba", len(classes)))
    # As they came: to divide by a sum that is 1 but for the last bits would part rows that are equal.
    return check_labels(y, rows, classes), np.asarray(proba).astype(np.float64)


def auc(positive: np.ndarray, negative: np.ndarray, confidence: float) -> Estimate:
    """Return the share of pairs in the right order, ties as half, and DeLong's interval of it."""
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
    return Estimate(value, _logit_interval(value, np.sqrt(variance), confidence))


def average_precision(there: np.ndarray, p: np.ndarray, confidence: float) -> Estimate:
    """Return the area under the steps of the precision-recall curve, with the logit interval [1]_."""
    from sklearn import metrics

    value = float(metrics.average_precision_score(there, p))
    return Estimate(
        value, _logit_interval(value, np.sqrt(value * (1 - value) / np.count_nonzero(there)), confidence)
    )


def _logit_interval(value: float, error: float, confidence: float) -> Interval | None:
    """Return the interval of a share from its standard error, symmetric in its log odds."""
    from scipy.special import expit, logit
    from scipy.stats import norm

    if not 0 < value < 1 or not error > 0:
        return None
    reach = norm.ppf((1 + confidence) / 2) * error / (value * (1 - value))
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
