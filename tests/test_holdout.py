from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.holdout import hold_out


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(lambda counts: max(counts) >= 2),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 10),
)
def test_the_split_is_a_stratified_partition(counts, fraction, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    X = np.arange(2 * len(codes), dtype=np.float32).reshape(-1, 2)
    train, watched = hold_out(X, codes, fraction=fraction, seed=seed)
    assert sorted([*train, *watched]) == list(range(len(codes)))
    assert len(watched) >= 1
    room = sum(max(count - 1, 0) for count in counts)
    assert len(watched) == min(max(1, round(fraction * len(codes))), room)
    for code, count in enumerate(counts):
        held = int((codes[watched] == code).sum())
        assert held <= max(count - 1, 0), "every class keeps a row for training"
        if held < count - 1:
            assert held >= np.floor(len(watched) / len(codes) * count)


def test_the_seed_decides_and_the_order_of_rows_does_not():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)).astype(np.float32)
    codes = rng.integers(0, 3, 200)
    _, first = hold_out(X, codes, fraction=0.2, seed=1)
    _, again = hold_out(X, codes, fraction=0.2, seed=1)
    _, other = hold_out(X, codes, fraction=0.2, seed=2)
    assert np.array_equal(first, again)
    images = np.asarray(X).reshape(200, 1, 3, 1)
    assert np.array_equal(first, hold_out(images, codes, fraction=0.2, seed=1)[1])
    assert not np.array_equal(first, other)
    order = rng.permutation(200)
    _, shuffled = hold_out(X[order], codes[order], fraction=0.2, seed=1)
    assert set(order[shuffled]) == set(first)


def test_copies_of_a_row_stay_on_one_side():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(40, 3)).astype(np.float32), 3, axis=0)
    train, watched = hold_out(X, np.repeat([0, 1], 60), fraction=0.25, seed=0)
    assert len(watched) == 30
    assert not {row.tobytes() for row in X[train]} & {row.tobytes() for row in X[watched]}


@pytest.mark.parametrize("codes", [[0], [0, 1, 2]])
def test_nothing_to_hold_out_is_an_error_with_a_remedy(codes):
    X = np.eye(len(codes), dtype=np.float32)
    with pytest.raises(DataError, match="pass validation_data"):
        hold_out(X, np.array(codes), fraction=0.5, seed=0)
