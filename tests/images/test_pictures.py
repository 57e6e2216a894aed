import io

import numpy as np
import pytest
from PIL import Image

from cnnboost.errors import DataError
from cnnboost.images.pictures import as_picture


def pixels(channels=3):
    shape = (20, 30) if channels == 1 else (20, 30, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_every_form_of_a_picture_is_the_same(tmp_path):
    image = Image.fromarray(pixels())
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    forms = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        content,
        bytearray(content),
        image,
        pixels(),
        image.convert("RGBA"),
    ]
    for form in forms:
        np.testing.assert_array_equal(np.asarray(as_picture(form)), pixels())
    for grey in (pixels(1), pixels(1)[..., None], Image.fromarray(pixels(1))):
        assert as_picture(grey).mode == "L"
        np.testing.assert_array_equal(np.asarray(as_picture(grey)), pixels(1))


def test_the_orientation_is_applied(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels()).save(file, "JPEG", exif=turned)
    assert as_picture(file.getvalue()).size == (20, 30)
    assert as_picture(Image.open(file)).size == (20, 30)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        3,
        pixels().astype(float),
        pixels()[None],
        pixels()[..., :2],
        np.empty((0, 4), np.uint8),
        b"",
        b"x",
        "none.png",
    ],
    ids=range(9),
)
def test_other_things_are_named(bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"none\.png|the upload"):
        as_picture(bad, "the upload")
