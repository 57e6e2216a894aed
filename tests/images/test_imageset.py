import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.images import ImageSet

N = 60


@pytest.fixture
def images(rng) -> ImageSet:
    X = rng.integers(0, 256, (N, 4, 5, 1), dtype=np.uint8)
    y = np.arange(N) % 3
    splits = ["train"] * 45 + ["test"] * 15
    return ImageSet.from_arrays(X, y, classes=["a", "b", "c"], splits=splits, source="toy")


def test_splits_show_their_rows(images):
    assert images.split_names == ("train", "test")
    assert images.shape == (N, 4, 5, 1)
    test = images.test
    assert test.rows.tolist() == list(range(45, N))
    np.testing.assert_array_equal(test.X, images.X[45:])
    np.testing.assert_array_equal(test.y, images.y[45:])
    assert test.labels.tolist() == [images.classes[k] for k in test.y]
    assert test.ids[0] == "row 46"
    assert repr(images) == "<ImageSet toy: 60 images of 4x5x1, 3 classes, train 45, test 15>"
    assert repr(test) == "<Split test: 15 images of 4x5x1>"
    with pytest.raises(DataError, match=r"toy has no split 'validation'; it has: train, test"):
        _ = images.validation


def test_only_scattered_rows_are_copied_and_all_are_read_only(images):
    scattered = images.with_validation(0.2)
    for part, is_copy in ((images.train, False), (scattered.train, True)):
        assert np.shares_memory(part.X, images.pixels) != is_copy
        assert not part.X.flags.writeable
        pieces = list(part.chunks(7))
        assert max(map(len, pieces)) == 7
        np.testing.assert_array_equal(np.concatenate(pieces), part.X)
    with pytest.raises(ValueError, match="size=0"):
        next(images.train.chunks(0))


def test_rows_and_classes_are_chosen(images):
    chosen = images.select([5, 3, 50])
    assert chosen.ids.tolist() == ["row 6", "row 4", "row 51"]
    np.testing.assert_array_equal(chosen.X, images.X[[5, 3, 50]])
    np.testing.assert_array_equal(chosen.test.X, images.X[[50]])

    fewer = images.drop(["b"])
    assert fewer.classes == ("a", "c")
    np.testing.assert_array_equal(fewer.X, images.X[images.y != 1])
    assert fewer.train.labels.tolist() == images.train.labels[images.train.y != 1].tolist()

    two = images.binary("b")
    assert two.classes == ("not b", "b")
    np.testing.assert_array_equal(two.y, images.y == 1)

    turned = images.with_classes(["c", "a", "b"])
    assert turned.train.labels.tolist() == images.train.labels.tolist()
    assert turned.y[0] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.with_classes(["a", "b", "b", "c"]), "twice: b"),
        (lambda s: s.with_classes(["a", "b", "C"]), "unknown: C; missing: c.*the classes are a, b, c"),
        (lambda s: s.drop(["x"]), "no class 'x'; its classes: a, b, c"),
        (lambda s: s.drop(["a", "b", "c"]), "leaves no class"),
        (lambda s: s.select([N]), f"row {N} is not one of 0 to {N - 1}"),
        (lambda s: s.select([-1]), "row -1"),
        (lambda s: s.select(np.ones(3, bool)), "mask"),
        (lambda s: s.with_validation(1.0), r"1\.0 is not in \[0, 1\)"),
        (lambda s: s.select([0, 1]).with_validation(0.5), "too few"),
    ],
)
def test_impossible_choices_are_refused(images, call, message):
    with pytest.raises(DataError, match=message):
        call(images)


def test_validation_is_a_seeded_stratified_part_of_train(images):
    one, same, other = (images.with_validation(0.2, seed) for seed in (0, 0, 1))
    assert np.bincount(one.validation.y).tolist() == [3, 3, 3]
    assert set(one.validation.rows) < set(images.train.rows)
    np.testing.assert_array_equal(one.splits, same.splits)
    assert not np.array_equal(one.splits, other.splits)
    np.testing.assert_array_equal(one.test.rows, images.test.rows)
    assert one.with_validation(0.5) is one
    assert images.with_validation(0) is images


def test_a_class_with_one_row_stays_in_train():
    images = ImageSet.from_arrays(np.zeros((21, 2, 2), np.uint8), ["a"] * 10 + ["b"] * 10 + ["rare"])
    parts = images.with_validation(0.1)
    assert "rare" in parts.train.labels
    assert sorted(parts.validation.labels.tolist()) == ["a", "b"]


def test_digest_is_content(images):
    X, y = images.X, images.y
    again = ImageSet.from_arrays(X.copy(), y[::-1], classes=["x", "y", "z"], source="elsewhere")
    assert again.digest == images.digest
    changed = X.copy()
    changed[7, 1, 1, 0] ^= 1
    assert ImageSet.from_arrays(changed, y).digest != images.digest
    assert ImageSet.from_arrays(X.reshape(N, 5, 4, 1), y).digest != images.digest
    assert images.binary("a").train.digest == images.train.digest
    assert len({images.digest, images.train.digest, images.test.digest, images.drop(["a"]).digest}) == 4


def test_digests_are_those_of_older_versions():
    images = ImageSet.from_arrays(np.arange(24, dtype=np.uint8).reshape(6, 2, 2), np.arange(6) % 2)
    digests = [part.digest[:16] for part in (images, images.train, images.select([3, 1]))]
    assert digests == ["4be5645df46e8f49", "81d01d3ac9509a10", "0110837bd5b0467a"]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_selecting_twice_is_selecting_once(data):
    X = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    images = ImageSet.from_arrays(X, np.arange(20) % 2)
    first = data.draw(st.lists(st.integers(0, 19), min_size=1, max_size=20))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), max_size=20))
    twice = pickle.loads(pickle.dumps(images.select(first))).select(second)
    once = images.select([first[k] for k in second])
    np.testing.assert_array_equal(twice.X, once.X)
    np.testing.assert_array_equal(twice.y, once.y)
    assert twice.digest == once.digest


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (np.zeros((3, 2, 2)), [0, 1, 2], {}, "float64"),
        (np.zeros((3, 4), np.uint8), [0, 1, 2], {}, "uint8"),
        (np.zeros((3, 2, 2), np.uint8), [0, 1], {}, "3 images, 2 labels, 3 ids, 3 splits"),
        (np.zeros((3, 2, 2), np.uint8), [0, 1, 2], {"classes": ["a", "b"]}, "row 3 has label 2"),
        (np.zeros((2, 2, 2), np.uint8), [0, 1], {"classes": ["a", "a"]}, "class 'a' is named twice"),
        (np.zeros((2, 2, 2), np.uint8), [0, 1], {"splits": ["train", "dev"]}, "'dev' is not one of train"),
        (np.zeros((2, 2, 2), np.uint8), [[0], [1]], {}, "one label for each image"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(X, y, options, message):
    with pytest.raises(DataError, match=message):
        ImageSet.from_arrays(X, y, **options)
