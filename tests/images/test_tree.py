import errno
import os

import pytest

from cnnboost.errors import DataError, UnreadError
from cnnboost.images import tree as tree_module
from cnnboost.images.tree import FolderTree

from .conftest import write_folder


def test_files_have_stamps_and_empty_folders_count(tmp_path):
    write_folder(tmp_path, {"b/2.png": b"22", "a/1.png": b"1", "c/": b"", "a/.hidden": b"", "Thumbs.db": b""})
    tree = FolderTree(tmp_path)
    assert tree.bad == tree.same == []
    assert [(stamp.name, stamp.size) for stamp in tree.stamps] == [("a/1.png", 1), ("b/2.png", 2)]
    assert tree.stamps[0].mtime_ns == (tmp_path / "a/1.png").stat().st_mtime_ns
    assert tree.folders == ["a", "b", "c"]


def test_links_are_followed_unless_they_lead_back(tmp_path):
    write_folder(tmp_path / "elsewhere", {"cat/3.png": b"3"})
    root = write_folder(tmp_path / "root", {"a/1.png": b"1", "b/2.png": b"2"})
    (root / "a" / "up").symlink_to(tmp_path)
    (root / "a" / "itself").symlink_to(root / "a")
    (root / "a" / "b").symlink_to(root / "b")
    (root / "b" / "a").symlink_to(root / "a")
    assert FolderTree(root).files == ["a/1.png", "a/b/2.png", "b/2.png", "b/a/1.png"]
    for name in ("train", "val"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    tree = FolderTree(root)
    assert tree.files[-2:] == ["train/cat/3.png", "val/cat/3.png"]
    assert tree.same[-1] == ("val", "train")


def test_links_that_multiply_are_refused(tmp_path):
    for k in range(12):
        folder = tmp_path / "root" / str(k)
        folder.mkdir(parents=True)
        for name in ("x", "y"):
            (folder / name).symlink_to(tmp_path / "root" / str(k + 1))
    with pytest.raises(DataError, match=r"links lead to .* more than 64 times"):
        FolderTree(tmp_path / "root")


def test_only_regular_files_are_read(tmp_path, monkeypatch):
    root = write_folder(tmp_path, {"a/1.png": b"12345"})
    (root / "a" / "2.png").symlink_to(root / "nowhere")
    (root / "a" / "3.png").symlink_to("3.png")
    (root / "a" / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "a" / "pipe.png")
    tree = FolderTree(root)
    assert tree.files == ["a/1.png", "a/2.png", "a/3.png"]
    assert {bad.place: bad.reason for bad in tree.bad} == {
        "a/pipe.png": "is a named pipe, not a regular file",
        "a/zero.png": "is a device, not a regular file",
    }
    assert tree.read("a/1.png") == b"12345"
    with pytest.raises(DataError, match=r"a/2\.png: does not exist"):
        tree.read("a/2.png")
    with pytest.raises(DataError, match=r"a/3\.png: cannot be read \(Too many levels of symbolic links\)"):
        tree.read("a/3.png")
    monkeypatch.setattr(tree_module, "MAX_FILE_BYTES", 4)
    with pytest.raises(DataError, match=r"a/1\.png: cannot be read \(larger than 4 bytes") as raised:
        tree.read("a/1.png")
    assert raised.type is DataError  # it will be as large the next time
    (root / "a" / "1.png").unlink()
    os.mkfifo(root / "a" / "1.png")  # after it was listed
    with pytest.raises(DataError, match=r"a/1\.png: cannot be read \(a named pipe, not a regular file\)"):
        tree.read("a/1.png")
    assert tree.head("a/1.png") == b""


def test_what_the_disk_could_not_give_may_be_read_another_time(tmp_path, monkeypatch):
    def fail(path, limit):
        raise OSError(errno.EIO, "Input/output error")

    tree = FolderTree(write_folder(tmp_path, {"a/1.png": b"12345"}))
    monkeypatch.setattr(tree_module, "read_regular", fail)
    with pytest.raises(UnreadError, match=r"a/1\.png: cannot be read \(Input/output error\)"):
        tree.read("a/1.png")
