import os
import pickle
import zipfile

import numpy as np
import pytest

from cnnboost.cnn.file_kind import file_kind
from cnnboost.errors import ModelError

CONTENT = {
    b"": "an empty file; copy or download it again",
    b"\0" * 300: "filled with zeros",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "git-lfs pointer.*git lfs pull",
    b"\n<!DOCTYPE html><html>": "a web page under the name of a model; download the file itself",
    b"<HTML>": "a web page",
    b'{"class_name": "Sequential"}': "a JSON text.*without weights",
    pickle.dumps({"a": 1}): "a Python pickle; opening one can run any code, so it is not opened",
    b"x\x9c\x01": "compressed by joblib or zlib",
    b"\x1c\0\0\0TFL3\0\0": "a TensorFlow Lite model; a Keras model is needed",
    b"\x08\x08\x12\x07pytorch": "an ONNX model",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": "a PyTorch model",
    b"\x1f\x8b\x08\0": "compressed by gzip; unpack it",
    b"BZh9": "compressed by bzip2; unpack it",
    b"Rar!\x1a": "a RAR archive; unpack it",
    b"a" * 257 + b"ustar": "a tar archive; unpack it",
    b"\x93NUMPY": "a NumPy array",
    b"\x89PNG\r\n": "a picture",
    b"\x10\0\0\0\0\0\0\0{\"": "a safetensors file, which holds weights without a network",
    b"some text": "not a Keras model: it begins with the bytes 73 6f 6d 65",
}  # fmt: skip
MEMBERS = {
    ("archive/data.pkl", "archive/data/0"): "a PyTorch model",
    ("model/saved_model.pb", "model/variables/x"): "a packed SavedModel.*tf_keras",
    ("deep/model.h5", "README"): "a zip archive; unpack it",
    ("X.npy", "y.npy"): r"a \.npz file of arrays",
    ("photo.jpg",): "a zip archive without a Keras model",
    (): "zip|damaged|Keras model",
}


@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model"])
@pytest.mark.parametrize("content", CONTENT, ids=CONTENT.get)
def test_other_files_are_named(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"(?s){CONTENT[content]}") as caught:
        file_kind(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("members", MEMBERS)
def test_other_archives_are_named(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name in members:
            archive.writestr(name, b"")
    with pytest.raises(ModelError, match=MEMBERS[members]):
        file_kind(tmp_path / "m.keras")


def test_keras_files_are_told_by_their_content(toy_cnn, tmp_path):
    for kind, ending in (("keras", "keras"), ("hdf5", "h5")):
        toy_cnn.model_.save(tmp_path / f"model.{ending}")
        (tmp_path / f"model.{ending}").rename(tmp_path / "model")
        assert file_kind(tmp_path / "model") == kind


def test_a_cut_archive_is_damaged(toy_cnn, tmp_path):
    path = tmp_path / "model.keras"
    toy_cnn.model_.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"damaged or cut short .*; copy or download it again"):
        file_kind(path)


@pytest.mark.parametrize(
    ("member", "match"),
    [
        ("saved_model.pb", r"a SavedModel of TensorFlow; .*tf_keras"),
        ("config.json", r"an unpacked \.keras file; pack"),
        ("best.h5", r"a folder; did you mean .*best\.h5\?"),
        ("notes.txt", "a folder; a Keras model is needed"),
    ],
)
def test_folders_are_named(tmp_path, member, match):
    (tmp_path / member).write_bytes(b"")
    with pytest.raises(ModelError, match=match):
        file_kind(tmp_path)


def test_what_is_not_there_or_not_a_file(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        file_kind(tmp_path / "none.keras")
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(ModelError, match="a device or a pipe"):
        file_kind(tmp_path / "pipe.h5")
    np.savez(tmp_path / "images.npz", X=np.zeros(3))
    with pytest.raises(ModelError, match=r"\.npz"):
        file_kind(tmp_path / "images.npz")
