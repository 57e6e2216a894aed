import numpy as np
import pytest

from cnnboost.cnn import architectures
from cnnboost.cnn.architectures import ARCHITECTURES, build
from cnnboost.errors import ModelError


def test_oslo_is_the_published_network():
    model = build("oslo", (48, 48, 1), 7)
    kinds = [(type(layer).__name__, layer.output.shape[1:]) for layer in model.layers]
    assert model.count_params() == 121_855
    assert ("Flatten", (1024,)) in kinds
    assert [shape for kind, shape in kinds if kind == "Dense"] == [(64,), (7,), (7,)]
    assert model.get_layer("fc1").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert model.get_layer("output").activation.__name__ == "softmax"


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_maps_pixels_to_probabilities(name):
    model = build(name, (48, 48, 3), 5)
    proba = np.asarray(model(np.full((2, 48, 48, 3), 255, np.uint8), training=False))
    assert proba.shape == (2, 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_options_reach_the_builder():
    model = build("oslo", (48, 48, 1), 7, {"filters": [8, 16, 16], "dense": [32], "padding": "same"})
    assert model.get_layer("conv3").filters == 16
    assert [layer.name for layer in model.layers if layer.name.startswith("fc")] == ["fc1"]


@pytest.mark.parametrize(
    ("name", "shape", "options", "words"),
    [
        ("olso", (48, 48, 1), {}, ["'olso'", "did you mean 'oslo'", "digits"]),
        ("oslo", (48, 48, 1), {"droput": 0.1}, ["'droput'", "dropout", "kernel_size"]),
        ("oslo", (8, 8, 1), {}, ["8x8x1", "'oslo'"]),
    ],
)
def test_what_cannot_be_built_is_named(name, shape, options, words):
    with pytest.raises(ModelError) as caught:
        build(name, shape, 7, options)
    assert all(word in str(caught.value) for word in words)


def test_a_builder_of_ones_own_is_checked(toy_images):
    def wrong(input_shape, n_classes):
        return build("digits", input_shape, n_classes + 1)

    with pytest.raises(ModelError, match=r"\(n, 10\) is needed"):
        build(wrong, (8, 8, 1), 10)


def test_a_name_is_registered_once(monkeypatch):
    monkeypatch.setattr(architectures, "ARCHITECTURES", dict(ARCHITECTURES))
    with pytest.raises(ValueError, match="registered already"):
        architectures.register("oslo")(lambda *_: None)
