from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from cnnboost.errors import DataError
from cnnboost.metrics.scores import find_collapse

CLASSES = ["angry", "happy", "sad"]


def test_nearly_everything_called_happy_is_noticed():
    found = find_collapse([[1, 29, 0], [0, 25, 0], [0, 43, 2]], CLASSES)
    assert found is not None
    assert found.to_dict() == {"class": "happy", "share": 0.97}
    assert str(found) == "predicts happy for 97.0% of the images (true share 25.0%)"
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "confusion",
    [
        [[30, 0, 0], [0, 25, 0], [0, 0, 45]],  # all right
        [[0, 30, 0], [0, 25, 0], [0, 34, 11]],  # 89 % of the predictions
        [[0, 5, 0], [0, 90, 0], [0, 5, 0]],  # 90 % of the labels are happy too
        [[6, 0, 0], [0, 89, 0], [1, 4, 0]],  # the rest is rare, and found more often than not
        [[0, 0, 0], [0, 7, 0], [0, 0, 0]],  # only one class there
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ],
)
def test_others_are_not(confusion):
    assert find_collapse(confusion, CLASSES) is None


def test_nine_tenths_are_nearly_all():
    assert find_collapse([[5, 35, 0], [0, 25, 0], [5, 30, 0]], CLASSES).share == 0.9


def test_a_matrix_of_other_classes_is_refused():
    with pytest.raises(DataError, match=r"\(2, 2\).*3 classes"):
        find_collapse([[1, 0], [0, 1]], CLASSES)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    guesses=st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_what_is_found_is_there(labels, guesses):
    y, predicted = np.array(labels), np.array(guesses[: len(labels)])
    names = ["a", "b", "c", "d"]
    found = find_collapse(confusion_matrix(y, predicted, labels=range(4)), names)
    shares = np.bincount(predicted, minlength=4) / len(y)
    if found is None:
        top = shares.argmax()
        others = (y != top).mean()
        assert shares[top] < 0.9 or others <= 0.1 or (predicted != top).mean() > others / 2
    else:
        code = names.index(found.name)
        assert found.share == shares[code] >= 0.9
        assert found.label_share == (y == code).mean() < 0.9


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 3))
def test_a_perfect_classifier_never_collapses_and_a_constant_one_does(labels, constant):
    y = np.array(labels)
    matrix = confusion_matrix(y, y, labels=range(4))
    assert find_collapse(matrix, "abcd") is None
    matrix = confusion_matrix(y, np.full(len(y), constant), labels=range(4))
    assert (find_collapse(matrix, "abcd") is None) == ((y == constant).mean() >= 0.9)
