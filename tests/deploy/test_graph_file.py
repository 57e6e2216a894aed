"""The checksum inside an ONNX file is verified here and ignored by everybody else."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cnnboost.deploy.graph_file import CHECKSUM_KEY, add_checksum, verify_checksum
from cnnboost.errors import StoreError

PLACE = "hybrid.onnx"


@pytest.fixture
def content():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    entry = model.metadata_props.add()
    entry.key, entry.value = "cnnboost", '{"classes": []}'
    return model.SerializeToString()


def test_other_readers_see_the_model_and_one_more_entry(content):
    model = onnx.load_from_string(add_checksum(content))
    onnx.checker.check_model(model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert set(entries) == {"cnnboost", CHECKSUM_KEY}
    assert len(entries[CHECKSUM_KEY]) == 64


def test_a_sealed_file_passes(content):
    verify_checksum(add_checksum(content), PLACE)


@given(st.binary(max_size=300), st.data())
def test_any_altered_byte_is_found(model, data):
    sealed = bytearray(add_checksum(model))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoreError, match=r"hybrid\.onnx"):
        verify_checksum(bytes(sealed), PLACE)


@given(st.binary(max_size=300), st.data())
def test_any_truncation_is_found(model, data):
    sealed = add_checksum(model)
    with pytest.raises(StoreError, match=r"hybrid\.onnx"):
        verify_checksum(sealed[: data.draw(st.integers(0, len(sealed) - 1))], PLACE)


def test_what_is_wrong_is_said(content):
    with pytest.raises(StoreError, match="truncated, or was not made by"):
        verify_checksum(content, PLACE)
    with pytest.raises(StoreError, match="is empty"):
        verify_checksum(b"", PLACE)
    with pytest.raises(StoreError, match="altered after it was exported"):
        verify_checksum(b"x" + add_checksum(content), PLACE)
