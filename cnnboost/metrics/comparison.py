"""Whether one classifier is really better than another on the same rows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.metrics.intervals import Interval, Result, check_level, percentile_interval


@dataclass(frozen=True)
class Comparison(Result):
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
        Paired bootstrap percentile interval: rows are drawn together with what both predicted for them.
    confidence : float
        Level of the interval, and of the verdict.
    verdict : str
        In words. It says "no difference" unless `p_value` is below ``1 - confidence``.

    References
    ----------
    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
       percentages", Psychometrika 12, 1947.

    Examples
    --------
    >>> from cnnboost.metrics import compare_predictions
    >>> found = compare_predictions(["a", "b", "b", "b"], a=["a", "a", "a", "b"], b=["a", "b", "b", "b"])
    >>> found.only_a_right, found.only_b_right, found.both_right
    (0, 2, 2)
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
    """Say whether B is more accurate than A on the same rows, or whether that may be chance."""
    check_level(confidence, n_resamples)
    labels = np.asarray(y)
    right_a, right_b = (np.asarray(proba).argmax(axis=1) == labels for proba in (proba_a, proba_b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n = len(labels)
    p_value = mcnemar(only_a, only_b)
    # Drawing rows with replacement is drawing the three kinds of rows from a multinomial distribution.
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=n_resamples)
    interval = percentile_interval((drawn[:, 1] - drawn[:, 0]) / n, confidence)
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


def over_seeds(name: str, other: str, rows: Sequence[Mapping[str, Any]], confidence: float) -> dict[str, Any]:
    """Summarise comparisons of one classifier with another over several seeds, with a verdict in words."""
    differences, p_values = [row["difference"] for row in rows], [row["p_value"] for row in rows]
    median, mean = statistics.median(p_values), statistics.fmean(differences)
    one_way = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    points = f"{abs(mean) * 100:.2f} percentage points (mean of {len(rows)}; median p = {median:.2g})"
    if one_way and median < 1 - confidence:
        verdict = f"{name} is {'better' if mean > 0 else 'worse'} than {other} by {points}"
    else:
        verdict = f"no difference: {name} and {other} are {points} apart, which may be chance"
    return {
        "difference": mean,
        "lowest_difference": min(differences),
        "highest_difference": max(differences),
        "p_values": p_values,
        "median_p_value": median,
        "verdict": verdict,
    }


def mcnemar(only_a_right: int, only_b_right: int) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Parameters
    ----------
    only_a_right, only_b_right : int
        Rows that one of two classifiers gets right and the other wrong.

    Returns
    -------
    float
        How likely these rows are to be shared out this unevenly when the two are equally accurate.

    Examples
    --------
    >>> from cnnboost.metrics import mcnemar
    >>> round(mcnemar(5, 15), 4)
    0.0414
    """
    from scipy.stats import binomtest

    rows = only_a_right + only_b_right
    return float(binomtest(only_b_right, rows, 0.5).pvalue) if rows else 1.0


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
