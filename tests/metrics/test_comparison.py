"""McNemar's exact test, the paired bootstrap, and the verdict in words."""

from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError
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
    assert (got.both_right, got.only_a_right, got.only_b_right, got.both_wrong) == (
        both,
        only_a,
        only_b,
        neither,
    )
    assert got.difference == pytest.approx((only_b - only_a) / n)
    # The definition: both tails of a fair coin thrown for every row that only one gets right.
    thrown, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(thrown, i) for i in range(fewer + 1)) / 2**thrown
    assert got.p_value == pytest.approx(min(1.0, 2 * tail))
    assert got.verdict.startswith("no difference") == (got.p_value >= 0.05)
    low, high = got.difference_interval
    assert -1 <= low <= high <= 1


def test_verdict_names_the_better_one():
    y, a, b = rows(100, 5, 25, 70)
    assert compare(y, a, b, names=("the CNN", "XGBoost at fc1")).verdict == (
        "XGBoost at fc1 is better than the CNN by 10.00 percentage points (McNemar's exact p = 0.00032)"
    )
    assert compare(y, b, a, names=("XGBoost", "the CNN")).verdict.startswith(
        "XGBoost is better than the CNN by"
    )


def test_verdict_says_no_difference_where_there_is_none():
    y, a, b = rows(100, 12, 15, 73)
    got = compare(y, a, b, names=("CNN", "XGBoost"))
    assert got.verdict == (
        "no difference: CNN and XGBoost are 1.50 percentage points apart, which may be chance "
        "(McNemar's exact p = 0.7)"
    )
    low, high = got.difference_interval
    assert low < 0 < high


def test_a_stricter_level_needs_more():
    y, a, b = rows(100, 5, 15, 80)
    assert "is better" in compare(y, a, b).verdict
    assert compare(y, a, b, confidence=0.99).verdict.startswith("no difference")


def test_paired_interval_agrees_with_resampling_the_rows():
    y, a, b = rows(300, 40, 70, 190)
    d = b.argmax(axis=1).astype(float) - a.argmax(axis=1)
    rng = np.random.default_rng(0)
    drawn = [d[rng.integers(0, len(d), len(d))].mean() for _ in range(4000)]
    got = compare(y, a, b).difference_interval
    assert got == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.003)


def test_equal_predictions_with_other_probabilities_are_no_difference():
    y, a, _ = rows(10, 3, 4, 3)
    got = compare(y, a, a * 0.8 + 0.1)
    assert (got.p_value, got.difference, got.difference_interval) == (1.0, 0.0, (0.0, 0.0))
    assert got.verdict == "no difference: A and B are right on the same rows"


def test_to_dict_is_json():
    metadata = compare(*rows(5, 2, 3, 4)).to_dict()
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    assert {"n", "p_value", "difference", "difference_interval", "verdict"} <= set(metadata)


def test_other_rows_or_classes_are_refused():
    y, a, b = rows(5, 2, 3, 4)
    with pytest.raises(DataError, match="proba_a has 14 and proba_b 13"):
        compare(y, a, b[:-1])
    with pytest.raises(DataError, match="proba_b has 3 columns and there are 2 classes"):
        compare(y, a, np.eye(3)[y])
    with pytest.raises(DataError, match="14 rows of probabilities need 14 labels"):
        compare(y[:-1], a, b)
    with pytest.raises(DataError, match="Label 2 of row 0"):
        compare(y + 1, a, b)
    with pytest.raises(DataError, match="Row 0 of proba_b"):
        compare(y, a, b * 2)
