"""A source is listed and looked at once, and its headers by several threads."""

from __future__ import annotations

import threading
from itertools import count

import numpy as np
import pytest

from cnnboost.errors import UnreadError
from cnnboost.images import load_images, source
from cnnboost.images.decode import InputSpec, bad_input
from cnnboost.images.readers import folder
from cnnboost.images.readers.listing import Listing
from cnnboost.images.source import Source

from .conftest import write_folder


@pytest.fixture
def listed(tmp_path):
    """Return a function that makes a source with rows of its own, and a cache of its own if none is named."""
    numbers = count()

    def listed(n, shape, folder=None):
        made = Source("digits", None, None, folder or tmp_path / str(next(numbers)))
        made.listing = Listing(
            [f"{row}.png" for row in range(n)], np.zeros(n, np.int64), ("a",), np.array(["train"] * n), shape,
            lambda *_: None, threads=4,
        )  # fmt: skip
        return made

    return listed


@pytest.mark.parametrize("above", [0, 1 << 30], ids=["streamed", "small"])
def test_a_source_is_listed_once_and_hashed_once(tmp_path, faces, monkeypatch, above):
    calls = []

    def count(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a: calls.append(name) or real(*a))

    count(source, "content_hash")
    count(folder, "list_tree")
    load_images(write_folder(tmp_path / "x", faces), cache=tmp_path / "c", stream_above=above)
    assert sorted(calls) == ["content_hash", "list_tree"]


def test_what_a_url_keeps_secret_is_not_shown(tmp_path):
    found = Source("https://name:secret@host/faces.txt?sig=secret", None, None, tmp_path)
    assert found.shown == "https://host/faces.txt"
    assert "secret" not in repr(found)


def test_headers_are_read_by_several_threads(listed):
    meeting, met = threading.Barrier(2, timeout=20), []

    def shape(row):
        if row < 2 and not met:  # of the first look, which ends at the first image that can be read
            meeting.wait()
            met.append(row)
        return InputSpec(4, 5, 1)

    found = listed(300, shape)
    assert found.spec == ((4, 5, 1), True)
    assert found.spec_of_all() == (4, 5, 1)
    assert not meeting.broken


def test_one_header_in_colour_is_found_and_one_that_cannot_be_read_may_be_so(listed, caplog):
    assert listed(300, lambda row: InputSpec(4, 5, 3 if row == 151 else 1)).spec_of_all() == (4, 5, 3)

    def broken(kind):
        def shape(row):
            if row == 151:
                raise bad_input("151.png", "cannot be read (status 503)", *kind)
            return InputSpec(4, 5, 1)

        return listed(300, shape)

    assert broken([]).spec_of_all() == (4, 5, 1)  # it is damaged: whatever it was, it is left out
    with pytest.raises(UnreadError, match=r"1 of them cannot be read \(151\.png: .* 503\)\)\. .*channels=1"):
        broken([UnreadError]).spec_of_all()


@pytest.mark.parametrize("channels", [1, 3])
def test_what_the_headers_say_is_looked_up_once(listed, tmp_path, channels):
    asked = []

    def shape(row):
        asked.append(row)
        return InputSpec(4, 5, channels if row == 151 else 1)

    first = listed(300, shape, tmp_path).spec_of_all()
    assert first == (4, 5, channels)
    assert 151 in asked
    asked.clear()
    assert listed(300, shape, tmp_path).spec_of_all() == first
    assert 151 not in asked  # those few that tell the size are looked at in each run
