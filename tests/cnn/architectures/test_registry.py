import subprocess
import sys

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
