"""McNemar's exact test, the paired bootstrap, and the verdict in words."""

from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.metrics.comparison import compare


def rows(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and sure predictions of A and B with these numbers of rows."""
    right_a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    right_b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    return np.ones(len(right_a), int), np.eye(2)[right_a], np.eye(2)[right_b]


@given(*[st.integers(0, 40)] * 4)
@settings(max_examples=60, deadline=None)
def test_counts_p_and_difference(both, only_a, only_b, neither):
    n = both + only_a + only_b + neither
    if n == 0:
        return
    got = compare(*rows(both, only_a, only_b, neither), n_resamples=200)
    counts = (got.both_right, got.only_a_right, got.only_b_right, got.both_wrong)
    assert counts == (both, only_a, only_b, neither)
    assert got.difference == pytest.approx((only_b - only_a) / n)
    # The definition: both tails of a fair coin thrown for every row that only one gets right.
    thrown, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(thrown, i) for i in range(fewer + 1)) / 2**thrown
    assert got.p_value == pytest.approx(min(1.0, 2 * tail))
    assert got.verdict.startswith("no difference") == (got.p_value >= 0.05)
    low, high = got.difference_interval
    assert -1 <= low <= high <= 1
    metadata = got.to_dict()
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata


@pytest.mark.parametrize(
    ("counts", "confidence", "verdict"),
    [
        ((5, 25), 0.95, "B is better than A by 10.00 percentage points (McNemar's exact p = 0.00032)"),
        ((25, 5), 0.95, "A is better than B by 10.00 percentage points (McNemar's exact p = 0.00032)"),
        (
            (5, 15), 0.99,
            "no difference: A and B are 5.00 percentage points apart, which may be chance "
            "(McNemar's exact p = 0.041)",
        ),
        ((0, 0), 0.95, "no difference: A and B are right on the same rows"),
    ],
)  # fmt: skip
def test_the_verdict(counts, confidence, verdict):
    y, a, b = rows(100, *counts, 100 - sum(counts))
    assert compare(y, a, b, confidence=confidence).verdict == verdict


def test_paired_interval_agrees_with_resampling_the_rows():
    y, a, b = rows(300, 40, 70, 190)
    d = b.argmax(axis=1).astype(float) - a.argmax(axis=1)
    rng = np.random.default_rng(0)
    drawn = [d[rng.integers(0, len(d), len(d))].mean() for _ in range(4000)]
    got = compare(y, a, b).difference_interval
    assert got == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.003)
