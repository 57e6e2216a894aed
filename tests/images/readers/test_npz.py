import io

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images
from tests.images.conftest import write_zip

X = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
Y = np.arange(12) % 3


def load(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **arrays)
    return load_images(path, cache=False, validation_fraction=0)


def test_pairs_for_splits_and_class_names(tmp_path):
    x, y = X[..., 0], Y[:, None]
    images = load(
        tmp_path, x_test=x[9:], y_test=y[9:], x_train=x[:9], y_train=y[:9], classes=["cat", "dog", "ape"]
    )
    assert images.classes == ("cat", "dog", "ape")
    np.testing.assert_array_equal(images.test.X, X[9:, ..., :1])
    assert images.test.labels.tolist() == ["cat", "dog", "ape"]
    assert images.test.ids[0] == "test row 1"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (Y, ("0", "1", "2")),
        (Y * 10, ("0", "10", "20")),
        (Y.astype(np.float32), ("0", "1", "2")),
        (Y > 0, ("False", "True")),
        (np.array(["b", "a", "c"])[Y], ("a", "b", "c")),
        (np.array([b"a", "é".encode(), b"\xff"])[Y], ("\\xff", "a", "é")),
    ],
)
def test_labels_are_numbers_or_names(tmp_path, labels, classes):
    images = load(tmp_path, X=X.astype(np.int64), y=labels)
    np.testing.assert_array_equal(images.train.X, X)
    assert images.X.dtype == np.uint8
    assert images.classes == classes
    assert images.ids[0] == "row 1"
    assert len(set(zip(labels.tolist(), images.y.tolist(), strict=True))) == len(classes)


def test_names_may_be_in_the_order_of_classes(tmp_path):
    images = load(tmp_path, X=X, y=np.array(["cat", "ape", "dog"])[Y], class_names=["dog", "cat", "ape"])
    assert images.classes == ("dog", "cat", "ape")
    assert images.y[:3].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X}, "has the arrays a; wanted are X and y"),
        ({"X": X}, "'X' without its other half"),
        ({"X": X, "y": Y[:5]}, "12 images, but 5 labels in 'y'"),
        ({"X": X / 255, "y": Y}, "float64 pixels; save them as uint8"),
        ({"X": X.astype(int) + 1, "y": Y}, "int64 pixels"),
        ({"X": X.reshape(12, -1), "y": Y}, r"shape \(12, 48\); wanted"),
        ({"X": X, "y": Y / 2}, r"row 2 of 'y' is 0\.5; labels are names, or whole numbers"),
        ({"X": X, "y": np.where(Y == 1, np.nan, Y)}, "row 2 of 'y' is nan"),
        ({"X": X, "y": Y - 1}, "row 1 of 'y' is -1; labels are names, or whole numbers from 0 on"),
        ({"X": X, "y": Y.astype(complex)}, "dtype complex128"),
        ({"X": X, "y": np.eye(3)[Y]}, r"'y' has shape \(12, 3\)"),
        ({"X": X, "y": np.array(["a", "b", "c"])[Y], "classes": np.array(7)}, r"'classes' has shape \(\)"),
        ({"X": X, "y": Y % 2, "classes": ["a", "a"]}, "class 'a' is named twice"),
        ({"X": X, "y": np.array(["a", "b", "c"])[Y], "classes": ["a", "b"]}, "the label 'c' is not one of"),
        ({"X": X[:0], "y": Y[:0]}, "holds no images"),
        ({"X": X, "x": X, "y": Y}, "has 'X' and 'x'; keep"),
        ({"X": X.astype(object), "y": Y}, "cannot be read .*dtype object"),
        ({"X": X, "y": Y, "classes": ["a", "b"]}, "row 3 has label 2, but there are 2 classes"),
        ({"x_train": X, "y_train": Y, "x_test": X[..., :1], "y_test": Y}, "differ in shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, **arrays)


def test_an_array_does_not_vanish_because_its_name_was_damaged(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, X=X, y=Y, classes=["a", "b", "c"])
    data = bytearray(path.read_bytes())
    data[data.rindex(b"classes.npy")] = ord("k")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"set\.npz: cannot be read \(File name in directory 'klasses"):
        load_images(path, cache=False)
    path.write_bytes(data[:100])
    with pytest.raises(DataError, match=r"set\.npz: is not a readable zip"):
        load_images(path, cache=False)


@pytest.mark.parametrize("order", ["<", ">"])
def test_names_beyond_unicode_are_refused(tmp_path, order):
    def classes(code):
        return np.array([code], f"{order}u4").view(f"{order}U1")

    with pytest.raises(DataError, match=r"'classes' is damaged: .*beyond Unicode"):
        load(tmp_path, X=X, y=np.zeros(len(Y), int), classes=classes(0x208020))
    images = load(tmp_path, X=X, y=np.zeros(len(Y), int), classes=classes(0x1F600))
    assert images.classes == ("\U0001f600",)


def header(shape: str, kind: str = "|u1") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"remember the milk", "'X' is not a NumPy array"),
        (b"", "'X' is not a NumPy array"),
        (header("(10**9, 1000, 1000, 3)"), "cannot be read"),
        (header("(1000000000, 1000, 1000, 3)"), "damaged, or larger than the memory"),
        (header("(12, 4, 4, 3)") + bytes(5), "cannot be read"),
        (header("(-1, 4)"), "cannot be read|shape"),
        (header("(12, 4, 4, 3)", "|O") + bytes(600), "cannot be read"),
        (b"\x93NUMPY\x07\x00" + bytes(50), "cannot be read"),
        (b"\x93NUMPY\x01\x00\xff\xff", "cannot be read"),
    ],
)
def test_members_that_are_not_arrays_are_refused_before_memory_is_taken(tmp_path, content, message):
    labels = io.BytesIO()
    np.save(labels, Y)
    path = write_zip(tmp_path / "set.npz", {"X.npy": content, "y.npy": labels.getvalue()})
    with pytest.raises(DataError, match=rf"set\.npz: .*({message})"):
        load_images(path, cache=False)


@pytest.mark.parametrize("names", ["images labels", "imgs label", "data target", "train_x train_y"])
def test_other_names_of_arrays(tmp_path, names):
    x, y = names.split()
    assert len(load(tmp_path, **{x: X, y: Y, "extra": np.array([{}], dtype=object)})) == 12
