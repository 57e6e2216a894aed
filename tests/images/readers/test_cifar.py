import os

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images


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


def test_a_batch_that_is_cut_off_is_named(batches):
    folder, _ = batches
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin: 18437 bytes .* cut off"):
        load_images(folder, cache=False)


def test_a_label_without_a_name_is_named(batches):
    folder, _ = batches
    path = folder / "test_batch.bin"
    path.write_bytes(b"\x09" + path.read_bytes()[1:])
    with pytest.raises(
        DataError, match=r"test_batch\.bin: row 1 has label 9, but batches\.meta\.txt names 3"
    ):
        load_images(folder, cache=False)


def test_missing_class_names_are_named(batches):
    folder, _ = batches
    (folder / "batches.meta.txt").unlink()
    with pytest.raises(DataError, match=r"batches\.meta\.txt: cannot be read"):
        load_images(folder, cache=False)


@pytest.mark.parametrize(
    ("names", "reason"), [(b"airplane\n\xff\ncat\n", "not UTF-8"), (b"cat\nbird\ncat\n", "'cat' twice")]
)
def test_damaged_class_names_are_named(batches, names, reason):
    folder, _ = batches
    (folder / "batches.meta.txt").write_bytes(names)
    with pytest.raises(DataError, match=rf"batches\.meta\.txt: .*{reason}"):
        load_images(folder, cache=False)


@pytest.mark.parametrize("name", ["batches.meta.txt", "data_batch_1.bin"])
def test_a_pipe_in_place_of_a_file_is_named(batches, name):
    folder, _ = batches
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match=rf"{name}: cannot be read \(a named pipe"):
        load_images(folder, cache=False)
