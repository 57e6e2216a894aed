import os

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images
from cnnboost.images.readers import find_reader


def test_digits_are_spread_over_the_grey_levels():
    from sklearn.datasets import load_digits

    images = load_images("digits", cache=False, validation_fraction=0)
    digits = load_digits()
    assert images.shape == (1797, 8, 8, 1)
    assert (images.X.min(), images.X.max()) == (0, 255)
    np.testing.assert_array_equal(np.rint(images.X[..., 0] * (16 / 255)), digits.images)
    np.testing.assert_array_equal(images.y, digits.target)
    assert images.classes == tuple("0123456789")
    (stamp,) = find_reader("digits").files("digits")
    assert (stamp.name, stamp.size > 10_000) == ("digits.csv.gz", True)


@pytest.fixture
def batches(tmp_path, rng):
    """Two train batches and a test batch of 6 rows each, in the published layout."""
    folder = tmp_path / "cifar" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("airplane\nbird\ncat\n\n")
    rows = {}
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        pixels = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(6, dtype=np.uint8) % 3
        planes = pixels.transpose(0, 3, 1, 2).reshape(6, -1)
        np.concatenate([labels[:, None], planes], axis=1).tofile(folder / name)
        rows[name] = pixels
    return folder, rows


@pytest.mark.parametrize("parent", [False, True])
def test_batches_are_read(batches, parent):
    folder, rows = batches
    images = load_images(folder.parent if parent else folder, cache=False, validation_fraction=0)
    assert images.classes == ("airplane", "bird", "cat")
    np.testing.assert_array_equal(
        images.train.X, np.concatenate([rows["data_batch_1.bin"], rows["data_batch_2.bin"]])
    )
    np.testing.assert_array_equal(images.test.X, rows["test_batch.bin"])
    assert images.test.labels.tolist() == ["airplane", "bird", "cat"] * 2
    assert images.train.ids[6] == "data_batch_2.bin row 1"


def replaced(path, content):
    path.write_bytes(content(path.read_bytes()))


def piped(path, _):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "damage", "content", "message"),
    [
        ("data_batch_2.bin", replaced, lambda old: old[:-1], r"data_batch_2\.bin: 18437 bytes .* cut off"),
        ("test_batch.bin", replaced, lambda old: b"\x09" + old[1:], r"bin row 1 has label 9, .* 3 classes"),
        ("batches.meta.txt", replaced, lambda _: b"cat\n\xff\n", r"batches\.meta\.txt: is not UTF-8"),
        ("batches.meta.txt", replaced, lambda _: b"cat\nbird\ncat\n", "'cat' is named twice"),
        (
            "batches.meta.txt",
            lambda path, _: path.unlink(),
            None,
            r"meta\.txt: cannot be read \(No such file",
        ),
        ("batches.meta.txt", piped, None, r"batches\.meta\.txt: cannot be read \(a named pipe"),
        ("data_batch_1.bin", piped, None, r"data_batch_1\.bin: cannot be read \(a named pipe"),
    ],
)
def test_damaged_batches_are_named(batches, name, damage, content, message):
    folder, _ = batches
    damage(folder / name, content)
    with pytest.raises(DataError, match=message):
        load_images(folder, cache=False)
