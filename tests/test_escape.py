import csv
import io
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.escape import counted, csv_cell, is_unicode, markdown, markdown_code, visible
from cnnboost.report.table import Column, Table, markdown_table

names = st.text(st.characters(codec=None), max_size=12)


@given(names)
def test_nothing_shown_steers_a_terminal_or_fails_to_encode(name):
    shown = visible(name)
    shown.encode("utf-8")
    assert not {unicodedata.category(char) for char in shown.replace("\u200c", "").replace("\u200d", "")} & {
        "Cc", "Cf", "Cs", "Zl", "Zp",
    }  # fmt: skip


def test_words_of_every_script_are_left_alone():
    for name in ("日本語", "naïve café", "\u0645\u06cc\u200c\u062e\u0648", "👩\u200d🚀", "a_b", "C#"):
        assert visible(name) == name


@given(names.filter(lambda name: "\r" not in name and "\0" not in name))
def test_a_csv_cell_never_starts_a_formula_and_can_be_read_back(name):
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(name), "x"])
    ((read, _),) = csv.reader(io.StringIO(file.getvalue()))
    assert read in (name, f"'{name}")
    if read[:1] in tuple("=+-@\t\n"):
        float(read)


@given(names)
def test_a_markdown_table_keeps_its_shape(name):
    for kind, escape in (("text", markdown), ("code", markdown_code)):
        made = markdown_table(Table("", [Column("class", kind), Column("recall")], [[name, "1%"]]))
        (header, rule, row) = made.split("\n")
        assert header.count("|") == rule.count("|") == row.count("|") == 3
        assert not {"\n", "\x1b"} & set(escape(name))


def test_html_and_emphasis_are_text_in_markdown():
    assert markdown("<script>*x*[a](b)") == "&#60;script&#62;&#42;x&#42;&#91;a&#93;(b)"
    assert markdown("not_happy") == "not_happy"
    assert markdown("_x_") == "&#95;x&#95;"


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_that_are_not_characters_are_known_in_any_order_of_bytes(order):
    for codes, whole in (([65, 0x1F600], True), ([65, 0x208020], False), ([0x10FFFF, 0x10FFFF], True)):
        texts = np.array(codes, f"{order}u4").view(f"{order}U{len(codes)}")
        assert is_unicode(texts) == whole
    assert is_unicode(np.array([], "U1"))
    assert is_unicode(np.array("one"))


def test_a_number_agrees_with_its_noun():
    assert [counted(n, "file") for n in (0, 1, 1200)] == ["0 files", "1 file", "1,200 files"]
    assert [counted(n, "input was", "inputs were") for n in (1, 2)] == ["1 input was", "2 inputs were"]
