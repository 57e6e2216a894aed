from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import DataError, ParameterError
from cnnboost.labels import (
    class_factors,
    encode_labels,
    find_classes,
    image_codes,
    image_weights,
    read_labels,
)


def test_classes_are_sorted_unless_they_are_listed():
    y = np.array(["sad", "happy"])
    assert find_classes(y, None).tolist() == ["happy", "sad"]
    assert find_classes(y, ["sad", "angry", "happy"]).tolist() == ["sad", "angry", "happy"]
    assert find_classes(y, np.array([2, 1])).tolist() == [2, 1]
    assert find_classes(y, range(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("classes", "complaint"),
    [
        ([], "not a list"),
        ("sad", "not a list"),
        (3, "not a list"),
        (["sad", 1], "mixes"),
        ([[1, 2], [3, 4]], "mixes"),
        (["sad", "happy", "sad"], "sad more than once"),
    ],
)
def test_an_impossible_list_of_classes_is_refused(classes, complaint):
    with pytest.raises(ParameterError, match=complaint):
        find_classes(np.array(["sad"]), classes)


def test_a_missing_label_is_named():
    with pytest.raises(DataError, match="no label at row 1"):
        read_labels(np.array(["sad", None, "sad"], dtype=object))


def test_labels_that_cannot_be_sorted_are_refused():
    with pytest.raises(DataError, match="mixes labels"):
        find_classes(np.array(["sad", 1], dtype=object), None)


def test_encoding_follows_the_order_of_the_classes():
    codes = encode_labels(np.array([5, -1, 5, 9]), np.array([9, 5, -1]))
    assert codes.tolist() == [1, 2, 1, 0]


def test_a_foreign_label_is_named_with_its_row():
    with pytest.raises(DataError, match=r"label 'calm' of y \(first at row 2\).*\['sad', 'happy'\]"):
        encode_labels(np.array(["sad", "happy", "calm"]), np.array(["sad", "happy"]))


def test_balanced_gives_each_class_with_rows_the_same_total():
    codes = np.array([0, 0, 0, 2])
    weight = np.array([1, 1, 2, 1], dtype=np.float32)
    factors = class_factors(codes, np.array(list("abc")), "balanced", weight)
    totals = np.bincount(codes, weights=weight * factors[codes], minlength=3)
    assert totals.tolist() == [2.5, 0, 2.5]


def test_a_class_that_the_mapping_leaves_out_weighs_one():
    assert class_factors(np.array([0]), np.array(["a", "b"]), {"b": 3}, None).tolist() == [1, 3]


def test_a_mapping_may_name_a_class_that_the_fold_lacks():
    classes = np.array(["a", "b"])
    assert class_factors(np.array([0]), classes, {"a": 2, "b": 3, "c": 4}, None).tolist() == [2, 3]


def test_numbers_among_objects_become_numbers_again():
    assert read_labels(np.array([3, 5], dtype=object)).dtype == np.int64
    assert read_labels(np.array([True, False], dtype=object)).dtype == bool
    assert read_labels(np.array(["a", "b"], dtype=object)).dtype == object
    with pytest.raises(ValueError, match="Unknown label type"):
        read_labels(np.array([0.5, 0.25]))


@pytest.mark.parametrize(
    ("class_weight", "complaint"),
    [
        ("even", "use 'balanced'"),
        ([1, 2], "use 'balanced'"),
        ({"a": -1}, "'a' is -1"),
        ({"a": np.nan}, "'a' is nan"),
        ({"a": "x"}, "'a' is 'x'"),
        ({"A": 2}, r"names \['A'\], which is none of the classes \['a', 'b'\]"),
    ],
)
def test_an_impossible_class_weight_is_refused(class_weight, complaint):
    with pytest.raises(ParameterError, match=complaint):
        class_factors(np.array([0, 1]), np.array(["a", "b"]), class_weight, None)


@given(
    st.lists(st.sampled_from(["sad", "angry", "happy", "fear"]), min_size=2).filter(lambda y: len(set(y)) > 1)
)
def test_codes_decode_to_the_labels(y):
    classes, codes = image_codes(y, len(y), None)
    assert classes.tolist() == sorted(set(y))
    assert classes[codes].tolist() == y


@given(st.permutations([-3, 0, 7, 100]))
def test_a_stated_order_is_kept(order):
    y = np.array([[100], [-3], [7], [7]])
    classes, codes = image_codes(y, 4, order)
    assert classes.tolist() == list(order)
    assert classes[codes].tolist() == y.ravel().tolist()


@pytest.mark.parametrize(
    ("y", "n", "classes", "words"),
    [
        ([0, 1], 3, None, ["3 images", "2 labels"]),
        ([[0, 1], [1, 0]], 2, None, ["(2, 2)"]),
        ([1, 1], 2, None, ["at least two"]),
        ([1, 1], 2, [1], ["at least two"]),
        ([0.0, np.nan], 2, None, ["row 1", "NaN"]),
        (["a", "c"], 2, ["a", "b"], ["'c'", "row 1", "['a', 'b']"]),
    ],
)
def test_labels_that_do_not_fit_the_images_are_named(y, n, classes, words):
    with pytest.raises(DataError) as caught:
        image_codes(y, n, classes)
    assert all(word in str(caught.value) for word in words)


def test_weights_of_images_are_those_of_their_classes_times_their_own():
    codes, classes = np.array([0, 1, 1, 1]), np.array(["a", "b"])
    assert image_weights(codes, classes, None, None) is None
    assert image_weights(codes, classes, None, [1, 2, 3, 4]).tolist() == [1, 2, 3, 4]
    assert image_weights(codes, classes, "balanced", None).tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert image_weights(codes, classes, {"a": 4}, [1, 2, 3, 4]).tolist() == [4, 2, 3, 4]
    with pytest.raises(DataError, match="there are 4 images"):
        image_weights(codes, classes, None, [1, 2])
