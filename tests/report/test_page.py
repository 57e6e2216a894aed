import pytest

from cnnboost.errors import DataError
from cnnboost.report.page import contents_of, figure, render
from tests.report.html import PNG

WIDE = PNG[:16] + (1800).to_bytes(4, "big") + (900).to_bytes(4, "big") + PNG[24:]


@pytest.mark.parametrize(
    ("content", "wide"),
    [(WIDE, True), (PNG, False), (WIDE[:20], False), (b"<svg/>", False), (b"", False)],
)
def test_a_figure_of_the_width_of_the_page_is_known_by_its_header(content, wide):
    assert figure("x.png", "X", content).wide == wide


def test_a_picture_of_another_kind_is_refused():
    with pytest.raises(DataError, match=r"\.bmp"):
        figure("x.bmp", "X", b"")


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(LookupError, match="undefined"):
        render("card.md.j2")


@pytest.mark.parametrize("fault", [KeyError("a"), TypeError("a"), ValueError("a"), IndexError("a")])
def test_unexpected_contents_name_their_file(fault):
    with pytest.raises(DataError, match=r"^x\.json: .*a"), contents_of("x.json"):
        raise fault
