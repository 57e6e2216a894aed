"""Probabilities that can be scored, and the intervals that every score uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnboost.errors import DataError

Interval = tuple[float, float]

_NOISE = 1e-12
_SUM_TOLERANCE = 1e-3  # a float16 softmax over a few classes stays well inside


@dataclass(frozen=True)
class Result:
    """A dataclass of numbers."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; the keys are the attributes."""
        metadata: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return metadata


@dataclass(frozen=True)
class Estimate(Result):
    """A score and how sure it is.

    Attributes
    ----------
    value : float
        On the rows that were scored.
    interval : tuple of float or None
        Confidence interval, or None where there is nothing to estimate one from.

    Examples
    --------
    >>> from cnnboost.metrics import score_predictions
    >>> score_predictions(["cat", "dog"], ["cat", "dog"]).accuracy.value
    1.0
    """

    value: float
    interval: Interval | None = None


def check_level(confidence: float, n_resamples: int = 1) -> None:
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
            f"Row {row} of {name} is not a probability distribution: {values} sums to {total[row]:.4g}. "
            "Give softmax outputs, not logits or votes."
        )
    return p / total[:, None]


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
        None where `of` is 0.

    Examples
    --------
    >>> from cnnboost.metrics import wilson_interval
    >>> [round(edge, 3) for edge in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    from scipy.stats import binomtest

    if of == 0:
        return None
    interval = binomtest(int(right), int(of)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def logit_interval(value: float, error: float, confidence: float) -> Interval | None:
    """Return the interval of a share from its standard error, symmetric in its log odds."""
    from scipy.special import expit, logit
    from scipy.stats import norm

    # A sum of shares may miss 1 by its last bits, whose log odds are noise.
    if not _NOISE < value < 1 - _NOISE or not error > 0:
        return None
    reach = norm.ppf((1 + confidence) / 2) * error / (value * (1 - value))
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def percentile_interval(values: np.ndarray, confidence: float) -> Interval:
    """Return the middle of a bootstrap distribution; resamples whose value is NaN are ignored."""
    edge = (1 - confidence) / 2
    low, high = np.nanquantile(values, [edge, 1 - edge])
    return float(low), float(high)


def bootstrap_interval(
    statistic: Callable[..., float],
    *rows: ArrayLike,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the bootstrap percentile interval of any statistic of rows.

    Parameters
    ----------
    statistic : callable
        Takes as many arrays as `rows` has and returns a number.
    *rows : array-like of shape (n, ...)
        Labels, predictions, ...; the same rows of all of them are drawn together, with replacement.
    confidence : float, default=0.95
    n_resamples, seed : int

    Returns
    -------
    tuple of float
        Draws for which the statistic is NaN are ignored.

    Raises
    ------
    DataError
        If the arrays have no rows, or not equally many.

    Examples
    --------
    >>> import numpy as np
    >>> from cnnboost.metrics import bootstrap_interval
    >>> y, predicted = np.array([0, 1] * 50), np.array([0, 1, 1, 1] * 25)
    >>> low, high = bootstrap_interval(lambda y, predicted: np.mean(y == predicted), y, predicted)
    >>> round(low, 2), round(high, 2)
    (0.66, 0.83)
    """
    check_level(confidence, n_resamples)
    arrays = [np.asarray(one) for one in rows]
    counts = {len(one) if one.ndim else 0 for one in arrays}
    if len(counts) != 1 or counts == {0}:
        raise DataError(f"the bootstrap draws the same rows of all arrays; these have {sorted(counts)} rows")
    (n,) = counts
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, n, n) for _ in range(n_resamples))
    values = np.array([statistic(*(one[chosen] for one in arrays)) for chosen in drawn], np.float64)
    return percentile_interval(values, confidence)
