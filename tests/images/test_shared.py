"""Rows of images as another process finds them: the same pixels, or a sentence that says why not."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from cnnboost.errors import StoreError
from cnnboost.images import load_images, shared
from cnnboost.images.shared import SharedRows

from .conftest import write_folder


@pytest.fixture(autouse=True)
def _another_process():
    """Forget what was listed; a worker has listed nothing."""
    shared._streamed.cache_clear()
    yield
    shared._streamed.cache_clear()


def there(split):
    """The rows of a split, as they arrive at a worker."""
    return pickle.loads(pickle.dumps(SharedRows.of(split)))


def write_list(path, names):
    path.write_text("\n".join(names))
    return path


@pytest.mark.parametrize(
    "options", [{}, {"stream_above": 0}, {"cache": False}], ids=["file", "streamed", "sent"]
)
def test_another_process_sees_the_same_pixels(tmp_path, faces, options):
    options = {"cache": tmp_path / "c", "validation_fraction": 0, **options}
    images = load_images(write_folder(tmp_path / "x", faces), **options)
    rows = there(images.train)
    np.testing.assert_array_equal(rows.part(0, len(images.train)), images.train.X)
    np.testing.assert_array_equal(rows.range(2, 7).part(1, 3), images.train.X[3:5])
    scattered = there(images.select([5, 1, 4]).train)
    np.testing.assert_array_equal(scattered.part(0, 3), images.part(0, 14)[[5, 1, 4]])
    assert there(images.test).part(0, 0).shape == (0, 8, 8, 1)
    assert len(pickle.dumps(SharedRows.of(images.test).range(0, 2))) < 1000


def test_a_list_that_was_changed_is_refused(tmp_path, faces):
    """Of the same length, below another folder, or in another order."""
    for root in ("a", "b"):
        write_folder(tmp_path / root, faces)
    names = [f"{tmp_path}/a/{name}" for name in faces if name.startswith("train")]
    path = write_list(tmp_path / "list.txt", names)
    rows = there(load_images(path, cache=tmp_path / "c", stream_above=0, validation_fraction=0).train)
    for changed in (
        [*names[:-1], f"{tmp_path}/a/train/sad/../sad/4.png"],
        [name.replace(f"{tmp_path}/a/", f"{tmp_path}/b/") for name in names],
        names[:-1],
    ):
        write_list(path, changed)
        said = rf"{path} names {len(changed)} images here and 10 where the command runs, or others"
        with pytest.raises(StoreError, match=said):
            rows.part(0, 2)
    write_list(path, names)
    assert rows.part(0, 2).shape == (2, 8, 8, 1)
    path.unlink()
    shared._streamed.cache_clear()
    with pytest.raises(
        StoreError, match=r"cannot be listed here: .*list\.txt' does not exist.* share their folder"
    ):
        rows.part(0, 2)


def test_a_list_behind_a_link_is_read_as_it_was_named(tmp_path, faces, monkeypatch):
    """Places in it are relative to the folder in which it is named, not to the one that it really lies in."""
    write_folder(tmp_path / "x", faces)
    (tmp_path / "lists").mkdir()
    write_list(tmp_path / "lists/list.txt", [f"{name}\t{name.split('/')[1]}" for name in faces])
    (tmp_path / "x/list.txt").symlink_to(tmp_path / "lists/list.txt")
    monkeypatch.chdir(tmp_path)
    images = load_images("x/list.txt", cache=tmp_path / "c", stream_above=0, validation_fraction=0)
    rows = there(images.train)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(rows.part(0, 14), load_images(tmp_path / "x/list.txt", cache=False).X)


def test_another_file_in_the_place_of_the_decoded_images_is_refused(tmp_path, faces):
    images = load_images(write_folder(tmp_path / "x", faces), cache=tmp_path / "c")
    rows = there(images.train)
    path = rows.place.path
    os.truncate(path, path.stat().st_size - 64)
    with pytest.raises(StoreError, match=r"images\.npy cannot be read here: it has 960 bytes here"):
        rows.part(0, 2)
    path.unlink()
    with pytest.raises(StoreError, match=r"No such file .*CNNBOOST_CACHE.*--no-image-cache"):
        rows.part(0, 2)
