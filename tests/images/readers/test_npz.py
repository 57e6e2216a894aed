import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images

X = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
Y = np.arange(12) % 3


def load(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **arrays)
    return load_images(path, cache=False, validation_fraction=0)


def test_one_pair_is_train(tmp_path):
    images = load(tmp_path, X=X, y=Y)
    np.testing.assert_array_equal(images.train.X, X)
    assert images.classes == ("0", "1", "2")
    assert images.ids[0] == "row 1"


def test_pairs_for_splits_and_class_names(tmp_path):
    images = load(
        tmp_path,
        x_test=X[9:, ..., 0],
        y_test=Y[9:, None],
        x_train=X[:9, ..., 0],
        y_train=Y[:9, None],
        classes=["cat", "dog", "ape"],
    )
    assert images.classes == ("cat", "dog", "ape")
    np.testing.assert_array_equal(images.test.X, X[9:, ..., :1])
    assert images.test.labels.tolist() == ["cat", "dog", "ape"]
    assert images.test.ids[0] == "test row 1"


def test_names_as_labels_and_numbers_with_gaps(tmp_path):
    names = np.array(["b", "a", "c"])[Y]
    assert load(tmp_path, X=X, y=names).train.labels.tolist() == names.tolist()
    gapped = load(tmp_path, X=X.astype(np.int64), y=Y * 10)
    assert gapped.classes == ("0", "10", "20")
    assert gapped.X.dtype == np.uint8


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X}, "has the arrays a; wanted are X and y"),
        ({"X": X}, "'x' without its other half"),
        ({"X": X, "y": Y[:5]}, "12 images in 'x', but 5 labels in 'y'"),
        ({"X": X / 255, "y": Y}, "float64 pixels; save them as uint8"),
        ({"X": X.astype(int) + 1, "y": Y}, "int64 pixels"),
        ({"X": X.reshape(12, -1), "y": Y}, r"shape \(12, 48\); wanted"),
        ({"X": X, "y": Y / 2}, "dtype float64"),
        ({"X": X, "y": Y, "classes": ["a", "b"]}, "row 3 has label 2, but 'classes' names 2"),
        ({"x_train": X, "y_train": Y, "x_test": X[..., :1], "y_test": Y}, "differ in shape"),
        ({"X": X, "y": np.array([{}] * 12, dtype=object)}, "cannot be read .*pickle"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, **arrays)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, X=X, y=Y)
    data = bytearray(path.read_bytes())
    data[400] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"set\.npz: cannot be read"):
        load_images(path, cache=False)
    path.write_bytes(data[:100])
    with pytest.raises(DataError, match=r"set\.npz: is not a readable zip"):
        load_images(path, cache=False)
