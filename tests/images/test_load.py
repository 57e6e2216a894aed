import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images

from .conftest import encode, write_folder, write_zip


def test_formats_may_be_mixed(tmp_path, pixels):
    image = pixels(8, 8, 3)
    kinds = {"png": "PNG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP"}
    members = {
        f"a/{suffix}.{suffix}": encode(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
        for suffix, kind in kinds.items()
    }
    members["a/wrong-suffix.jpg"] = members["a/png.png"]
    images = load_images(write_folder(tmp_path / "x", members), cache=False, validation_fraction=0)
    assert images.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(images.X, np.broadcast_to(image, images.shape))


def test_size_and_channels_default_to_the_first_image(tmp_path, pixels):
    members = {
        "a/1.png": encode(pixels(6, 4)),
        "a/2.png": encode(pixels(6, 4, 3)),
        "b/1.png": encode(pixels(9, 4)),
    }
    source = write_folder(tmp_path / "x", members)
    with pytest.raises(DataError, match=r"1 of 3 .* b/1\.png: is 9 x 4 pixels .* 6 x 4; give size="):
        load_images(source, cache=False)
    assert load_images(source, cache=False, size=(6, 4), validation_fraction=0).shape == (3, 6, 4, 3)
    assert load_images(source, cache=False, size=5, channels=3, validation_fraction=0).shape == (3, 5, 5, 3)


@pytest.mark.parametrize("colour", [0, 199])  # of every third, the header is read first
def test_one_image_in_colour_makes_a_set_colour_wherever_it_stands(tmp_path, pixels, caplog, colour):
    members = {
        f"{'ab'[k // 100]}/{k:03}.png": encode(pixels(2, 2, 3 if k == colour else 1)) for k in range(200)
    }
    source = write_zip(tmp_path / "x.zip", members)
    for cache in (False, tmp_path / "cache"):
        caplog.clear()
        with caplog.at_level("INFO", "cnnboost"):
            images = load_images(source, cache=cache, validation_fraction=0)
        assert images.shape == (200, 2, 2, 3)
        assert sum(np.any(x[..., 0] != x[..., 2]) for x in images.X) == 1
        assert caplog.text.count("some images are grey and others in colour; all become RGB") == 1
    assert load_images(source, cache=tmp_path / "cache", channels=1).shape == (200, 2, 2, 1)
    caplog.clear()
    grey = {name: data for k, (name, data) in enumerate(members.items()) if k != colour}
    assert load_images(write_zip(tmp_path / "y.zip", grey), cache=False).shape == (199, 2, 2, 1)
    assert caplog.text == ""


def test_one_folder_behind_two_names_is_used_twice_and_said(tmp_path, pixels, caplog):
    source = write_folder(
        tmp_path / "x", {f"train/{c}/{k}.png": encode(pixels()) for c in "ab" for k in range(2)}
    )
    (source / "val").symlink_to(source / "train")
    images = load_images(source, cache=False)
    assert Counter(images.splits.tolist()) == {"train": 4, "validation": 4}
    assert "val and train are the same folder, through a link" in caplog.text


def test_images_are_known_by_their_names_or_first_bytes_and_others_left_out(tmp_path, pixels, caplog):
    names = ["1", "2.happy", "3.JFIF", "4.dib", "5.PGM", "6.png.bak"]
    members = {f"{label}/{name}": encode(pixels()) for label in "ab" for name in names}
    members |= {"a/flickr.py": b"import x", "a/Read me": b"x"}
    for source in (write_folder(tmp_path / "x", members), write_zip(tmp_path / "x.zip", members)):
        caplog.clear()
        with caplog.at_level("INFO", "cnnboost"):
            assert len(load_images(source, cache=False)) == 12
        assert "left out 2 files that are not images, e.g. a/Read me" in caplog.text


@pytest.mark.parametrize("name", ["1.heic", "1.svg", "1.NEF", "1.psd", "1.webp", "1.tiff"])
def test_pictures_that_cannot_be_decoded_are_not_passed_over(tmp_path, faces, name):
    source = write_folder(tmp_path / "x", faces | {f"train/sad/{name}": b"\0\0\0\x18ftypheic0000"})
    with pytest.raises(DataError, match=rf"1 of 15 .*{name}: is a HEIC picture \(install pillow-heif"):
        load_images(source, cache=False)


def test_names_that_are_not_utf_8(tmp_path, faces):
    name = os.fsdecode(b"caf\xe9")
    try:
        source = write_folder(tmp_path / name, {f"{name}/{k}.png": faces["test/sad/0.png"] for k in range(3)})
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    for _ in range(2):
        images = load_images(source, cache=tmp_path / "cache", validation_fraction=0)
        assert images.classes == ("caf\\xe9",)
        assert images.ids.tolist() == [f"{name}/{k}.png" for k in range(3)]


def test_classes_drop_and_binary(tmp_path, faces, pixels):
    members = faces | {f"train/contempt/{k}.png": encode(pixels()) for k in range(5)}
    source = write_zip(tmp_path / "x.zip", members)
    images = load_images(source, cache=tmp_path / "c", drop=["contempt"], classes=["sad", "happy"])
    assert images.classes == ("sad", "happy")
    assert Counter(images.test.labels.tolist()) == {"sad": 2, "happy": 2}
    two = load_images(source, cache=tmp_path / "c", binary="happy")
    assert two.classes == ("not happy", "happy")
    assert Counter(two.y.tolist()) == {0: 12, 1: 7}


def test_a_validation_split_of_the_source_is_kept(tmp_path, faces, pixels):
    source = write_folder(tmp_path / "x", faces)
    made = load_images(source, cache=False)
    assert Counter(made.splits.tolist()) == {"train": 8, "validation": 2, "test": 4}
    write_folder(source, {"val/happy/1.png": encode(pixels())})
    kept = load_images(source, cache=False)
    assert kept.validation.ids.tolist() == ["val/happy/1.png"]
    assert len(kept.train) == 10


def test_a_source_of_test_images_only_needs_no_train(tmp_path, faces):
    source = write_folder(tmp_path / "x", {k: v for k, v in faces.items() if k.startswith("test")})
    seen = []
    images = load_images(source, cache=False, progress=lambda *done: seen.append(done))
    assert images.split_names == ("test",)
    assert seen[-1] == (4, 4)


def test_bad_images_stop_or_are_skipped(tmp_path, faces):
    bad = {f"train/sad/{k}.png": b"remember the milk" for k in range(10, 17)}
    source = write_zip(tmp_path / "x.zip", faces | bad)
    for cache in (False, tmp_path / "cache"):
        with pytest.raises(
            DataError, match=r"7 of 21 images .*10\.png: is not an .*; and 2 more.* on_bad='skip'"
        ) as caught:
            load_images(source, cache=cache)
        assert [one.place for one in caught.value.bad] == sorted(bad)
        images = load_images(source, cache=cache, on_bad="skip")
        assert images.bad == caught.value.bad
        assert len(images) == 14
        assert images.digest == load_images(write_zip(tmp_path / "y.zip", faces), cache=cache).digest


def test_nothing_but_bad_images(tmp_path):
    source = write_folder(tmp_path / "x", {"a/1.png": b"", "b/1.png": b"no"})
    for options in ({}, {"size": 8, "channels": 1}):
        with pytest.raises(DataError, match=r"a/1\.png:? is empty") as caught:
            load_images(source, cache=False, **options)
        assert len(caught.value.bad) == 2
    with pytest.raises(DataError, match="class 'a' has no images"):
        load_images(source, cache=False, on_bad="skip", size=8, channels=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/fear/", r"class 'fear' has no images; .*drop=\['fear'\]"),
        ("test/fear/1.png", r"class 'fear' is in test \(test/fear/1\.png\) but not in train"),
    ],
)
def test_a_class_that_cannot_be_trained_is_refused_or_dropped(tmp_path, faces, name, message):
    source = write_folder(tmp_path / "x", faces | {name: faces["test/sad/0.png"]})
    with pytest.raises(DataError, match=message):
        load_images(source, cache=False)
    images = load_images(source, cache=False, drop=["fear"])
    assert (images.classes, len(images)) == (("happy", "sad"), 14)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": (3, 4, 5)}, {"channels": 2}, {"on_bad": "ignore"}, {"n_jobs": 0}]
)
def test_impossible_options_are_refused(tmp_path, faces, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"{name}={value!r}".replace("(", r"\(").replace(")", r"\)")):
        load_images(write_folder(tmp_path / "x", faces), cache=False, **options)


def test_loading_imports_nothing_heavy(tmp_path, faces):
    source = write_folder(tmp_path / "x", faces | {"val/sad/1.png": faces["test/sad/0.png"]})
    code = (
        "import sys\n"
        "from cnnboost.images import load_images\n"
        "load_images(sys.argv[1], cache=sys.argv[2])\n"
        "print(sorted({'sklearn', 'tensorflow', 'xgboost', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "c")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.fer2013
def test_the_published_faces(published_faces):
    images = published_faces
    assert images.split_names == ("train", "validation")
    assert images.train.shape == (28_709, 48, 48, 1)
    assert images.validation.shape == (3_589, 48, 48, 1)
    assert images.classes == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert np.bincount(images.validation.y).tolist() == [467, 56, 496, 895, 607, 653, 415]
    assert all(name.rpartition("/")[2].startswith("Training_") for name in images.train.ids)
    assert np.shares_memory(images.validation.X, images.pixels)
