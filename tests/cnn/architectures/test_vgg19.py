import gc
import urllib.request

import numpy as np
import pytest

from cnnboost.cnn.architectures import build
from cnnboost.cnn.architectures.vgg19 import IMAGENET_FILE
from cnnboost.errors import ModelError

SHAPE = (48, 48, 1)


@pytest.fixture(autouse=True)
def _networks_go():
    """Networks of 80 MB do not wait until garbage is looked for."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def plain():
    """Return Keras' own VGG19 with random weights, biases too."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=(48, 48, 3))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(rng.uniform(0, 0.1, weight.shape))
    return model


def prepared(model, X):
    """Return what the first convolution is given."""
    import keras

    source = model.get_layer("block1_conv1").input
    return np.asarray(keras.Model(model.input, source)(X.astype(np.float32)))


def convolutions(model):
    return [w for layer in model.layers if layer.name.startswith("block") for w in layer.get_weights()]


def test_it_is_vgg19_with_one_output_layer():
    model = build("vgg19", SHAPE, 7, {"weights": "none"})
    assert model.count_params() == 20_027_975
    assert type(model.get_layer("flatten")).__name__ == "GlobalMaxPooling2D"
    assert [layer.name for layer in model.layers][-3:] == ["block5_pool", "flatten", "output"]


@pytest.mark.parametrize(("k", "trainable"), [(0, 33), (3, 17), (5, 1)])
def test_the_first_blocks_are_frozen(k, trainable):
    model = build("vgg19", SHAPE, 7, {"weights": "none", "frozen_blocks": k})
    names = [w.path.split("/")[0] for w in model.trainable_weights]
    assert len(names) == trainable + 1
    assert {f"block{i}_conv1" for i in range(k + 1, 6)} == {n for n in names if n.endswith("conv1")}
    assert "output" in names


def test_pixels_are_scaled_inside():
    X = np.random.default_rng(0).integers(40, 200, (4, *SHAPE), dtype=np.uint8)
    X[3] = 90
    grey = np.repeat(X, 3, axis=-1).astype(np.float64)
    got = {
        scaling: prepared(build("vgg19", SHAPE, 7, {"weights": "none", "scaling": scaling}), X)
        for scaling in ("minmax", "unit", "raw", "imagenet")
    }
    low, high = (f(axis=(1, 2, 3), keepdims=True) for f in (grey.min, grey.max))
    np.testing.assert_allclose(got["minmax"], (grey - low) / np.maximum(high - low, 1), atol=1e-6)
    assert (got["minmax"][3] == 0).all()
    np.testing.assert_allclose(got["unit"], grey / 255, atol=1e-6)
    np.testing.assert_array_equal(got["raw"], grey)
    np.testing.assert_allclose(got["imagenet"], grey - [103.939, 116.779, 123.68], atol=1e-4)


def test_colours_are_prepared_as_keras_does():
    import keras

    X = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    model = build("vgg19", (32, 32, 3), 7, {"weights": "none", "scaling": "imagenet"})
    wanted = keras.applications.vgg19.preprocess_input(X.astype(np.float32))
    np.testing.assert_allclose(prepared(model, X), wanted, atol=1e-4)


def _as_published(model, path):
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def _nested(model, path):
    import keras

    outer = keras.Sequential([keras.Input((48, 48, 3)), model, keras.layers.GlobalAveragePooling2D()])
    outer.save(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (IMAGENET_FILE, _as_published),
        ("vgg19.weights.h5", lambda model, path: model.save_weights(path)),
        pytest.param("whole.h5", lambda model, path: model.save(path), marks=pytest.mark.slow),
        pytest.param("nested.keras", _nested, marks=pytest.mark.slow),
    ],
)
def test_weights_come_from_a_file(plain, tmp_path, name, write):
    write(plain, tmp_path / name)
    model = build("vgg19", SHAPE, 7, {"weights": str(tmp_path / name)})
    (tmp_path / name).unlink()  # 80 MB
    for got, wanted in zip(convolutions(model), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_file_with_a_gap_is_refused(plain, tmp_path):
    import h5py

    path = tmp_path / "gap.weights.h5"
    plain.save_weights(path)
    with h5py.File(path, "r+") as file:
        del file["layers/conv2d_7"]
    with pytest.raises(ModelError, match=r"gap\.weights\.h5' does not hold the weights of VGG19"):
        build("vgg19", SHAPE, 7, {"weights": str(path)})
    path.unlink()


def test_a_file_that_will_not_do_is_named(tmp_path, toy_file):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(b"no weights")
    other = tmp_path / "other.weights.h5"
    build("digits", (8, 8, 1), 10, {"filters": [4], "dense": []}).save_weights(other)
    (tmp_path / "weights.txt").write_text("1 2 3")
    (tmp_path / "damaged.keras").write_bytes(b"no model")
    for path, words in {
        tmp_path / "none.h5": "no such file.*imagenet",
        tmp_path / "weights.txt": "no such file of weights",
        damaged: "does not hold the weights of VGG19",
        tmp_path / "damaged.keras": "not a Keras model: it begins",
        other: "does not hold the weights of VGG19",
        toy_file: "does not hold the weights of VGG19.*block1_conv1",
    }.items():
        with pytest.raises(ModelError, match=words) as caught:
            build("vgg19", SHAPE, 7, {"weights": str(path)})
        assert path.name in str(caught.value)


def test_without_network_the_error_says_where_the_weights_are_looked_for(tmp_path, monkeypatch, capsys):
    # Nothing listens on the proxy's port, so nothing outside is reached.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that knows other proxies
    # Read by Keras when it is imported, and by the error.
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="the ImageNet weights of VGG19 cannot be loaded") as caught:
        build("vgg19", SHAPE, 7)
    for words in (str(tmp_path / "models" / IMAGENET_FILE), 'weights = "none"', ".keras file"):
        assert words in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("shape", "words"), [((31, 48, 1), "32x32"), ((48, 48, 2), "2 channels; VGG19 takes 1")]
)
def test_images_that_will_not_do_are_named(shape, words):
    with pytest.raises(ModelError, match=words):
        build("vgg19", shape, 7, {"weights": "none"})
