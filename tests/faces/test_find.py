import io
import logging
import subprocess
import sys

import numpy as np
import pytest

from cnnboost import Predictor, find_faces
from cnnboost.errors import DataError
from cnnboost.faces import find as module
from cnnboost.faces.find import Finder
from cnnboost.images.decode import InputSpec, decode_image
from tests.faces.clips import astronaut, background

SPEC = InputSpec(48, 48, 1)


def content(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def tight(side=300):
    return astronaut().crop((165, 55, 285, 175)).resize((side, side))


@pytest.mark.parametrize(
    ("picture", "faces"),
    [
        (astronaut(), 1),
        (tight(96), None),
        (tight(300), None),
        (background((480, 320)), 0),
        (background((97, 60)), 0),
        (background((96, 60)), None),
        (background((280, 270)), None),
        (background((300, 290)), 0),
    ],
    ids=["portrait", "twice", "filled", "landscape", "narrow", "small", "square", "large-square"],
)
def test_what_is_a_crop_and_what_is_not(picture, faces):
    found = Finder(SPEC).look(content(picture), "it")
    if faces is None:
        assert [one.face for one in found] == [None]
        np.testing.assert_array_equal(found[0].pixels, decode_image(content(picture), SPEC, "it"))
    else:
        assert len(found) == faces
        assert all(one.face is not None and one.pixels.shape == SPEC for one in found)
    assert all(one.face is not None for one in Finder(SPEC, always=True).look(content(picture), "it"))


def test_without_a_detector_photographs_are_taken_as_a_whole_and_that_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(module, "can_find_faces", lambda: False)
    finder = Finder(SPEC)
    with caplog.at_level(logging.INFO, "cnnboost"):
        assert [one.face for one in finder.look(content(tight(48)), "crop.png")] == [None]
        assert caplog.text == ""
        for name in ("a.png", "b.png"):
            (one,) = finder.look(content(astronaut()), name)
            assert one.face is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "a.png" in record.getMessage()
    assert "cnnboost[faces]" in record.getMessage()


def test_faces_in_python(tmp_path):
    astronaut().save(tmp_path / "a.png")
    predictor = Predictor.load(threads=1)
    assert predictor.wants == "face"
    (one,) = predictor.faces(tmp_path / "a.png")
    assert one.label == "happy"
    assert one.probabilities.shape == (7,)
    assert find_faces(np.asarray(astronaut())) == [one.face]
    assert predictor.faces(background()) == []
    with pytest.raises(DataError, match=r"none\.png: does not exist"):
        predictor.faces("none.png")


def test_neither_tensorflow_nor_opencv_is_loaded(tmp_path):
    astronaut().save(tmp_path / "a.png")
    code = """
import sys
from cnnboost import Predictor
assert Predictor.load(threads=1).faces("a.png")
heavy = {"tensorflow", "keras", "xgboost", "sklearn", "cv2", "torch", "av", "onnx"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
