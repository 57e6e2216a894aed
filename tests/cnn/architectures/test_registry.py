import subprocess
import sys

import numpy as np
import pytest

from cnnboost.cnn import architectures
from cnnboost.cnn.architectures import ARCHITECTURES, build, registry
from cnnboost.errors import ModelError

FAMILIES = {"digits", "efficientnetv2", "imperial_cnn", "imperial_mlp", "linear", "oslo", "vgg19"}


def test_every_family_is_registered():
    assert set(ARCHITECTURES) >= FAMILIES
    assert architectures.build is build


def test_importing_the_registry_imports_no_keras():
    code = "import sys, cnnboost.cnn.architectures; print([m for m in ('keras', 'h5py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "shape", "options", "words"),
    [
        ("olso", (48, 48, 1), {}, ["'olso'", "did you mean 'oslo'", *sorted(FAMILIES)]),
        ("oslo", (48, 48, 1), {"droput": 0.1}, ["'droput'", "dropout", "kernel_size"]),
        ("oslo", (8, 8, 1), {}, ["8x8x1", "'oslo'"]),
        ("vgg19", (48, 48, 1), {"weight": "none"}, ["'weight'", "frozen_blocks", "weights"]),
    ],
)
def test_what_cannot_be_built_is_named(name, shape, options, words):
    with pytest.raises(ModelError) as caught:
        build(name, shape, 7, options)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("digits", "dropout", 1.0),
        ("digits", "filters", 32),
        ("efficientnetv2", "depth_coefficient", 0),
        ("efficientnetv2", "drop_stages", [7]),
        ("efficientnetv2", "drop_stages", [1, 2, 3, 4, 5, 6]),
        ("imperial_cnn", "first_padding", "half"),
        ("imperial_mlp", "dense", []),
        ("linear", "l2", -1),
        ("oslo", "filters", []),
        ("oslo", "filters", [8, 0]),
        ("oslo", "kernel_size", 2.5),
        pytest.param("oslo", "kernel_size", 10**5000, id="huge"),
        ("oslo", "pool_size", True),
        ("vgg", "convolutions", [8] * 1001),
        ("vgg19", "frozen_blocks", 6),
        ("vgg19", "scaling", "mean"),
        ("vgg19", "weights", 3),
    ],
)
def test_an_impossible_value_is_named(name, option, value):
    refused = f"^architecture {name!r} cannot be built.*: {option}.*(should|must|not allowed)"
    with pytest.raises(ModelError, match=refused):
        build(name, (48, 48, 1), 7, {option: value})


def test_numbers_of_numpy_are_numbers():
    options = {"filters": [np.int64(4)], "dropout": np.float32(0.5), "dense": (np.int32(3),)}
    model = build("digits", (8, 8, 1), 10, options)
    assert (model.get_layer("conv1").filters, model.get_layer("dropout").rate) == (4, 0.5)


def test_a_builder_of_ones_own_is_checked():
    def wrong(input_shape, n_classes):
        return build("digits", input_shape, n_classes + 1)

    with pytest.raises(ModelError, match=r"\(n, 10\) is needed"):
        build(wrong, (8, 8, 1), 10)


def test_a_model_error_of_a_builder_stays_as_it_is():
    def refuses(input_shape, n_classes):
        raise ModelError("no weights here\nand a second line")

    with pytest.raises(ModelError, match=r"^no weights here\nand a second line$"):
        build(refuses, (8, 8, 1), 10)


def test_a_name_is_registered_once(monkeypatch):
    monkeypatch.setattr(registry, "ARCHITECTURES", dict(ARCHITECTURES))
    with pytest.raises(ValueError, match="registered already"):
        architectures.register("oslo")(lambda *_: None)
