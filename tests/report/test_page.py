import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from cnnboost.errors import DataError
from cnnboost.report.page import aspect, contents_of, data_uri, render


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_aspect_of_a_png_is_in_its_header(width, height):
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    assert aspect(png) == width / height
    assert aspect(png[:20]) == 1


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"<svg/>", b"\xff\xd8" * 20])
def test_other_pictures_count_as_square(content):
    assert aspect(content) == 1


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(DataError, match=r"\.bmp"):
        data_uri(b"", ".bmp")


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="undefined"):
        render("card.md.j2")


@pytest.mark.parametrize("fault", [KeyError("a"), TypeError("a"), ValueError("a"), IndexError("a")])
def test_unexpected_contents_name_their_file(fault):
    with pytest.raises(DataError, match=r"^x\.json: .*a"), contents_of("x.json"):
        raise fault
