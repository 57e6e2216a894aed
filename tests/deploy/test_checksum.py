"""The checksum inside an ONNX file is found by us and ignored by everybody else."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cnnboost.deploy.checksum import KEY, check_seal, seal
from cnnboost.errors import StoreError

PLACE = Path("hybrid.onnx")


@pytest.fixture
def content():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    entry = model.metadata_props.add()
    entry.key, entry.value = "cnnboost", '{"classes": []}'
    return model.SerializeToString()


def test_other_readers_see_the_model_and_one_more_entry(content):
    model = onnx.load_from_string(seal(content))
    onnx.checker.check_model(model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert set(entries) == {"cnnboost", KEY}
    assert len(entries[KEY]) == 64


def test_a_sealed_file_passes(content):
    check_seal(seal(content), PLACE)


@given(st.binary(max_size=300), st.data())
def test_any_altered_byte_is_found(model, data):
    sealed = bytearray(seal(model))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoreError, match=r"hybrid\.onnx"):
        check_seal(bytes(sealed), PLACE)


@given(st.binary(max_size=300), st.data())
def test_any_truncation_is_found(model, data):
    sealed = seal(model)
    with pytest.raises(StoreError, match=r"hybrid\.onnx"):
        check_seal(sealed[: data.draw(st.integers(0, len(sealed) - 1))], PLACE)


def test_what_is_wrong_is_said(content):
    with pytest.raises(StoreError, match="truncated, or made by something else"):
        check_seal(content, PLACE)
    with pytest.raises(StoreError, match="is empty"):
        check_seal(b"", PLACE)
    with pytest.raises(StoreError, match="altered after it was exported"):
        check_seal(b"x" + seal(content), PLACE)
