import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.cnn.labels import check_classes, encode, stratified_part
from cnnboost.errors import DataError


@given(
    st.lists(st.sampled_from(["sad", "angry", "happy", "fear"]), min_size=2).filter(lambda y: len(set(y)) > 1)
)
def test_codes_decode_to_the_labels(y):
    classes, codes = encode(y, len(y), None)
    assert classes.tolist() == sorted(set(y))
    assert classes[codes].tolist() == y


@given(st.permutations([-3, 0, 7, 100]))
def test_a_stated_order_is_kept(order):
    y = [100, -3, 7, 7]
    classes, codes = encode(y, 4, order)
    assert classes.tolist() == list(order)
    assert classes[codes].tolist() == y


@pytest.mark.parametrize(
    ("y", "n", "classes", "words"),
    [
        ([0, 1], 3, None, ["3 images", "2 labels"]),
        ([[0, 1], [1, 0]], 2, None, ["(2, 2)"]),
        ([1, 1], 2, None, ["at least two"]),
        ([0.0, np.nan], 2, None, ["label 1", "NaN"]),
        (["a", "c"], 2, ["a", "b"], ["'c'", "image 1", "['a', 'b']"]),
    ],
)
def test_labels_that_do_not_fit_are_named(y, n, classes, words):
    with pytest.raises(DataError) as caught:
        encode(y, n, classes)
    assert all(word in str(caught.value) for word in words)


def test_classes_are_named_once():
    with pytest.raises(DataError, match="twice"):
        check_classes(["a", "b", "a"])
    with pytest.raises(DataError, match="at least two"):
        check_classes(["a"])


def test_the_part_is_stratified_seeded_and_keeps_single_images():
    codes = np.repeat([0, 1, 2], [80, 20, 1])
    kept, held = stratified_part(codes, 0.25, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(101))
    assert np.bincount(codes[held]).tolist() == [20, 5]
    np.testing.assert_array_equal(held, stratified_part(codes, 0.25, seed=3)[1])
    assert not np.array_equal(held, stratified_part(codes, 0.25, seed=4)[1])
    with pytest.raises(DataError, match="validation_fraction"):
        stratified_part(np.array([0, 0, 1, 1]), 0.1, 0)
