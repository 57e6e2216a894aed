import pytest

from cnnboost.errors import DataError
from cnnboost.images import tree as tree_module
from cnnboost.images.tree import FolderTree, walk

from .conftest import write_folder


def test_walk_lists_files_with_stamps_and_empty_folders(tmp_path):
    write_folder(tmp_path, {"b/2.png": b"22", "a/1.png": b"1", "c/": b"", "a/.hidden": b"", "Thumbs.db": b""})
    files, folders, bad, same = walk(tmp_path)
    assert bad == same == []
    assert [(file.name, file.size) for file in files] == [("a/1.png", 1), ("b/2.png", 2)]
    assert files[0].mtime_ns == (tmp_path / "a/1.png").stat().st_mtime_ns
    assert folders == ["a", "b", "c"]


def test_links_to_folders_are_followed_once(tmp_path):
    write_folder(tmp_path / "elsewhere", {"1.png": b"1"})
    root = write_folder(tmp_path / "root", {"a/2.png": b"2"})
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    assert FolderTree(root).files == ["a/2.png", "b/1.png"]


def test_unreadable_and_oversized_files_are_named(tmp_path, monkeypatch):
    root = write_folder(tmp_path, {"a/1.png": b"12345"})
    (root / "a" / "2.png").symlink_to(root / "nowhere")
    found = FolderTree(root)
    assert found.read("a/1.png") == b"12345"
    with pytest.raises(DataError, match=r"a/2\.png: does not exist"):
        found.read("a/2.png")
    monkeypatch.setattr(tree_module, "MAX_FILE_BYTES", 4)
    with pytest.raises(DataError, match=r"a/1\.png: is larger than 4 bytes"):
        found.read("a/1.png")
