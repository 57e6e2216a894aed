import os
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest

from cnnboost.cnn import model_file
from cnnboost.cnn.model_file import file_kind, keras_reason, read_model, write_model
from cnnboost.errors import ModelError
from tests.cnn.old_files import write_keras

CONTENT = {
    b"": "an empty file; copy or download it again",
    b"\0" * 300: "filled with zeros",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "git-lfs pointer.*git lfs pull",
    b"\n<!DOCTYPE html><html>": "a web page; download the file itself",
    b'{"class_name": "Sequential"}': "a JSON text.*without weights",
    pickle.dumps({"a": 1}): "a Python pickle; opening one can run any code, so it is not opened",
    b"x\x9c\x01": "compressed by joblib or zlib",
    b"\x1c\0\0\0TFL3\0\0": "a TensorFlow Lite model; a Keras model is needed",
    b"\x08\x08\x12\x07pytorch": "an ONNX model",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": "a PyTorch model",
    b"\x1f\x8b\x08\0": "a compressed file; unpack it",
    b"a" * 257 + b"ustar": "a tar archive; unpack it",
    b"\x89PNG\r\n": "an array or a picture",
    b"\x10\0\0\0\0\0\0\0{\"": "a safetensors file, which holds weights without a network",
    b"some text": "not a Keras model: it begins with the bytes 73 6f 6d 65",
}  # fmt: skip
MEMBERS = {
    ("archive/data.pkl", "archive/data/0"): "a PyTorch model",
    ("model/saved_model.pb", "model/variables/x"): "a packed SavedModel.*tf_keras",
    ("deep/model.h5", "README"): "a zip archive; unpack it",
    ("X.npy", "y.npy"): r"a \.npz file of arrays",
    ("photo.jpg",): "a zip archive without a Keras model",
}
FOLDERS = {
    ("saved_model.pb",): r"a SavedModel of TensorFlow; .*tf_keras",
    ("config.json",): r"an unpacked \.keras file; pack",
    ("manifest.json", "cnn.keras"): "a bundle of 'cnnboost export'; its network alone is .*cnn.keras",
    ("best.h5",): r"a folder; did you mean .*best\.h5\?",
    ("notes.txt",): "a folder; a Keras model is needed",
}


@pytest.mark.parametrize("content", CONTENT, ids=CONTENT.get)
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"(?s){path} is .*{CONTENT[content]}"):
        read_model(path)


@pytest.mark.parametrize("members", MEMBERS)
def test_other_archives_are_named(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name in members:
            archive.writestr(name, b"")
    with pytest.raises(ModelError, match=f"m.keras is {MEMBERS[members]}"):
        read_model(tmp_path / "m.keras")


@pytest.mark.parametrize("members", FOLDERS)
def test_folders_are_named(tmp_path, members):
    for name in members:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=FOLDERS[members]):
        read_model(tmp_path)


def test_what_is_missing_or_not_a_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.keras: no such file"):
        read_model(tmp_path / "none.keras")
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(ModelError, match="a device or a pipe"):
        read_model(tmp_path / "pipe.h5")


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_file_that_was_cut_short_is_damaged(toy_cnn, tmp_path, ending):
    path = tmp_path / f"model.{ending}"
    toy_cnn.model_.save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match=rf"model\.{ending}.*(damaged or cut short|truncated)"):
        read_model(path)


def test_damage_on_which_the_library_never_ends_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "SECONDS", 2)
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "x" * 40
    content = bytearray(path.read_bytes())
    content[content.index(b"GCOL") + 24] = 113  # the size of the text
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"old\.h5 is damaged: the HDF5 library does not finish"):
        read_model(path)


@pytest.mark.parametrize(
    ("saved_as", "called"),
    [("h5", "m.keras"), ("keras", "m.h5"), ("keras", "m.bin"), ("h5", "m.weights.h5")],
)
def test_the_content_counts_and_not_the_name(toy_cnn, toy_images, tmp_path, saved_as, called):
    toy_cnn.model_.save(tmp_path / f"model.{saved_as}")
    (tmp_path / f"model.{saved_as}").rename(tmp_path / called)
    assert file_kind(tmp_path / called) == {"h5": "hdf5"}.get(saved_as, saved_as)
    X = toy_images[0][:4].astype(np.float32)
    np.testing.assert_allclose(read_model(tmp_path / called)(X), toy_cnn.model_(X), atol=1e-6)


def test_a_model_is_written_whole_or_not_at_all(toy_cnn, toy_file, toy_images, tmp_path):
    path = write_model(toy_cnn.model_, tmp_path / "deep" / "cnn.keras")
    X = toy_images[0][:4].astype(np.float32)
    np.testing.assert_array_equal(read_model(path)(X), toy_cnn.model_(X))
    path.write_bytes(toy_file.read_bytes())

    class Broken:
        def save(self, place):
            place.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_model(Broken(), path)
    assert path.read_bytes() == toy_file.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["cnn.keras"]


def test_a_model_that_carries_code_is_refused(tmp_path):
    path = tmp_path / "lambda.keras"
    layers = keras.layers
    keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(lambda x: x * 2), layers.Flatten()]).save(path)
    with pytest.raises(ModelError, match=r"lambda\.keras.*Lambda layer\), which is not run"):
        read_model(path)


def test_hdf5_without_a_network_is_named(tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.save_weights(tmp_path / "new.weights.h5")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["train_set_x"] = np.zeros(3)
    for name, words in {
        "new.weights.h5": "holds weights alone",
        "old.h5": "holds weights alone",
        "data.h5": r"without a Keras model \(it holds: train_set_x\)",
    }.items():
        with pytest.raises(ModelError, match=words):
            read_model(tmp_path / name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            ValueError("X could not be deserialized.\n\nconfig={...}.\n\nException encountered: bad.\nMore"),
            "bad.",
        ),
        (
            ValueError(
                "A total of 1 objects could not be loaded. Example error message for object <Dense name=d>:"
                "\n\nLayer 'd' expected 2 variables, but received 0.\n\nList: [...]"
            ),
            "Layer 'd' expected 2 variables, but received 0.",
        ),
        (KeyError("offset"), "KeyError: 'offset'"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("x" * 9999), f"{'x' * 400} ..."),
    ],
    ids=["encountered", "example", "key", "empty", "long"],
)
def test_the_reason_is_what_keras_complains_of(error, reason):
    assert keras_reason(error) == reason


def test_an_argument_that_a_layer_does_not_have_is_named(tmp_path):
    dense = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}
    dense["config"] = {"units": 3, "flavour": "sweet"}
    config = {"module": "keras", "class_name": "Sequential", "registered_name": "Sequential"}
    config["config"] = {"name": "s", "layers": [dense]}
    path = write_keras(tmp_path / "odd.keras", config, b"", {"keras_version": "3.9.0"})
    with pytest.raises(ModelError, match=r"odd.keras: Keras cannot load it: .*flavour"):
        read_model(path)
