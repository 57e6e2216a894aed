import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.errors import DataError
from cnnboost.report.page import aspect, data_uri, p_value, render, span


def test_numbers_as_people_read_them():
    assert [p_value(p) for p in (0.5, 0.0123, 1e-9)] == ["0.50", "0.0123", "< 0.0001"]
    assert span((-0.5, 0.25), False) == "\N{MINUS SIGN}0.500 to 0.250"


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_aspect_of_a_png_is_in_its_header(width, height):
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    assert aspect(png) == width / height
    assert aspect(png[:20]) == 1


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"<svg/>", b"\xff\xd8" * 20])
def test_other_pictures_count_as_square(content):
    assert aspect(content) == 1


def test_what_is_not_there_is_an_error():
    with pytest.raises(DataError, match=r"\.bmp"):
        data_uri(b"", ".bmp")
    with pytest.raises(DataError, match="recipes"):
        render("overview.html.j2")
