"""What a classifier is worth on given rows, with intervals, and whether another one is really better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cnnboost.errors import DataError

Interval = tuple[float, float]

_BINS = 15
_SUM_TOLERANCE = 1e-3  # a float16 softmax over a few classes stays well inside


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; the intervals are None where there is nothing to estimate from.

    Attributes
    ----------
    name : str
        The class.
    support : int
        Rows whose label it is.
    precision, recall, f1 : float
        0 where undefined: precision of a class that is never predicted, recall of one without rows.
    precision_interval, recall_interval : tuple of float or None
        Wilson score interval.
    f1_interval : tuple of float or None
        Bootstrap percentile interval.
    """

    name: str
    support: int
    precision: float
    precision_interval: Interval | None
    recall: float
    recall_interval: Interval | None
    f1: float
    f1_interval: Interval | None


@dataclass(frozen=True)
class Scores:
    """Scores on one set of rows.

    Attributes
    ----------
    n : int
        Number of rows.
    confidence : float
        Level of every interval.
    accuracy : float
        Share of rows whose most probable class is the label; with Wilson's score interval.
    macro_f1 : float
        Mean F1 over the classes that have rows.
    average_class_accuracy : float
        Mean recall over the classes that have rows: what facial expression recognition calls average
        accuracy, and scikit-learn balanced accuracy. It counts a rare class as much as a frequent one.
    log_loss : float
        Mean negative natural logarithm of the probability given to the label.
    calibration_error : float
        Expected calibration error [1]_: how far the top probability is from the accuracy, averaged over
        the rows in 15 bins of equal width. It has no interval: resampling adds spread within the bins and so
        moves this score upwards, and an interval from it would not be centred on the score.
    per_class : tuple of ClassScores
        In the order of the classes.
    confusion : tuple of tuple of int
        Rows are labels, columns predictions, both in the order of the classes.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks",
       ICML 2017.
    """

    n: int
    confidence: float
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    average_class_accuracy: float
    average_class_accuracy_interval: Interval
    log_loss: float
    log_loss_interval: Interval
    calibration_error: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON can hold them; the keys are the attributes."""
        return _plain(asdict(self))


@dataclass(frozen=True)
class Comparison:
    """Two classifiers, A and B, on the same rows.

    Attributes
    ----------
    n : int
        Number of rows.
    both_right, only_a_right, only_b_right, both_wrong : int
        Rows.
    p_value : float
        McNemar's exact test [1]_, two-sided: how likely the rows that only one of the two gets right are to
        be shared out this unevenly when the two are equally accurate.
    difference : float
        Accuracy of B minus accuracy of A.
    difference_interval : tuple of float
        Paired bootstrap percentile interval: rows are drawn together with what both said about them.
    confidence : float
        Level of the interval, and of the verdict.
    verdict : str
        In words. It says "no difference" unless `p_value` is below ``1 - confidence``.

    References
    ----------
    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
       percentages", Psychometrika 12, 1947.
    """

    n: int
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    p_value: float
    difference: float
    difference_interval: Interval
    confidence: float
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON can hold it; the keys are the attributes."""
        return _plain(asdict(self))


def score(
    y: Sequence[int] | np.ndarray,
    proba: np.ndarray,
    classes: Sequence[object],
    *,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score probabilities against labels.

    Point values are scikit-learn's. A class without rows is left out of the means; where a score of a
    single class is undefined it is 0, as scikit-learn's ``zero_division=0`` has it.

    Parameters
    ----------
    y : array-like of shape (n,), int
        Labels, as indices into `classes`.
    proba : array of shape (n, n_classes), float
        Probabilities in the order of `classes`; each row sums to 1. The prediction is the most probable
        class, the first one where several are.
    classes : sequence
        Class names.
    confidence : float, default=0.95
        Level of the intervals.
    n_resamples : int, default=1000
        Bootstrap samples of the rows, for the intervals that have no formula.
    seed : int, default=0
        Seed of the bootstrap.

    Returns
    -------
    Scores

    Raises
    ------
    DataError
        If shapes do not fit, a label is out of range, or a row is no probability distribution.

    Examples
    --------
    >>> import numpy as np
    >>> scores = score([0, 1, 1], np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), ["angry", "happy"])
    >>> round(scores.accuracy, 3), scores.confusion
    (0.667, ((1, 0), (1, 1)))
    >>> [round(edge, 2) for edge in scores.accuracy_interval]
    [0.21, 0.94]
    """
    from sklearn import metrics

    _check_level(confidence, n_resamples)
    names = [str(name) for name in classes]
    p = _check_proba(proba, "proba", len(names))
    labels = _check_labels(y, len(p), names)
    predicted = p.argmax(axis=1)
    every = np.arange(len(names))
    present = np.unique(labels)
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    spread = _bootstrap(labels, predicted, p, confidence, n_resamples, seed)
    per_class = tuple(
        ClassScores(
            name=name,
            support=int(support[i]),
            precision=float(precision[i]),
            precision_interval=_wilson(confusion[i, i], confusion[:, i].sum(), confidence),
            recall=float(recall[i]),
            recall_interval=_wilson(confusion[i, i], confusion[i].sum(), confidence),
            f1=float(f1[i]),
            f1_interval=spread["f1"][i] if support[i] else None,
        )
        for i, name in enumerate(names)
    )
    right = int(np.trace(confusion))
    accuracy_interval = _wilson(right, len(labels), confidence)
    assert accuracy_interval is not None  # there is at least one row
    return Scores(
        n=len(labels),
        confidence=confidence,
        accuracy=float(metrics.accuracy_score(labels, predicted)),
        accuracy_interval=accuracy_interval,
        macro_f1=float(f1[present].mean()),
        macro_f1_interval=spread["macro_f1"],
        average_class_accuracy=float(recall[present].mean()),
        average_class_accuracy_interval=spread["average_class_accuracy"],
        log_loss=float(metrics.log_loss(labels, p, labels=every)),
        log_loss_interval=spread["log_loss"],
        calibration_error=_calibration_error(p.max(axis=1), predicted == labels),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def compare(
    y: Sequence[int] | np.ndarray,
    proba_a: np.ndarray,
    proba_b: np.ndarray,
    *,
    names: tuple[str, str] = ("A", "B"),
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Say whether B is more accurate than A on the same rows, or whether that may be chance.

    Parameters
    ----------
    y : array-like of shape (n,), int
        Labels, as column numbers of the probabilities.
    proba_a, proba_b : array of shape (n, n_classes), float
        Probabilities of A and of B for the same rows in the same order.
    names : tuple of str, default=("A", "B")
        What the verdict calls them.
    confidence : float, default=0.95
        Level of the interval; the verdict needs a p value below ``1 - confidence``.
    n_resamples : int, default=10_000
        Bootstrap samples of the rows.
    seed : int, default=0
        Seed of the bootstrap.

    Returns
    -------
    Comparison

    Raises
    ------
    DataError
        If shapes do not fit, a label is out of range, or a row is no probability distribution.

    Examples
    --------
    >>> import numpy as np
    >>> sure = np.eye(2)[[0, 1, 0, 1]]
    >>> compare([0, 1, 0, 0], sure, sure).verdict
    'no difference: A and B are right on the same rows'
    """
    from scipy.stats import binomtest

    _check_level(confidence, n_resamples)
    a = _check_proba(proba_a, "proba_a")
    b = _check_proba(proba_b, "proba_b", a.shape[1])
    if len(a) != len(b):
        raise DataError(f"Only the same rows can be compared; proba_a has {len(a)} and proba_b {len(b)}.")
    labels = _check_labels(y, len(a), list(range(a.shape[1])))
    right_a, right_b = a.argmax(axis=1) == labels, b.argmax(axis=1) == labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n = len(labels)
    p_value = float(binomtest(only_b, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
    # Drawing rows with replacement is drawing the three kinds of rows from a multinomial distribution.
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=n_resamples)
    interval = _percentiles((drawn[:, 1] - drawn[:, 0]) / n, confidence)
    difference = (only_b - only_a) / n
    return Comparison(
        n=n,
        both_right=int((right_a & right_b).sum()),
        only_a_right=only_a,
        only_b_right=only_b,
        both_wrong=int((~right_a & ~right_b).sum()),
        p_value=p_value,
        difference=difference,
        difference_interval=interval,
        confidence=confidence,
        verdict=_verdict(names, only_a, only_b, p_value, difference, confidence),
    )


def _verdict(
    names: tuple[str, str], only_a: int, only_b: int, p_value: float, difference: float, confidence: float
) -> str:
    a, b = names
    if only_a + only_b == 0:
        return f"no difference: {a} and {b} are right on the same rows"
    p = f"McNemar's exact p = {p_value:.2g}"
    points = f"{abs(difference) * 100:.2f} percentage points"
    if p_value >= 1 - confidence:
        return f"no difference: {a} and {b} are {points} apart, which may be chance ({p})"
    better, worse = (b, a) if difference > 0 else (a, b)
    return f"{better} is better than {worse} by {points} ({p})"


def _check_level(confidence: float, n_resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence!r}.")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1; got {n_resamples!r}.")


def _check_proba(proba: np.ndarray, name: str, n_classes: int | None = None) -> np.ndarray:
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


def _check_labels(y: Sequence[int] | np.ndarray, rows: int, classes: Sequence[object]) -> np.ndarray:
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


def _wilson(right: int, of: int, confidence: float) -> Interval | None:
    from scipy.stats import binomtest

    if of == 0:
        return None
    found = binomtest(int(right), int(of)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def _percentiles(values: np.ndarray, confidence: float) -> Interval:
    edge = (1 - confidence) / 2
    low, high = np.nanquantile(values, [edge, 1 - edge])
    return float(low), float(high)


def _bootstrap(
    labels: np.ndarray, predicted: np.ndarray, p: np.ndarray, confidence: float, n_resamples: int, seed: int
) -> dict[str, Any]:
    """Percentile intervals from drawing the rows again, with replacement."""
    n, k = p.shape
    rng = np.random.default_rng(seed)
    cell = labels * k + predicted
    given = p[np.arange(n), labels]
    loss = -np.log(np.maximum(given, np.finfo(np.float64).eps))  # clipped as scikit-learn does
    counts = np.empty((n_resamples, k * k))
    losses = np.empty(n_resamples)
    for i in range(n_resamples):
        rows = rng.integers(0, n, n)
        counts[i] = np.bincount(cell[rows], minlength=k * k)
        losses[i] = loss[rows].mean()
    confusion = counts.reshape(-1, k, k)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    true, guessed = confusion.sum(axis=2), confusion.sum(axis=1)
    # As in the point values, a class that was not drawn is left out of the means.
    there = true > 0
    recall = np.divide(hits, true, out=np.full_like(true, np.nan), where=there)
    f1 = np.divide(2 * hits, true + guessed, out=np.full_like(true, np.nan), where=there)
    return {
        "macro_f1": _percentiles(np.nanmean(f1, axis=1), confidence),
        "average_class_accuracy": _percentiles(np.nanmean(recall, axis=1), confidence),
        "log_loss": _percentiles(losses, confidence),
        "f1": [_percentiles(f1[:, i], confidence) if there[:, i].any() else None for i in range(k)],
    }


def _calibration_error(top: np.ndarray, right: np.ndarray) -> float:
    # Bins are open below and closed above, as in the source: (0, 1/15], (1/15, 2/15], ...
    bins = np.clip(np.ceil(top * _BINS).astype(int) - 1, 0, _BINS - 1)
    gap = np.bincount(bins, weights=right - top, minlength=_BINS)
    return float(np.abs(gap).sum() / len(top))


def _plain(value: Any) -> Any:
    """Tuples as lists: what comes back from JSON equals what went in."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value
