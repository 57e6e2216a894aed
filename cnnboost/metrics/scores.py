"""What a classifier is worth on given rows, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.metrics.intervals import (
    Estimate,
    Result,
    check_level,
    check_proba,
    percentile_interval,
    wilson_interval,
)

BINS = 15
"""Of the calibration error."""
_NEARLY_ALL, _MOST = 0.9, 0.8
FOREIGN_CAUSES = (
    "the scale of its pixels (--pixels) and the order of its outputs (--classes), the commonest causes with "
    "a model file from elsewhere"
)
"""What to look at first where a network that predicts one class was trained elsewhere."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class.

    Attributes
    ----------
    name : str
        The class.
    support : int
        Rows whose label it is.
    precision, recall : Estimate
        With Wilson's score interval. 0 without an interval where undefined: precision of a class that is
        never predicted, recall of one without rows.
    f1 : Estimate
        With the bootstrap percentile interval.

    Examples
    --------
    >>> from cnnboost.metrics import score_predictions
    >>> cat, dog = score_predictions(["cat", "dog", "dog"], ["cat", "dog", "cat"]).per_class
    >>> cat.name, cat.support, cat.precision.value, cat.recall.value
    ('cat', 1, 0.5, 1.0)
    """

    name: str
    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Scores(Result):
    """Scores on one set of rows.

    Attributes
    ----------
    n : int
        Number of rows.
    confidence : float
        Level of every interval.
    accuracy : Estimate
        Share of rows whose most probable class is the label; with Wilson's score interval.
    macro_f1 : Estimate
        Mean F1 over the classes that have rows.
    average_class_accuracy : Estimate
        Mean recall over the classes that have rows: what facial expression recognition calls average
        accuracy, and scikit-learn balanced accuracy. It counts a rare class as much as a frequent one.
    log_loss : Estimate or None
        Mean negative natural logarithm of the probability given to the label.
    calibration_error : Estimate or None
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

    Examples
    --------
    >>> from cnnboost.metrics import score_predictions
    >>> scores = score_predictions(["cat", "dog", "dog"], ["cat", "dog", "cat"])
    >>> scores.n, scores.confusion
    (3, ((1, 0), (1, 1)))
    >>> scores.log_loss is None  # of labels alone
    True
    """

    n: int
    confidence: float
    accuracy: Estimate
    macro_f1: Estimate
    average_class_accuracy: Estimate
    log_loss: Estimate | None
    calibration_error: Estimate | None
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


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
    """
    from sklearn import metrics

    check_level(confidence, n_resamples)
    names = [str(name) for name in classes]
    p = check_proba(proba, "proba", len(names))
    labels, predicted = np.asarray(y), np.asarray(proba).argmax(axis=1)
    every = np.arange(len(names))
    confusion = metrics.confusion_matrix(labels, predicted, labels=every)
    recall, f1 = _recall_and_f1(confusion)
    spread = _bootstrap(labels, predicted, p, confidence, n_resamples, seed)
    per_class = tuple(
        ClassScores(
            name=name,
            support=int(confusion[i].sum()),
            precision=_share(confusion[i, i], confusion[:, i].sum(), confidence),
            recall=_share(confusion[i, i], confusion[i].sum(), confidence),
            f1=Estimate(float(np.nan_to_num(f1[i])), None if np.isnan(f1[i]) else spread["f1"][i]),
        )
        for i, name in enumerate(names)
    )
    return Scores(
        n=len(labels),
        confidence=confidence,
        accuracy=_share(np.trace(confusion), len(labels), confidence),
        macro_f1=Estimate(float(np.nanmean(f1)), spread["macro_f1"]),
        average_class_accuracy=Estimate(float(np.nanmean(recall)), spread["average_class_accuracy"]),
        log_loss=Estimate(float(metrics.log_loss(labels, p, labels=every)), spread["log_loss"]),
        calibration_error=Estimate(binned_calibration_error(p.max(axis=1), predicted == labels)),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _share(right: int, of: int, confidence: float) -> Estimate:
    return Estimate(float(right / of) if of else 0.0, wilson_interval(right, of, confidence))


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
    recall, f1 = _recall_and_f1(counts.reshape(-1, k, k))
    drawn = ~np.isnan(f1).all(axis=0)
    return {
        "macro_f1": percentile_interval(np.nanmean(f1, axis=1), confidence),
        "average_class_accuracy": percentile_interval(np.nanmean(recall, axis=1), confidence),
        "log_loss": percentile_interval(losses, confidence),
        "f1": [percentile_interval(f1[:, i], confidence) if drawn[i] else None for i in range(k)],
    }


def _recall_and_f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both of each class, from one confusion matrix or many; NaN where a class has no rows."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    nothing = np.full(true.shape, np.nan)
    recall = np.divide(hits, true, out=nothing.copy(), where=true > 0)
    return recall, np.divide(2 * hits, true + predicted, out=nothing, where=true > 0)


def binned_calibration_error(top: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error from the top probabilities and whether they were right."""
    # Bins are open below and closed above, as in the source: (0, 1/15], (1/15, 2/15], ...
    places = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(places, weights=right - top, minlength=bins)
    return float(np.abs(gap).sum() / len(top))


@dataclass(frozen=True)
class Collapse:
    """One class that nearly every prediction is."""

    name: str
    share: float
    label_share: float

    def __str__(self) -> str:
        """Return a sentence without its subject: `predicts happy for 97.2% of the images (...)`."""
        return f"predicts {self.name} for {self.share:.1%} of the images (true share {self.label_share:.1%})"

    def to_dict(self) -> dict[str, Any]:
        """Return class and share as JSON can hold them."""
        return {"class": self.name, "share": self.share}


def find_collapse(
    confusion: Sequence[Sequence[int]] | np.ndarray, classes: Sequence[object]
) -> Collapse | None:
    """Look for one class that nearly all predictions are, although the labels are not.

    At least 90 % of the predictions are the class and fewer than 90 % of the labels, or at least 80 % of the
    predictions and at most half as many labels; and the other classes are predicted at most half as often as
    they occur.
    """
    counts = np.asarray(confusion)
    n = int(counts.sum())
    if n == 0:
        return None
    predicted = counts.sum(axis=0)
    top = int(predicted.argmax())
    n_predicted, n_true = int(predicted[top]), int(counts[top].sum())
    one_sided = n_predicted >= _NEARLY_ALL * n > n_true
    one_sided |= n_predicted >= max(_MOST * n, 2 * n_true)
    if not one_sided or 2 * (n - n_predicted) > n - n_true:
        return None
    return Collapse(str(classes[top]), n_predicted / n, n_true / n)
