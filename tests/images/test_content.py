import json
import os

import pytest

from cnnboost.images import content as content_module
from cnnboost.images.content import content_hash
from cnnboost.images.tree import walk

from .conftest import write_folder

OLD = 1_600_000_000


@pytest.fixture
def source(tmp_path):
    root = write_folder(tmp_path / "source", {"a/1.png": b"one", "a/2.png": b"two"})
    for path in root.rglob("*.png"):
        os.utime(path, (OLD, OLD))
    return root


@pytest.fixture
def hashed(monkeypatch):
    """The number of times that files were read."""
    calls = []
    real = content_module._hash_files
    monkeypatch.setattr(content_module, "_hash_files", lambda *a: calls.append(1) or real(*a))
    return calls


def ask(root, notes):
    return content_hash(walk(root)[0], str(root), notes)


def test_files_are_read_once(source, tmp_path, hashed):
    first = ask(source, tmp_path / "notes")
    assert ask(source, tmp_path / "notes") == first
    assert len(hashed) == 1


def test_the_same_files_elsewhere_are_the_same_content(source, tmp_path):
    here = ask(source, tmp_path / "notes")
    assert ask(source.rename(tmp_path / "moved"), tmp_path / "notes") == here


@pytest.mark.parametrize("change", ["content", "size", "name", "new", "gone"])
def test_any_change_changes_the_hash(source, tmp_path, change):
    before = ask(source, tmp_path / "notes")
    path = source / "a" / "1.png"
    if change == "content":
        path.write_bytes(b"eno")
    elif change == "size":
        path.write_bytes(b"ones")
        os.utime(path, (OLD, OLD))
    elif change == "name":
        path.rename(source / "a" / "0.png")
    elif change == "new":
        (source / "a" / "3.png").write_bytes(b"three")
    else:
        path.unlink()
    assert ask(source, tmp_path / "notes") != before


def test_a_file_that_has_just_changed_is_not_trusted(source, tmp_path, hashed):
    (source / "a" / "1.png").write_bytes(b"eno")  # now
    ask(source, tmp_path / "notes")
    ask(source, tmp_path / "notes")
    assert len(hashed) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"signature": 3}'])
def test_a_damaged_note_costs_a_hash_and_nothing_else(source, tmp_path, hashed, damage):
    first = ask(source, tmp_path / "notes")
    (note,) = (tmp_path / "notes").iterdir()
    note.write_text(damage)
    assert ask(source, tmp_path / "notes") == first
    assert len(hashed) == 2
    assert json.loads(note.read_text())["content"] == first
