"""A small part of the campaign over keras.applications."""

import pytest

from tests.benchmarks.keras_applications import check


@pytest.mark.parametrize(
    ("name", "family", "policy"),
    [
        # Its export takes 1.7 GB.
        pytest.param("MobileNet", "mobilenet", "float32", marks=pytest.mark.slow),
        ("MobileNet", "mobilenet", "mixed_float16"),
    ],
)
def test_a_network_is_cut_where_keras_has_the_same_activations(name, family, policy):
    found = check(name, family, policy, onnx=policy == "float32")
    assert max(found["outside"]["largest"], found["inside"]["largest"]) <= 1e-5
    assert {"flatten", "output"} <= set(found["inside"]["cuts"])
    if policy == "float32":
        assert found["onnx"]["features"] < 1e-5
