import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.report.table import Cell, Column, Group, Table, markdown_table

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("percent", {"value": 0.5, "interval": [0.4, 0.6]}, "50.0% (40.0% to 60.0%)"),
        ("percent", {"value": 0.5, "interval": None}, "50.0%"),
        ("percent2", 0.12345, "12.35%"),
        ("percent2", -0.0192, f"{MINUS}1.92%"),
        ("points", {"value": -0.01, "interval": (-0.02, 0)}, f"{MINUS}1.0 ({MINUS}2.0 to +0.0)"),
        ("number", {"value": -0.25, "interval": (-0.5, 0.25)}, f"{MINUS}0.250 ({MINUS}0.500 to 0.250)"),
        ("seconds", 123.4, "123"),
        ("seconds", 12.34, "12.3"),
        ("figures", 1234.5, "1,234"),
        ("figures", 0.06949, "0.0695"),
        ("p", 1e-9, "< 0.0001"),
        ("p", 0.0123, "0.0123"),
        ("p", 0.5, "0.50"),
        ("count", 3589, "3,589"),
        ("interval", [0.25, 0.5], "25.0% to 50.0%"),
        ("text", "a name", "a name"),
        ("number", None, "\N{EN DASH}"),
        ("count", Cell("many", "a lot"), "many (a lot)"),
    ],
)
def test_a_value_is_shown_as_its_kind(kind, value, shown):
    columns = [Column("x", kind), Column("without interval", kind, interval=False)]
    ((cell, short),) = Table("", columns, [[value, value]]).cells()
    assert str(cell) == shown
    assert str(short) == (shown.split(" (")[0] if isinstance(value, dict) else shown)


def test_markdown_has_numbers_at_the_right_and_no_groups():
    columns = [Column("class"), Column("recall", "percent"), Column("key", "code")]
    made = markdown_table(Table("", columns, [Group(Cell("all")), ["not happy", 0.5, "a|b"]]))
    assert made.splitlines() == [
        "| class | recall | key |", "| --- | ---: | --- |", "| not happy | 50.0% | <code>a&#124;b</code> |"
    ]  # fmt: skip


@given(st.lists(st.lists(st.text("ab|\\ <", max_size=4), min_size=2, max_size=2), max_size=3))
def test_every_row_of_markdown_has_its_cells(rows):
    columns = [Column("x"), Column("y", "code")]
    for text in markdown_table(Table("", columns, rows)).splitlines():
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", text)) == 3
