from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from cnnboost.errors import DataError
from cnnboost.holdout import drawn, folds_of, folds_of_every_class, hold_out


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


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    share=st.floats(0.05, 1.2),
    seed=st.integers(0, 10),
)
def test_drawn_rows_are_whole_groups_in_the_shares_of_the_classes(counts, share, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    groups = np.arange(len(codes))
    rows = np.random.default_rng(seed).permutation(np.tile(groups, 2))  # two views of each image
    n = max(1, round(share * len(codes)))
    chosen = drawn(codes[rows], rows, n, seed)
    images = np.unique(rows[chosen])
    assert len(chosen) == 2 * len(images)
    assert len(images) == min(n, len(codes))
    for code, count in enumerate(counts):
        assert abs((codes[images] == code).sum() - min(n, len(codes)) * count / len(codes)) <= 1


def test_draws_of_more_images_keep_those_of_fewer():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    draws = [set(drawn(codes, np.arange(300), n, 0)) for n in (50, 100, 200)]
    assert len(draws[0] & draws[1]) >= 48  # shares of classes are rounded
    assert len(draws[1] & draws[2]) >= 98
    assert set(drawn(codes, np.arange(300), 50, 1)) != draws[0]


def test_a_fold_with_too_few_images_of_a_class_is_refused():
    codes = np.array([0] * 30 + [1] * 6)
    groups = np.arange(36)
    sides = folds_of_every_class(codes, groups, 3, 0, ["cat", "dog"], 2)
    assert [int((codes[held] == 1).sum()) for _, held in sides] == [2, 2, 2]
    with pytest.raises(DataError, match=r"fold 1 of 3 has 2 different images of class dog.*takes 3"):
        folds_of_every_class(codes, groups, 3, 0, ["cat", "dog"], 3)
    copies = np.where(codes == 1, 36 + groups % 2, groups)
    with pytest.raises(DataError, match="class dog has 2 different images, and 3 folds need 3"):
        folds_of_every_class(codes, copies, 3, 0, ["cat", "dog"])


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(10, 25), min_size=2, max_size=10),
    copies=st.integers(1, 4),
    folds=st.integers(2, 6),
    seed=st.integers(0, 10),
)
def test_folds_are_those_of_scikit_learn(counts, copies, folds, seed):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(sum(counts)), rng.integers(0, sum(counts), copies * 10)])
    codes = np.repeat(np.arange(len(counts)), counts)[groups]
    found = folds_of(codes, groups, folds, seed)
    wanted = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(codes, codes, groups)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
