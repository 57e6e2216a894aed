"""Images that are decoded whenever they are asked for."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.errors import DataError, UnreadError
from cnnboost.images import load_images, streamed
from cnnboost.images.decode import InputSpec, bad_input
from cnnboost.images.imageset import ImageSet
from cnnboost.images.notes import known_bad_rows
from cnnboost.images.readers.listing import Listing, array_listing
from cnnboost.images.streamed import StreamedPixels

from .conftest import encode, write_folder, write_zip

STREAM = {"stream_above": 0}


def streamed_of(listing: Listing, spec: InputSpec) -> ImageSet:
    n = len(listing)
    return ImageSet(
        pixels=StreamedPixels(listing, spec, "x", resize=False),
        pixel_rows=np.arange(n), y=listing.y, classes=listing.classes, ids=np.array(listing.ids),
        splits=listing.splits, pixels_digest="d", source="x",
    )  # fmt: skip


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_a_streamed_set_is_the_cached_one_but_for_its_digest(tmp_path, faces, write, monkeypatch):
    source = write(tmp_path / "x.zip", faces)
    cached = load_images(source, cache=tmp_path / "a")
    found = load_images(source, cache=tmp_path / "b", **STREAM)
    assert isinstance(found.pixels, StreamedPixels)
    assert not list((tmp_path / "b" / "images").glob("*/images.npy"))
    np.testing.assert_array_equal(found.X, cached.X)
    np.testing.assert_array_equal(found.train.at([2, 0]), cached.train.X[[2, 0]])
    np.testing.assert_array_equal(np.concatenate(list(found.test.chunks(3))), cached.test.X)
    np.testing.assert_array_equal(found.test.part(1, 3), cached.test.X[1:3])
    for name in ("y", "ids", "splits", "classes", "bad", "shape", "split_names"):
        np.testing.assert_array_equal(getattr(found, name), getattr(cached, name))
    assert found.digest != cached.digest
    assert load_images(source, cache=tmp_path / "c", **STREAM).train.digest == found.train.digest
    # What is in the cache already is used, and small sets go there.
    assert load_images(source, cache=tmp_path / "a", **STREAM).digest == cached.digest
    assert load_images(source, cache=tmp_path / "d", stream_above=14 * 64).digest == cached.digest
    changed = load_images(write(tmp_path / "y.zip", faces | {"train/sad/0.png": faces["test/sad/0.png"]}),
                          cache=tmp_path / "b", **STREAM)  # fmt: skip
    assert changed.digest != found.digest


@given(rows=st.integers(0, 40), size=st.integers(1, 50), start=st.integers(0, 45), chosen=st.randoms())
@settings(max_examples=40, deadline=None)
def test_chunks_are_the_rows_in_order(rows, size, start, chosen):
    pixels = np.random.default_rng(rows).integers(0, 256, (40, 3, 2, 1), dtype=np.uint8)
    listing = array_listing("x", pixels, np.zeros(40, int), ("a",), ["train"] * 40, list("x" * 40))
    images = streamed_of(listing, InputSpec(3, 2, 1)).select(chosen.sample(range(40), rows))
    chunks = list(images.chunks(size, start))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    found = np.concatenate([np.empty((0, 3, 2, 1), np.uint8), *chunks])
    np.testing.assert_array_equal(found, pixels[images.pixel_rows[start:]])


def test_the_next_chunk_is_decoded_while_one_is_worked_on_and_no_more():
    asked: list[int] = []
    ready = threading.Event()

    def image(row, spec, resize, colour):
        asked.append(row)
        if len(asked) >= 500:  # most of two chunks: one core decodes ahead by whole batches alone
            ready.set()
        return np.zeros(spec, np.uint8)

    n = 4000
    listing = Listing(
        ["x"] * n, np.zeros(n, np.int64), ("a",), np.array(["train"] * n), lambda _: None, image
    )
    chunks = streamed_of(listing, InputSpec(64, 64, 3)).chunks(300)
    assert len(next(chunks)) == 300
    assert ready.wait(20)
    chunks.close()
    assert len(asked) < 1200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda good: good[:60], r"is truncated or damaged"),
        (lambda good: b"", r"is empty \(0 bytes\)"),
        (lambda good: b"<html>", r"is an HTML page, not an image"),
    ],
)
def test_a_damaged_image_in_the_middle_is_named_as_with_the_cache(tmp_path, faces, data, reason):
    name = "train/sad/2.png"
    source = write_folder(tmp_path / "x", faces | {name: data(faces[name])})
    with pytest.raises(DataError, match=rf": 1 of 14 images cannot be used: {name}: {reason}") as cached:
        load_images(source, cache=tmp_path / "a", size=8, channels=1)
    images = load_images(source, cache=tmp_path / "b", size=8, channels=1, **STREAM)
    with pytest.raises(DataError) as found:
        list(images.chunks(4))
    assert str(found.value) == str(cached.value).replace("1 of 14", "at least 1 of 14")
    assert found.value.bad == cached.value.bad
    left = [
        load_images(source, cache=tmp_path / c, size=8, on_bad="skip", **of)
        for c, of in (("a", {}), ("c", STREAM))
    ]
    assert left[0].bad == left[1].bad
    assert left[0].ids.tolist() == left[1].ids.tolist()
    assert left[0].splits.tolist() == left[1].splits.tolist()
    np.testing.assert_array_equal(left[0].X, left[1].X)


def test_bad_images_are_looked_for_once(tmp_path, faces, monkeypatch):
    source = write_folder(tmp_path / "x", faces | {"train/sad/2.png": b""})
    calls = []
    find = StreamedPixels.find_bad
    monkeypatch.setattr(
        StreamedPixels, "find_bad", lambda self, *a, **k: calls.append(1) or find(self, *a, **k)
    )
    for _ in range(2):
        images = load_images(source, cache=tmp_path / "c", on_bad="skip", **STREAM)
        assert [bad.place for bad in images.bad] == ["train/sad/2.png"]
    assert calls == [1]


def test_images_that_again_cannot_be_read_are_left_out_again(tmp_path):
    asked = []

    def image(row, spec, resize, colour):
        asked.append(row)
        if row % 10 == 0:
            raise bad_input(f"{row}", "cannot be read (status 503)", UnreadError)
        return np.zeros(spec, np.uint8)

    n = 1000
    listing = Listing(
        ["x"] * n, np.zeros(n, np.int64), ("a",), np.array(["train"] * n), lambda _: None, image
    )
    pixels = StreamedPixels(listing, InputSpec(2, 2, 1), "x", resize=False)
    first = known_bad_rows(tmp_path / "note.json", n, pixels.find_bad)
    assert first == dict.fromkeys(range(0, n, 10), "cannot be read (status 503)")
    asked.clear()
    assert known_bad_rows(tmp_path / "note.json", n, pixels.find_bad) == first
    assert sorted(asked) == list(first)


def test_a_file_that_goes_away_is_named(tmp_path, faces):
    source = write_folder(tmp_path / "x", faces)
    images = load_images(source, cache=tmp_path / "c", **STREAM)
    (source / "train/happy/3.png").unlink()
    with pytest.raises(DataError, match=r"train/happy/3\.png: does not exist"):
        images.train.part(0, 10)


def test_one_image_in_colour_makes_a_set_colour(tmp_path, pixels):
    members = {f"a/{k:03}.png": encode(pixels(2, 2, 3 if k == 150 else 1)) for k in range(200)}
    source = write_zip(tmp_path / "x.zip", members)
    assert load_images(source, cache=tmp_path / "c", **STREAM).shape == (200, 2, 2, 3)


def test_more_than_the_memory_at_once_is_refused(tmp_path, faces, monkeypatch):
    images = load_images(write_folder(tmp_path / "x", faces), cache=tmp_path / "c", **STREAM)
    monkeypatch.setattr(streamed, "budget", lambda memory: 500)
    with pytest.raises(DataError, match=r"8 images at once take 512 bytes .* \(--image-cache\)"):
        _ = images.train.X
    assert Counter(map(len, images.train.chunks(4))) == {4: 2}
