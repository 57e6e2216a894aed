import os

import pytest

from cnnboost.errors import DataError
from cnnboost.images import tree as tree_module
from cnnboost.images.tree import FolderTree

from .conftest import write_folder


def test_files_have_stamps_and_empty_folders_count(tmp_path):
    write_folder(tmp_path, {"b/2.png": b"22", "a/1.png": b"1", "c/": b"", "a/.hidden": b"", "Thumbs.db": b""})
    tree = FolderTree(tmp_path)
    assert tree.bad == tree.same == ()
    assert [(stamp.name, stamp.size) for stamp in tree.stamps] == [("a/1.png", 1), ("b/2.png", 2)]
    assert tree.stamps[0].mtime_ns == (tmp_path / "a/1.png").stat().st_mtime_ns
    assert tree.folders == ["a", "b", "c"]


def test_unreadable_and_oversized_files_are_named(tmp_path, monkeypatch):
    root = write_folder(tmp_path, {"a/1.png": b"12345"})
    (root / "a" / "2.png").symlink_to(root / "nowhere")
    found = FolderTree(root)
    assert found.read("a/1.png") == b"12345"
    with pytest.raises(DataError, match=r"a/2\.png: does not exist"):
        found.read("a/2.png")
    monkeypatch.setattr(tree_module, "MAX_FILE_BYTES", 4)
    with pytest.raises(DataError, match=r"a/1\.png: cannot be read \(larger than 4 bytes"):
        found.read("a/1.png")


def test_two_links_to_one_folder_are_both_followed_and_that_is_known(tmp_path):
    write_folder(tmp_path / "elsewhere", {"cat/1.png": b"1"})
    root = write_folder(tmp_path / "root", {"test/cat/2.png": b"2"})
    for name in ("train", "val"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    found = FolderTree(root)
    assert found.files == ["test/cat/2.png", "train/cat/1.png", "val/cat/1.png"]
    assert found.same == (("val", "train"),)


def test_links_that_lead_back_end(tmp_path):
    root = write_folder(tmp_path / "root", {"a/1.png": b"1", "b/2.png": b"2"})
    (root / "a" / "up").symlink_to(tmp_path)
    (root / "a" / "itself").symlink_to(root / "a")
    (root / "a" / "b").symlink_to(root / "b")
    (root / "b" / "a").symlink_to(root / "a")
    assert FolderTree(root).files == ["a/1.png", "a/b/2.png", "b/2.png", "b/a/1.png"]


def test_links_that_multiply_are_refused(tmp_path):
    for k in range(12):
        folder = tmp_path / "root" / str(k)
        folder.mkdir(parents=True)
        for name in ("x", "y"):
            (folder / name).symlink_to(tmp_path / "root" / str(k + 1))
    with pytest.raises(DataError, match=r"links lead to .* more than 64 times"):
        FolderTree(tmp_path / "root")


def test_only_regular_files_are_read(tmp_path):
    root = write_folder(tmp_path, {"a/1.png": b"1"})
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "zero.png").symlink_to("/dev/zero")
    found = FolderTree(root)
    assert found.files == ["a/1.png"]
    assert {bad.place: bad.reason for bad in found.bad} == {
        "a/pipe.png": "is a named pipe, not a regular file",
        "a/zero.png": "is a device, not a regular file",
    }
    (root / "a" / "1.png").unlink()
    os.mkfifo(root / "a" / "1.png")  # after it was listed
    with pytest.raises(DataError, match=r"a/1\.png: cannot be read \(a named pipe, not a regular file\)"):
        found.read("a/1.png")
    assert found.head("a/1.png") == b""


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").symlink_to("1.png")
    tree = FolderTree(tmp_path)
    assert tree.files == ["a/1.png"]
    with pytest.raises(DataError, match=r"a/1\.png: cannot be read \(Too many levels of symbolic links\)"):
        tree.read("a/1.png")
