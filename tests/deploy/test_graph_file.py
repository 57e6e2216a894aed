"""The checksum inside an ONNX file is verified here and ignored by everybody else."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost.deploy.graph_file import CHECKSUM_KEY, add_checksum, verify_checksum
from cnnboost.errors import StoreError

from .small_graph import small_file, small_graph

PLACE = "hybrid.onnx"


def test_other_readers_see_the_model_and_one_more_entry():
    verify_checksum(small_file(), PLACE)
    model = onnx.load_from_string(small_file())
    onnx.checker.check_model(model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert set(entries) == {"cnnboost", CHECKSUM_KEY}
    assert len(entries[CHECKSUM_KEY]) == 64


@given(st.binary(max_size=300), st.data())
def test_any_altered_byte_and_any_truncation_is_found(model, data):
    whole = add_checksum(model)
    place = data.draw(st.integers(0, len(whole) - 1))
    altered = bytearray(whole)
    altered[place] ^= data.draw(st.integers(1, 255))
    for content in (bytes(altered), whole[:place]):
        with pytest.raises(StoreError, match=r"hybrid\.onnx"):
            verify_checksum(content, PLACE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (small_graph().SerializeToString(), "truncated, or was not made by"),
        (b"", "is empty"),
        (b"x" + small_file(), "altered after it was exported"),
    ],
)
def test_what_is_wrong_is_named(content, words):
    with pytest.raises(StoreError, match=words):
        verify_checksum(content, PLACE)
