"""Scores and comparisons of predictions, whoever made them: labels of any kind and plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnboost.errors import DataError
from cnnboost.metrics.comparison import Comparison, compare
from cnnboost.metrics.curves import auc
from cnnboost.metrics.intervals import Estimate, check_level, check_proba
from cnnboost.metrics.scores import BINS, Scores, binned_calibration_error, score


def score_predictions(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    classes: Sequence[Any] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score predictions, with intervals.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels: strings, whole numbers or booleans.
    predicted : array-like of shape (n,) or (n, k)
        Predicted labels; or probabilities, whose most probable class is the prediction.
    classes : sequence, optional
        All classes, in the order of the columns of probabilities. Default: those that occur, sorted.
    confidence : float, default=0.95
        Level of the intervals.
    n_resamples, seed : int
        Of the bootstrap, for the intervals that have no formula.

    Returns
    -------
    Scores
        `log_loss` and `calibration_error` are None where labels were given and no probabilities.

    Raises
    ------
    DataError
        If shapes do not fit, a label is not among the classes, or a row is not a probability distribution.

    Examples
    --------
    >>> from cnnboost.metrics import score_predictions
    >>> scores = score_predictions(["cat", "dog", "dog"], ["cat", "dog", "cat"])
    >>> round(scores.accuracy.value, 3), [round(edge, 2) for edge in scores.accuracy.interval]
    (0.667, [0.21, 0.94])
    """
    names, codes, (proba,) = _read(y, classes, predicted=predicted)
    scores = score(codes, proba, names, confidence=confidence, n_resamples=n_resamples, seed=seed)
    if np.ndim(predicted) == 1:
        return replace(scores, log_loss=None, calibration_error=None)
    return scores


def compare_predictions(
    y: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    classes: Sequence[Any] | None = None,
    names: tuple[str, str] = ("A", "B"),
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Say whether B is more accurate than A on the same rows, or whether that may be chance.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels: strings, whole numbers or booleans.
    a, b : array-like of shape (n,) or (n, k)
        What A and B predict for these rows: labels, or probabilities.
    classes : sequence, optional
        All classes, in the order of the columns of probabilities. Default: those that occur, sorted.
    names : tuple of str, default=("A", "B")
        What the verdict calls them.
    confidence : float, default=0.95
        Level of the interval; the verdict needs a p value below ``1 - confidence``.
    n_resamples, seed : int
        Of the paired bootstrap, for the interval of the difference.

    Returns
    -------
    Comparison
        Accuracy of B minus that of A with its interval, and McNemar's exact test.

    Raises
    ------
    DataError
        As `score_predictions`.

    Examples
    --------
    >>> from cnnboost.metrics import compare_predictions
    >>> comparison = compare_predictions([0, 1] * 10, [0, 0] * 10, [0, 1] * 10)
    >>> comparison.difference, round(comparison.p_value, 4)
    (0.5, 0.002)
    >>> comparison.verdict
    "B is better than A by 50.00 percentage points (McNemar's exact p = 0.002)"
    """
    _, codes, (proba_a, proba_b) = _read(y, classes, a=a, b=b)
    return compare(
        codes, proba_a, proba_b, names=names, confidence=confidence, n_resamples=n_resamples, seed=seed
    )


def roc_auc(y: ArrayLike, scores: ArrayLike, *, positive: Any = None, confidence: float = 0.95) -> Estimate:
    """Return the area under the ROC curve of one class against the rest, with DeLong's interval.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels: strings, whole numbers or booleans.
    scores : array-like of shape (n,)
        Numbers that are higher the likelier the positive class is: probabilities, margins, ...
    positive : object, optional
        The positive class. Default: of two classes, the second in sorted order.
    confidence : float, default=0.95
        Level of the interval.

    Returns
    -------
    Estimate
        Ties count as half. The interval is DeLong's, on the scale of the log odds; None where all pairs
        agree or one side has a single row.

    Raises
    ------
    DataError
        If shapes do not fit, a score is not finite, or there is no row of the class or none of others.

    Examples
    --------
    >>> from cnnboost.metrics import roc_auc
    >>> roc_auc(["a", "a", "b", "b"], [0.1, 0.4, 0.35, 0.8]).value
    0.75
    """
    from cnnboost.labels import read_labels

    check_level(confidence)
    labels = read_labels(np.asarray(y))
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.shape != labels.shape:
        raise DataError(f"{len(labels)} labels need as many scores; got scores of shape {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(f"score {int(np.argmin(np.isfinite(values)))} is not finite: {values.min()}")
    present = np.unique(labels).tolist()
    if positive is None and len(present) != 2:
        raise DataError(f"there are {len(present)} classes, {present!r}; say which is positive: positive=...")
    chosen = labels == (present[1] if positive is None else positive)
    if chosen.all() or not chosen.any():
        raise DataError(
            f"{np.count_nonzero(chosen)} of {len(chosen)} rows are {positive!r}: an area under a curve needs "
            "rows of the class and rows of others"
        )
    return auc(values[chosen], values[~chosen], confidence)


def calibration_error(
    y: ArrayLike, proba: ArrayLike, *, classes: Sequence[Any] | None = None, bins: int = BINS
) -> float:
    """Return the expected calibration error: how far the top probability is from the accuracy.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels: strings, whole numbers or booleans.
    proba : array-like of shape (n, k)
        Probabilities.
    classes : sequence, optional
        The classes in the order of the columns. Default: those in `y`, sorted.
    bins : int, default=15
        Of equal width, over the top probability; each is weighted by its rows.

    Returns
    -------
    float

    Raises
    ------
    DataError
        As `score_predictions`.

    Examples
    --------
    >>> from cnnboost.metrics import calibration_error
    >>> round(calibration_error(["a", "b"], [[0.9, 0.1], [0.9, 0.1]]), 3)
    0.4
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1; got {bins!r}")
    if np.ndim(proba) != 2:
        raise DataError(f"probabilities of shape (n, k) are needed; got shape {np.shape(proba)}")
    _, codes, (p,) = _read(y, classes, proba=proba)
    return binned_calibration_error(p.max(axis=1), np.asarray(proba).argmax(axis=1) == codes, bins)


def _read(
    y: ArrayLike, classes: Sequence[Any] | None, **predicted: ArrayLike
) -> tuple[list[Any], np.ndarray, list[np.ndarray]]:
    """Return classes, class numbers, and all predictions as probabilities."""
    from cnnboost.labels import encode_labels, find_classes, read_labels

    labels = read_labels(np.asarray(y))
    arrays = {name: np.asarray(one) for name, one in predicted.items()}
    for name, one in arrays.items():
        if one.ndim not in (1, 2) or len(one) != len(labels):
            raise DataError(f"{len(labels)} labels need as many rows; {name} has shape {one.shape}")
    named = {name: read_labels(one) for name, one in arrays.items() if one.ndim == 1}
    try:
        known = find_classes(np.concatenate([labels, *named.values()]), classes)
    except np.exceptions.DTypePromotionError as error:
        raise DataError(f"labels of different kinds cannot be compared: {error}") from error
    kinds = {one.dtype.kind in "US" for one in (labels, *named.values()) if one.dtype != object}
    if len(kinds) > 1:
        raise DataError("labels and predictions are of different kinds, text and numbers; use one kind")
    if len(known) < 2:
        raise DataError(f"there is one class, {known.tolist()!r}; name the others too: classes=[...]")
    proba = [
        np.eye(len(known))[encode_labels(named[name], known, name)]
        if name in named
        else check_proba(one, name, len(known))
        for name, one in arrays.items()
    ]
    return known.tolist(), encode_labels(labels, known), proba
