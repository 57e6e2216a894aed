import logging
from importlib.metadata import requires, version

import numpy as np
import pytest
from PIL import Image

from cnnboost.errors import ParameterError
from cnnboost.faces import detector as module
from cnnboost.faces.detector import FaceDetector, can_find_faces, detector
from tests.faces.clips import astronaut, background


@pytest.fixture(scope="module")
def portrait():
    return astronaut()


@pytest.mark.parametrize("scale", [0.4, 1, 4])
def test_a_face_is_where_it_is_whatever_the_size(portrait, scale):
    picture = portrait.resize((round(512 * scale), round(512 * scale)))
    (face,) = detector().find(picture)
    found = np.array(face[:4]) / scale
    np.testing.assert_allclose(found, [180, 64, 86, 109], atol=12)
    eyes = np.array(face.landmarks[:2]) / scale
    np.testing.assert_allclose(eyes, [[204, 102], [246, 103]], atol=6)
    assert abs(face.tilt) < 8
    assert face.score > 0.9


def test_grey_and_several(portrait):
    both = Image.new("L", (1100, 512), 128)
    both.paste(portrait.convert("L"), (0, 0))
    both.paste(portrait.convert("L"), (560, 0))
    faces = detector().find(both)
    assert sorted(round(face.x / 560) for face in faces) == [0, 1]
    assert faces == sorted(faces, key=lambda face: -face.score)


@pytest.mark.parametrize("size", [(480, 320), (1, 1), (3, 900), (31, 31)])
def test_a_picture_without_a_face(size):
    assert detector().find(background(size)) == []


def test_of_very_many_the_most_certain_are_given(portrait, monkeypatch, caplog):
    face = portrait.crop((150, 40, 300, 200))
    crowd = Image.new("RGB", (600, 480), "grey")
    for i in range(12):
        crowd.paste(face.resize((150, 160)), (150 * (i % 4), 160 * (i // 4)))
    every = detector().find(crowd)
    assert len(every) == 12
    monkeypatch.setattr(module, "MOST", 5)
    with caplog.at_level(logging.WARNING, "cnnboost"):
        few = detector().find(crowd)
    assert len(few) == 5
    assert few == every[:5]
    assert "more than 5 faces" in caplog.text


def test_without_the_package_the_remedy_is_named(monkeypatch):
    assert can_find_faces()
    monkeypatch.setattr(module, "_PACKAGE", "a_package_that_nobody_has")
    assert not can_find_faces()
    with pytest.raises(ParameterError, match=r"cnnboost\[faces\]"):
        FaceDetector()


def test_the_package_that_is_named_is_that_of_the_extra():
    assert module.DETECTOR
    for package, extra in module.DETECTOR.items():
        assert version(package)
        named = [one for one in requires("cnnboost") if one.startswith(package) and f"'{extra}'" in one]
        assert len(named) == 1
