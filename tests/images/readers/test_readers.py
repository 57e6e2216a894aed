import os
from pathlib import Path

import numpy as np
import pytest

from cnnboost.errors import DataError
from cnnboost.images import load_images
from cnnboost.images.readers import CIFAR, CSV, DIGITS, FOLDER, NPZ, READERS, ZIP, find_reader
from tests.images.conftest import encode, write_folder, write_zip


def test_each_source_has_its_reader(tmp_path):
    write_folder(
        tmp_path, {"folder/a/1.png": b"x", "fer.CSV": b"x", "set.npz": b"x", "cifar/data_batch_1.bin": b"x"}
    )
    packed = write_zip(tmp_path / "faces.zip", {"a/1.png": b"x"})
    packed.rename(tmp_path / "no-suffix")
    write_zip(tmp_path / "faces.zip", {"a/1.png": b"x"})
    kinds = {
        name: find_reader(str(tmp_path / name))
        for name in ("folder", "fer.CSV", "set.npz", "cifar", "faces.zip", "no-suffix")
    }
    assert kinds == {
        "folder": FOLDER,
        "fer.CSV": CSV,
        "set.npz": NPZ,
        "cifar": CIFAR,
        "faces.zip": ZIP,
        "no-suffix": ZIP,
    }
    assert find_reader("digits") is DIGITS


def test_a_source_that_is_not_there_is_named_with_what_is_near(tmp_path):
    (tmp_path / "fer2013.zip").touch()
    with pytest.raises(DataError) as caught:
        find_reader(str(tmp_path / "fer2031.zip"))
    message = str(caught.value)
    assert f"looked for {tmp_path / 'fer2031.zip'}" in message
    assert "Did you mean 'fer2013.zip'?" in message
    assert all(reader.accepts in message for reader in READERS)
    with pytest.raises(DataError, match="mean 'digits'"):
        find_reader("digit")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "data.tar.gz"
    path.write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=r"data\.tar\.gz: is a gzip file; unpack it and give the folder"):
        find_reader(Path(path))
    path = tmp_path / "data.bin"
    path.write_bytes(b"\0" * 20)
    with pytest.raises(DataError, match=r"data\.bin: no reader for this kind of file\. Accepted: .*\.zip"):
        find_reader(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.tar", b"x", "tar archive; unpack it"),
        ("fer2013.csv", bytes(257) + b"ustar", "is a tar archive; unpack it and give the folder"),
        ("fer2013.csv", b"PK\x03\x04", r"is a zip archive; give it a name that ends with \.zip"),
        ("x.tgz", b"\x1f\x8b", "gzip"),
        ("x.zip", b"Rar!\x1a\x07", "RAR archive; unpack"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c", "7z archive; unpack"),
        ("x.npz", b"\x93NUMPY", "a single NumPy array; save images and labels as .npz"),
        ("x.npz", b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer .*; run 'git lfs pull'"),
        ("x.zip", b"<!doctype html>", "HTML page, not an image; download the file again"),
        ("x.mat", b"MATLAB 5.0 MAT-file", "MATLAB file; save its arrays as .npz"),
        ("x.mat", b"\x89HDF\r\n\x1a\n", "HDF5 file; save its arrays"),
        ("x.parquet", b"PAR1", "Parquet file; write its images into class folders"),
        ("x.tfrecord", b"\x01\x02", "TFRecord"),
        ("x.pkl", b"\x80\x04", "pickle"),
        ("x.png", b"\x89PNG\r\n\x1a\n", "is a single image; give a folder of class folders"),
        ("x.csv", b"", "is empty"),
    ],
)
def test_what_a_source_is_in_truth_is_said(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: .*{told}"):
        find_reader(str(tmp_path / name))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("", "empty name"),
        ("  ", "empty name"),
        ("x" * 5000, r"x\.\.\.x+' cannot be read \(File name too long"),
        ("a\0b", "cannot hold a zero byte"),
    ],
)
def test_names_that_cannot_be_a_source(source, told):
    with pytest.raises(DataError, match=told):
        load_images(source)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    image = encode(np.zeros((4, 4), np.uint8))
    write_folder(tmp_path / "pets", {f"{label}/{k}.png": image for label in ("cat", "dog") for k in range(2)})
    assert len(load_images("~/pets", cache=False)) == 4
    with pytest.raises(DataError, match="does not exist"):
        load_images("~nobody-of-this-name/pets", cache=False)


@pytest.mark.parametrize("suffix", ["", ".csv", ".npz", ".zip"])
def test_a_pipe_is_refused_and_does_not_hang(tmp_path, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"cannot be read \(a named pipe, not a regular file\)"):
        load_images(path)
    with pytest.raises(DataError, match="a device, not a regular file"):
        load_images("/dev/zero")
