"""Image files that are named on a command line: found in order, decoded as in training, in bounded memory."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnboost.deploy.image_files import ImageFile, _together, decode_files, find_images, predict_files
from cnnboost.deploy.predictor import Predictor
from cnnboost.errors import DataError, StoreError
from cnnboost.faces.find import Found
from cnnboost.images import InputSpec, load_images

from .conftest import encode
from .small_graph import expected, small_file

GREY = InputSpec(8, 8, 1)


def png(seed=0):
    return encode(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)))


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def names(paths, root, listed=()):
    return [
        os.path.relpath(file.path, root).replace(os.sep, "/")
        for file in find_images([os.fspath(path) for path in paths], listed)
    ]


def reasons(paths, listed=(), spec=GREY):
    files = find_images([os.fspath(path) for path in paths], listed)
    return {
        file.path: error
        for batch in decode_files(files, spec)
        for file, error in zip(batch.items, batch.errors, strict=True)
    }


class TestFinding:
    def test_folders_are_walked_in_order(self, tmp_path):
        found = ["b.png", "a/z.JPG", "a/deep/1.tiff", "a/deep/2.webp", "c.x/1.bmp", "ü.png"]
        left = [".hidden.png", "__MACOSX/b.png", "a/Thumbs.db", ".git/1.png"]
        write(tmp_path, dict.fromkeys([*found, *left], png()))
        assert names([tmp_path], tmp_path) == [
            "b.png", "ü.png", "a/z.JPG", "a/deep/1.tiff", "a/deep/2.webp", "c.x/1.bmp"
        ]  # fmt: skip

    def test_what_is_left_out_is_said(self, tmp_path, caplog):
        write(tmp_path / "a", {"1.png": png(), "notes.txt": b"x", "deep/labels.csv": b"x"})
        pack(tmp_path / "b.zip", {"1.png": png(), "notes.txt": b"x"})
        with caplog.at_level(logging.INFO, "cnnboost"):
            assert names([tmp_path / "a", tmp_path / "b.zip"], tmp_path) == ["a/1.png", "b.zip/1.png"]
        assert f"{tmp_path / 'a'}: left out 2 files that are not images" in caplog.text
        assert f"{tmp_path / 'b.zip'}: left out 1 file that is not an image" in caplog.text

    def test_a_file_that_is_named_is_taken_whatever_its_name(self, tmp_path):
        write(tmp_path, {"face": png(), ".hidden": png(), "x.txt": b"text"})
        found = reasons(tmp_path / name for name in ("face", ".hidden", "x.txt"))
        assert list(found.values())[:2] == [None, None]
        assert "not an image" in found[str(tmp_path / "x.txt")]

    def test_links_to_folders_are_followed_once(self, tmp_path):
        write(tmp_path, {"a/1.png": png(), "other/2.png": png()})
        (tmp_path / "a/loop").symlink_to(tmp_path / "a", target_is_directory=True)
        (tmp_path / "a/more").symlink_to(tmp_path / "other", target_is_directory=True)
        (tmp_path / "a/nowhere.png").symlink_to(tmp_path / "gone.png")
        assert names([tmp_path / "a"], tmp_path) == ["a/1.png", "a/nowhere.png", "a/more/2.png"]
        assert reasons([tmp_path / "a"])[str(tmp_path / "a/nowhere.png")] == "does not exist"

    def test_pipes_and_devices_are_named_and_do_not_hang(self, tmp_path):
        write(tmp_path, {"1.png": png()})
        os.mkfifo(tmp_path / "2.png")
        (tmp_path / "3.png").symlink_to("/dev/zero")
        for paths in ([tmp_path], sorted(tmp_path.iterdir())):
            assert reasons(paths) == {
                str(tmp_path / "1.png"): None,
                str(tmp_path / "2.png"): "cannot be read (a named pipe, not a regular file)",
                str(tmp_path / "3.png"): "cannot be read (a device, not a regular file)",
            }

    def test_images_are_found_as_in_training(self, tmp_path):
        found = ["1.jfif", "2.PGM", "3", "4.heic", "5.old"]
        write(tmp_path, {name: png() for name in found} | {"6": b"no", "7.txt": b"no"})
        assert names([tmp_path], tmp_path) == found

    def test_a_list(self, tmp_path):
        write(tmp_path, {"one.png": png(), "folder/2.png": png(), "café.png": png()})
        listed = [
            b"\xef\xbb\xbf" + os.fsencode(tmp_path / "one.png") + b"\r\n",
            b"\n",
            b"  \n",
            os.fsencode(tmp_path / "café.png") + b"\n",
            os.fsencode(tmp_path / "folder"),
        ]
        assert names(["-"], tmp_path, listed) == ["one.png", "café.png", "folder/2.png"]

    def test_names_that_are_not_utf_8(self, tmp_path):
        path = tmp_path / os.fsdecode(b"caf\xe9.png")
        try:
            path.write_bytes(png())
        except OSError:
            pytest.skip("the file system takes UTF-8 only")
        assert reasons(["-"], [os.fsencode(path)]) == {str(path): None}
        assert reasons([tmp_path]) == {str(path): None}

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("none.png", "does not exist"),
            ("", "does not exist"),
            ("a\0b", "null"),
            ("x.png/y.png", "cannot be read"),
        ],
    )
    def test_paths_that_lead_nowhere(self, tmp_path, monkeypatch, path, words):
        monkeypatch.chdir(write(tmp_path, {"x.png": png()}))
        found = reasons([path, "x.png"])
        assert words in found[path]
        assert found["x.png"] is None

    def test_a_million_files_are_not_gathered(self, tmp_path):
        taken = 0

        def endless():
            nonlocal taken
            while True:
                taken += 1
                yield os.fsencode(tmp_path / f"{taken}.png")

        batches = decode_files(find_images(["-"], endless()), GREY, threads=2)
        assert len(next(batches).items) == 256
        batches.close()
        assert taken <= 7 * 256
        assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


class TestArchives:
    def test_members_are_read_in_place(self, tmp_path):
        path = pack(tmp_path / "x.ZIP", {"b/2.png": png(2), "a/1.png": png(1)})
        before = sorted(tmp_path.iterdir())
        (batch,) = decode_files(find_images([str(path)]), GREY)
        assert [file.path for file in batch.items] == [f"{path}/a/1.png", f"{path}/b/2.png"]
        assert batch.errors == [None, None]
        assert sorted(tmp_path.iterdir()) == before

    def test_what_is_wrong_is_a_row(self, tmp_path):
        path = pack(tmp_path / "x.zip", {"../out.png": png(), "good.png": png(), "cut.png": png()[:40]})
        write(tmp_path, {"y.zip": b"PK\x03\x04 but no more", "y.png": png()})
        found = reasons([path, tmp_path / "y.zip", tmp_path / "y.png"])
        assert "leads out of the archive" in found[f"{path}/../out.png"]
        assert "damaged" in found[f"{path}/cut.png"]
        assert "not a readable zip archive" in found[str(tmp_path / "y.zip")]
        assert [name for name, error in found.items() if not error] == [
            f"{path}/good.png",
            str(tmp_path / "y.png"),
        ]

    def test_it_is_closed_when_its_images_were_read(self, tmp_path):
        paths = [str(pack(tmp_path / f"{i}.zip", {"1.png": png()})) for i in range(20)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            assert sum(len(batch.pixels) for batch in decode_files(find_images(paths), GREY)) == 20
        here = Path(f"/proc/{os.getpid()}/fd")
        if here.is_dir():
            still = {os.path.realpath(fd) for fd in here.iterdir()}
            assert not still.intersection(paths)


def test_photographs_are_put_together_until_they_hold_enough_faces():
    one = Found(None, np.zeros((8, 8, 1), np.uint8))
    for found, size in (([one], 64), ([one] * 20, 8), ([], 256), ("is empty (0 bytes)", 256)):
        looked = [[(f"{number}.png", found)] * 8 for number in range(100)]
        sizes = [len(results) for results in _together(looked)]
        assert sum(sizes) == 800
        assert set(sizes[:-1]) == {size}


@pytest.mark.parametrize("faces", ["never", "large"])
def test_what_is_wrong_with_the_machine_ends_the_predictions(faces):
    def replaced():
        raise StoreError("x.zip was replaced meanwhile")

    files = [ImageFile("a.png", replaced)]
    with pytest.raises(StoreError, match="was replaced meanwhile"):
        list(predict_files(Predictor(small_file(), threads=1), files, threads=1, faces=faces))


class TestPixels:
    @pytest.mark.parametrize("spec", [InputSpec(8, 8, 1), InputSpec(10, 7, 3)])
    def test_they_are_those_of_training(self, tmp_path, odd_images, spec):
        for name in ("one", "two"):
            write(tmp_path / "train" / name, odd_images)
        trained = load_images(
            tmp_path, size=spec[:2], channels=spec.channels, validation_fraction=0, cache=False
        ).train
        (batch,) = decode_files(find_images([str(tmp_path)]), spec)
        assert batch.errors == [None] * 2 * len(odd_images)
        assert [file.path.removeprefix(f"{tmp_path}/") for file in batch.items] == trained.ids.tolist()
        np.testing.assert_array_equal(batch.pixels, trained.X)
        packed = pack(tmp_path / "x.zip", odd_images)
        (again,) = decode_files(find_images([str(packed)]), spec)
        np.testing.assert_array_equal(again.pixels, trained.X[: len(odd_images)])

    def test_a_file_that_cannot_be_read(self):
        def lost():
            raise OSError(5, "Input/output error")

        def refused():
            raise DataError("no")

        files = [ImageFile("a.png", lost), ImageFile("b.png", refused), ImageFile("c.png", png)]
        errors = [error for batch in decode_files(files, GREY) for error in batch.errors]
        assert errors == ["cannot be read (Input/output error)", "no", None]

    def test_large_images_come_in_small_batches(self):
        spec = InputSpec(1024, 1024, 3)
        batches = list(decode_files([ImageFile(f"{i}.png", png) for i in range(5)], spec, threads=1))
        assert [len(batch.items) for batch in batches] == [1] * 5


def test_predictions_belong_to_their_files(tmp_path):
    predictor = Predictor(small_file(), threads=1)
    write(tmp_path, {f"{i:03}.png": png(i) if i % 5 else b"" for i in range(300)})
    rows = list(predict_files(predictor, find_images([str(tmp_path), "none.png"]), threads=3))
    assert [Path(row.path).name for row in rows] == [f"{i:03}.png" for i in range(300)] + ["none.png"]
    for i, row in enumerate(rows):
        if i % 5 == 0:
            error = "is empty (0 bytes)" if i < 300 else "does not exist"
            assert row[1:4] == (None, None, error)
            continue
        pixels = np.asarray(Image.open(io.BytesIO(png(i))))[None, ..., None]
        np.testing.assert_allclose(row.probabilities, expected(pixels)[0], atol=1e-5)
        assert row.label == predictor.classes_[row.probabilities.argmax()]
        assert row.error is None
