import math

import numpy as np
import pytest
from PIL import Image

from cnnboost.faces.crop import crop_face, square_of
from cnnboost.faces.face import Face
from cnnboost.images.decode import InputSpec

GREY = InputSpec(48, 48, 1)


def gradient(height=300, width=400):
    """A picture whose grey value says where a pixel comes from."""
    return Image.fromarray(np.add.outer(np.arange(height), np.arange(width)).astype(np.float32) / 4).convert(
        "L"
    )


def turned(face, degrees, centre):
    """The face in a picture that is turned clockwise around a point."""
    angle = math.radians(degrees)

    def turn(x, y):
        x, y = x - centre[0], y - centre[1]
        return (
            centre[0] + x * math.cos(angle) - y * math.sin(angle),
            centre[1] + x * math.sin(angle) + y * math.cos(angle),
        )

    middle = turn(face.x + face.width / 2, face.y + face.height / 2)
    return Face(
        middle[0] - face.width / 2,
        middle[1] - face.height / 2,
        *face[2:5],
        tuple(turn(*p) for p in face.landmarks),
    )


def test_the_square_is_around_the_middle_of_the_box():
    assert square_of(Face(100, 50, 40, 60, 0.9), margin=1.5) == (120, 80, 90)
    picture = gradient()
    found = crop_face(picture, Face(100, 50, 40, 60, 0.9), InputSpec(60, 60, 1), margin=1.0)
    np.testing.assert_array_equal(found[..., 0], np.asarray(picture)[50:110, 90:150])


@pytest.mark.parametrize("spec", [GREY, InputSpec(32, 32, 3), InputSpec(20, 30, 1)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_size_and_channels_are_those_of_the_classifier(spec, mode):
    found = crop_face(gradient().convert(mode), Face(10, 10, 90, 100, 0.9), spec)
    assert found.shape == tuple(spec)
    assert found.dtype == np.uint8


def test_beyond_the_edges_is_black():
    picture = Image.new("L", (100, 100), 200)
    found = crop_face(picture, Face(-30, 0, 60, 60, 0.9), InputSpec(60, 60, 1), margin=1.0)[..., 0]
    assert (found[:, :29] == 0).all()
    assert (found[:, 31:] == 200).all()
    whole = crop_face(picture, Face(-500, -500, 1100, 1100, 0.9), GREY)[..., 0]
    assert (whole[0] == 0).all()
    assert whole[24, 24] == 200


@pytest.mark.parametrize("degrees", [-170, -90, -35, 20, 60, 179])
def test_a_tilted_face_is_turned_upright(degrees):
    spots = Image.new("L", (300, 300), 30)
    spots.paste(220, (110, 120, 130, 140))
    spots.paste(120, (170, 120, 190, 140))
    face = Face(100, 100, 100, 100, 0.9, ((120, 130), (180, 130), (150, 150), (125, 175), (175, 175)))
    plain = crop_face(spots, face, GREY)
    picture = spots.rotate(-degrees, Image.Resampling.BICUBIC, center=(150, 150), fillcolor=30)
    moved = turned(face, degrees, (150, 150))
    assert moved.tilt == pytest.approx(degrees)
    difference = np.abs(crop_face(picture, moved, GREY).astype(int) - plain)
    assert np.percentile(difference, 95) < 12
    left = np.abs(crop_face(picture, moved, GREY, upright_from=180).astype(int) - plain)
    assert left.mean() > 3 * difference.mean()


def test_a_slight_tilt_stays_as_it_is():
    face = Face(100, 100, 100, 100, 0.9, ((120, 130), (180, 135), (150, 150), (125, 175), (175, 175)))
    np.testing.assert_array_equal(
        crop_face(gradient(), face, GREY), crop_face(gradient(), face._replace(landmarks=None), GREY)
    )


def test_a_large_tilted_face_is_made_smaller_before_it_is_turned(monkeypatch):
    spec = InputSpec(8, 8, 1)
    small = gradient(160, 200)
    large = small.resize((2000, 1600), Image.Resampling.BICUBIC)

    def tilted(scale):
        eyes = ((60 * scale, 60 * scale), (100 * scale, 100 * scale))
        marks = (*eyes, (80 * scale, 90 * scale), (60 * scale, 110 * scale), (90 * scale, 120 * scale))
        return Face(40 * scale, 40 * scale, 60 * scale, 60 * scale, 0.9, marks)

    turned = []
    rotate = Image.Image.rotate
    monkeypatch.setattr(
        Image.Image, "rotate", lambda self, *a, **k: turned.append(self.width) or rotate(self, *a, **k)
    )
    found = crop_face(large, tilted(10), spec).astype(int)
    assert turned[0] < 150  # of a face 600 pixels wide
    assert np.abs(found - crop_face(small, tilted(1), spec)).max() <= 3
