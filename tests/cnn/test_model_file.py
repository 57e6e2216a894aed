import zipfile

import keras
import numpy as np
import pytest

from cnnboost.cnn.model_file import check_model, output_kind, pixels_of, read_model, write_model
from cnnboost.errors import ModelError

layers = keras.layers


def functional(*stack, shape=(8, 8, 1)):
    image = x = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


def test_round_trip(toy_cnn, toy_images, tmp_path):
    path = write_model(toy_cnn.model_, tmp_path / "deep" / "cnn.keras")
    assert [p.name for p in path.parent.iterdir()] == ["cnn.keras"]
    X = toy_images[0][:4].astype(np.float32)
    np.testing.assert_array_equal(read_model(path)(X), toy_cnn.model_(X))


def test_an_h5_file_is_read(toy_cnn, toy_images, tmp_path):
    path = tmp_path / "old.h5"
    toy_cnn.model_.save(path)
    X = toy_images[0][:4].astype(np.float32)
    np.testing.assert_allclose(read_model(path)(X), toy_cnn.model_(X), atol=1e-6)


def test_a_failed_write_leaves_the_old_file(toy_cnn, tmp_path):
    path = write_model(toy_cnn.model_, tmp_path / "cnn.keras")
    before = path.read_bytes()

    class Broken:
        def save(self, place):
            place.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_model(Broken(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cnn.keras"]


def test_files_that_are_no_models_are_named(tmp_path, toy_file):
    cut = tmp_path / "cut.keras"
    cut.write_bytes(toy_file.read_bytes()[:1000])
    text = tmp_path / "text.h5"
    text.write_text("hello")
    foreign = tmp_path / "foreign.keras"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("readme.txt", "no model")
    for path in (cut, text, foreign, tmp_path / "missing.keras", tmp_path / "model.pt"):
        with pytest.raises(ModelError, match=path.name):
            read_model(path)


def test_a_model_that_carries_code_is_refused(tmp_path):
    path = tmp_path / "lambda.keras"
    functional(layers.Lambda(lambda x: x * 2), layers.Flatten()).save(path)
    with pytest.raises(ModelError, match=r"lambda\.keras.*[Ll]ambda"):
        read_model(path)


def test_models_that_take_no_images_are_refused():
    flat = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ModelError, match="not images"):
        check_model(flat, "here")
    with pytest.raises(ModelError, match=r"here.*never built"):
        check_model(keras.Sequential([layers.Dense(2)]), "here")
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    with pytest.raises(ModelError, match="2 inputs"):
        check_model(keras.Model([a, b], layers.Add()([a, b])), "here")


def test_what_a_model_says_of_its_pixels(toy_cnn):
    assert pixels_of(toy_cnn.model_) == "raw"
    assert pixels_of(functional(layers.Flatten())) is None


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        ([layers.Dense(3, activation="softmax")], "softmax"),
        ([layers.Dense(3), layers.Softmax()], "softmax"),
        ([layers.Dense(3), layers.Activation("softmax")], "softmax"),
        ([layers.Dense(3)], "logits"),
        ([layers.Dense(1, activation="sigmoid")], "sigmoid"),
        ([keras.Sequential([layers.Dense(3, activation="softmax")])], "softmax"),
    ],
)
def test_what_an_output_is(stack, kind):
    assert output_kind(functional(layers.Flatten(), *stack)) == kind


@pytest.mark.parametrize(
    "stack",
    [
        [layers.Conv2D(3, 3)],
        [layers.Flatten(), layers.Dense(3, activation="relu")],
        [layers.Flatten(), layers.Dense(3, activation="sigmoid")],
        [layers.Flatten(), layers.Dense(1)],
    ],
)
def test_an_output_without_probabilities_is_refused(stack):
    with pytest.raises(ModelError, match="class"):
        output_kind(functional(*stack))
