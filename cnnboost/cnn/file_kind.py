"""What a file is by its first bytes, whatever its name; and what to do where it is not a Keras model."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from cnnboost.errors import ModelError

_NEEDED = "a Keras model is needed (.keras, or .h5 of Keras 2)"
_PACKED = "unpack it and give the model file that is in it"
_PICKLE = (
    "opening one can run any code, so it is not opened; where it was made, save the Keras model in it with "
    "model.save('model.keras')"
)
_SAVED_MODEL = (
    "Keras 3 cannot load its layers; load it with Keras 2 (tf_keras.models.load_model, from the package "
    "tf_keras) and save it with model.save('model.h5')"
)
# Where the bytes are, the bytes, what such a file is, and the remedy.
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model", _NEEDED),
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch model", _NEEDED),
    *((0, b"\x80" + bytes([protocol]), "a Python pickle", _PICKLE) for protocol in range(2, 6)),
    *((0, b"x" + bytes([level]), "compressed by joblib or zlib", _PICKLE) for level in b"\x01\x5e\x9c\xda"),
    (0, b"version https://git-lfs", "a git-lfs pointer in place of the file", "fetch it: git lfs pull"),
    (0, b"\x1f\x8b", "compressed by gzip", _PACKED),
    (0, b"BZh", "compressed by bzip2", _PACKED),
    (0, b"\xfd7zXZ", "compressed by xz", _PACKED),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _PACKED),
    (0, b"7z\xbc\xaf", "a 7z archive", _PACKED),
    (0, b"Rar!", "a RAR archive", _PACKED),
    (257, b"ustar", "a tar archive", _PACKED),
    (0, b"\x93NUMPY", "a NumPy array", _NEEDED),
    (0, b"\x89PNG", "a picture", _NEEDED),
    (0, b"\xff\xd8\xff", "a picture", _NEEDED),
    (8, b'{"', "a safetensors file, which holds weights without a network", _NEEDED),
)


def file_kind(path: Path) -> Literal["keras", "hdf5"]:
    """Tell how a model is stored by what is in the file, whatever its name."""
    if path.is_dir():
        raise ModelError(f"{path} is {_folder(path)}")
    if not path.exists():
        raise ModelError(f"{path}: no such file; train a CNN first or give the path of a .keras or .h5 file")
    if not path.is_file():
        raise ModelError(f"{path} is a device or a pipe; {_NEEDED}")
    try:
        with path.open("rb") as file:
            start = file.read(1024)
        if start.startswith(b"PK\x03\x04"):
            return _zip(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    if start.startswith(b"\x89HDF\r\n\x1a\n") or start[512:].startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    raise ModelError(f"{path} is {_other(path, start)}")


def _other(path: Path, start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for offset, signature, kind, remedy in _SIGNATURES:
        if start[offset:].startswith(signature):
            return f"{kind}; {remedy}"
    if not start:
        return "an empty file; copy or download it again"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page under the name of a model; download the file itself ('raw' on a code host)"
    if text.startswith(b"{"):
        return f"a JSON text: a network's structure at most, without weights; {_NEEDED}"
    # These two have no signature; the second is how a message of ONNX begins.
    if path.suffix == ".pb":
        return f"a graph of TensorFlow; {_NEEDED}"
    if path.suffix == ".onnx" or (start[0] == 8 and start[1] < 32 and start[2:3] in (b"\x12", b":", b"B")):
        return f"an ONNX model; {_NEEDED}"
    if not start.strip(b"\0"):
        return "filled with zeros; copy or download it again"
    return f"not a Keras model: it begins with the bytes {start[:8].hex(' ')}; {_NEEDED}"


def _zip(path: Path) -> Literal["keras"]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{path} is damaged or cut short ({error}); copy or download it again") from error
    if "config.json" in names and any(name.startswith("model.weights") for name in names):
        return "keras"
    if any(name.endswith(("data.pkl", "constants.pkl")) for name in names):
        raise ModelError(f"{path} is a PyTorch model; {_NEEDED}")
    if any(name.endswith("saved_model.pb") for name in names):
        raise ModelError(f"{path} is a packed SavedModel of TensorFlow; {_SAVED_MODEL}")
    if any(name.endswith((".keras", ".h5", ".hdf5")) for name in names):
        raise ModelError(f"{path} is a zip archive; {_PACKED}")
    if names and all(name.endswith(".npy") for name in names):
        raise ModelError(f"{path} is a .npz file of arrays; {_NEEDED}")
    raise ModelError(f"{path} is a zip archive without a Keras model; {_NEEDED}")


def _folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return f"a SavedModel of TensorFlow; {_SAVED_MODEL}"
    if (path / "config.json").is_file():
        return "an unpacked .keras file; pack its content again (zip -r ../model.keras * in the folder)"
    if (path / "manifest.json").is_file() and (path / "cnn.keras").is_file():
        return f"a bundle of 'cnnboost export'; its network alone is {path / 'cnn.keras'}"
    files = sorted(file.name for file in path.iterdir() if file.suffix in (".keras", ".h5", ".hdf5"))
    found = f"; did you mean {path / files[0]}?" if files else f"; {_NEEDED}"
    return f"a folder{found}"
