import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.images import load_images
from cnnboost.images.archive import ZipTree
from cnnboost.images.readers.folder import list_tree
from cnnboost.images.tree import FolderTree
from tests.images.conftest import encode, write_folder, write_zip

PNG = encode(np.zeros((4, 4), np.uint8))


def listed(tmp_path, *paths: str, **content: bytes):
    root = write_folder(tmp_path / "data", dict.fromkeys(paths, PNG) | content)
    return list_tree(FolderTree(root))


def test_rows_are_in_the_order_of_the_splits_and_prefixes_of_file_names_win(tmp_path):
    names = ("PublicTest_1.jpg", "PrivateTest_2.jpg", "Training_3.jpg", "im_4.jpg")
    listing = listed(tmp_path, "valid/a/1.png", "train/b/1.png", *(f"test/a/{name}" for name in names))
    assert dict(zip(listing.ids, listing.splits.tolist(), strict=True)) == {
        "test/a/Training_3.jpg": "train",
        "train/b/1.png": "train",
        "test/a/PublicTest_1.jpg": "validation",
        "valid/a/1.png": "validation",
        "test/a/PrivateTest_2.jpg": "test",
        "test/a/im_4.jpg": "test",
    }
    assert listing.splits.tolist() == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2


def test_images_outside_of_class_folders_are_bad_and_other_files_are_not(tmp_path):
    listing = listed(
        tmp_path,
        *("train/a/1.png", "train/2.png", "test/a/5.png", "3.jpg", "other/b/4.png"),
        **{"README.md": b"read me", "train/labels.csv": b"a,b"},
    )
    assert list(listing.ids) == ["train/a/1.png", "test/a/5.png"]
    assert {bad.place for bad in listing.bad} == {"train/2.png", "3.jpg", "other/b/4.png"}
    assert all("class folder" in bad.reason for bad in listing.bad)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "holds no files"),
        ({"readme.txt": b"x"}, r"no class folders with images \(1 other files\)"),
        ({"fer2013.csv": b"x"}, r"but fer2013\.csv; give that file"),
    ],
)
def test_a_source_without_images_is_refused(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        load_images(write_folder(tmp_path / "data", members), cache=False)
    with pytest.raises(DataError, match=message):
        load_images(write_zip(tmp_path / "data.zip", members), cache=False)


part = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(st.tuples(st.sampled_from(["train", "val", "Test"]), part, part), min_size=1, max_size=8),
    nested=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_folder_and_its_zip_are_the_same_set(tmp_path_factory, names, nested, seed):
    random = np.random.default_rng(seed)
    prefix = "wrap/" if nested else ""
    members = {
        f"{prefix}{split}/{label}/{name}.png": encode(random.integers(0, 256, (4, 4), dtype=np.uint8))
        for split, label, name in names
    }
    folder = tmp_path_factory.mktemp("same")
    loose = list_tree(FolderTree(write_folder(folder / "data", members)))
    packed = list_tree(ZipTree(write_zip(folder / "data.zip", members)))
    assert loose.ids == packed.ids
    assert loose.classes == packed.classes
    np.testing.assert_array_equal(loose.y, packed.y)
    np.testing.assert_array_equal(loose.splits, packed.splits)
    spec = loose.shape(0)
    for row in range(len(loose)):
        np.testing.assert_array_equal(
            loose.image(row, spec, False, True), packed.image(row, spec, False, True)
        )
