"""Documents come back as they were written, or are refused with file, key and remedy."""

import json

import pytest

from cnnboost.documents import Document, read_document
from cnnboost.errors import StoreError
from cnnboost.files import read_json, write_json


class Note(Document):
    title: str
    scores: dict[str, float] = {}  # noqa: RUF012 - a field of pydantic


@pytest.fixture
def note(tmp_path):
    return write_json(tmp_path / "note.json", {"title": "a", "scores": {"f1": 0.25}, "more": [1]})


def test_what_was_written_is_read(note):
    assert read_document(note, Note, "x", checksum=True) == {
        "title": "a",
        "scores": {"f1": 0.25},
        "more": [1],
    }


def test_an_older_document_without_a_checksum_is_read_where_none_is_demanded(note):
    note.write_text('{"title": "a"}')
    assert read_document(note, Note, "x") == {"title": "a"}
    with pytest.raises(StoreError, match="facts_sha256: field required"):
        read_document(note, Note, "x", checksum=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.25", "0.26", "was altered after it was written"),
        ("1", "2", "was altered after it was written"),
        ('"title"', '"tilte"', "title: field required"),
        ('"a"', "1", "title: input should be a valid string"),
        ("0.25", '"0.25"', "scores.f1: input should be a valid number"),
        ("0.25", "NaN", "not JSON"),
        ("0.25", "1e999", "not JSON"),
        ("0.25", f"1{'0' * 400}", "not JSON"),
        ("}", "", "not JSON"),
    ],
)
def test_what_was_altered_is_named(note, old, new, said):
    note.write_text(note.read_text().replace(old, new, 1))
    with pytest.raises(StoreError, match=f"note.json.*{said}.*; make it again"):
        read_document(note, Note, "make it again")


def test_a_checksum_of_null_is_a_wrong_one(note):
    written = json.loads(note.read_text())
    note.write_text(json.dumps(written | {"facts_sha256": None}))
    with pytest.raises(StoreError, match="was altered"):
        read_document(note, Note, "x")
    assert read_json(note) is None


def test_every_digit_counts(note):
    written = note.read_text()
    for place, sign in enumerate(written):
        if sign.isdigit():
            note.write_text(f"{written[:place]}{(int(sign) + 1) % 10}{written[place + 1 :]}")
            with pytest.raises(StoreError):
                read_document(note, Note, "x", checksum=True)


def test_every_key_counts(note):
    whole = json.loads(note.read_text())
    for key in whole:
        note.write_text(json.dumps({k: v for k, v in whole.items() if k != key}))
        with pytest.raises(StoreError):
            read_document(note, Note, "x", checksum=True)


def test_a_folder_or_nothing_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(StoreError, match=path.name):
            read_document(path, Note, "x")
