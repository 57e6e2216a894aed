import json
import os

import pytest

from cnnboost.images import notes
from cnnboost.images.notes import content_hash
from cnnboost.images.tree import FileStamp, FolderTree

from .conftest import write_folder

OLD = 1_600_000_000


@pytest.fixture
def root(tmp_path):
    root = write_folder(tmp_path / "source", {"a/1.png": b"one", "a/2.png": b"two"})
    for path in root.rglob("*.png"):
        os.utime(path, (OLD, OLD))
    return root


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    """Hash a folder; `hash_of.calls` counts how often files were read."""
    real = notes._hash_files

    def hash_files(*args):
        ask.calls += 1
        return real(*args)

    def ask(root):
        return content_hash(FolderTree(root).stamps, str(root), tmp_path / "notes")

    ask.calls = 0
    monkeypatch.setattr(notes, "_hash_files", hash_files)
    return ask


def test_files_are_read_once_and_known_by_content(root, hash_of):
    first = hash_of(root)
    assert hash_of(root) == first
    assert hash_of.calls == 1
    assert hash_of(root.rename(root.with_name("moved"))) == first


def same_time_stamp(root):
    (root / "a/1.png").write_bytes(b"ones")
    os.utime(root / "a/1.png", (OLD, OLD))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a/1.png").write_bytes(b"eno"),
        lambda root: (root / "a/1.png").rename(root / "a/0.png"),
        lambda root: (root / "a/3.png").write_bytes(b"three"),
        lambda root: (root / "a/1.png").unlink(),
        same_time_stamp,
    ],
)
def test_any_change_changes_the_hash(root, hash_of, change):
    before = hash_of(root)
    change(root)
    assert hash_of(root) != before


def test_a_file_that_has_just_changed_is_read_again(root, hash_of):
    (root / "a/1.png").write_bytes(b"eno")  # now
    hash_of(root)
    hash_of(root)
    assert hash_of.calls == 2


@pytest.mark.parametrize("damage", ["", "[]", '{"signature": 3}'])
def test_a_damaged_note_costs_a_hash_and_nothing_else(root, hash_of, tmp_path, damage):
    first = hash_of(root)
    (note,) = (tmp_path / "notes").iterdir()
    note.write_text(damage)
    assert hash_of(root) == first
    assert hash_of.calls == 2
    assert json.loads(note.read_text())["content"] == first


def test_what_could_not_be_read_is_looked_at_again_though_its_stamp_is_the_same(tmp_path):
    """Rights, or a disk that comes back, change neither the size nor the time of a file."""
    path = tmp_path / "1.png"
    files = [FileStamp("1.png", str(path), 3, OLD * 10**9)]
    path.mkdir()
    first = content_hash(files, "x", tmp_path)
    path.rmdir()
    path.write_bytes(b"abc")
    assert content_hash(files, "x", tmp_path) != first
    path.write_bytes(b"abd")
    assert content_hash(files, "x", tmp_path) == content_hash([files[0]._replace(path="")], "x", tmp_path)
