"""Keras model files: read without running code that is in them, and written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cnnboost.cnn.interface import check_model
from cnnboost.cnn.keras2 import rewrite
from cnnboost.errors import ModelError
from cnnboost.files import reason_of, write_bytes

_NEEDED = "a Keras model is needed (.keras, or .h5 of Keras 2)"
_PICKLE = (
    "opening one can run any code, so it is not opened; where it was made, save the Keras model in it with "
    "model.save('model.keras')"
)
_SAVED_MODEL = (
    "Keras 3 cannot load its layers; load it with Keras 2 (tf_keras.models.load_model, from the package "
    "tf_keras) and save it with model.save('model.h5')"
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PYTORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")
# Where the bytes are, the bytes, what such a file is, and the remedy.
_SIGNATURES: tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model", _NEEDED),
    (0, _PYTORCH, "a PyTorch model", _NEEDED),
    (0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle", _PICKLE),
    (0, (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), "compressed by joblib or zlib", _PICKLE),
    (0, b"version https://git-lfs", "a git-lfs pointer in place of the file", "fetch it: git lfs pull"),
    (0, _COMPRESSED, "a compressed file", "unpack it and give the model file in it"),
    (257, b"ustar", "a tar archive", "unpack it and give the model file in it"),
    (0, (b"\x93NUMPY", b"\x89PNG", b"\xff\xd8\xff"), "an array or a picture", _NEEDED),
    (8, b'{"', "a safetensors file, which holds weights without a network", _NEEDED),
    (0, (b"<!doctype", b"<html", b"<?xml"), "a web page", "download the file itself ('raw' on a code host)"),
    (0, b"{", "a JSON text: a network's structure at most, without weights", _NEEDED),
    (0, b"\0" * 16, "filled with zeros", "copy or download it again"),
)
# The same for archives, by the ends of their members' names.
_MEMBERS = (
    (("data.pkl", "constants.pkl"), "a PyTorch model", _NEEDED),
    ("saved_model.pb", "a packed SavedModel of TensorFlow", _SAVED_MODEL),
    ((".keras", ".h5", ".hdf5"), "a zip archive", "unpack it and give the model file in it"),
    (".npy", "a .npz file of arrays", _NEEDED),
)
_REBUILD = "rebuild the network with Keras' own layers in its place, load the weights and save it again"
_CUSTOM = (
    "its layer class {!r} is not one of Keras' own, and its code is not in the file; import the package that "
    "registers the class first, or rebuild the network with Keras' own layers"
)
_BETTER = {
    r"Unknown layer: '(.+?)'": _CUSTOM,
    r"Could not locate class '(.+?)'": _CUSTOM,
    r"Requested the deserialization of a .*[lL]ambda": (
        f"it holds Python code (a Lambda layer), which is not run; {_REBUILD}"
    ),
}
_LONGEST = 400
SECONDS = 8
"""In which a small HDF5 file must have been read."""
_READ_ALL = """
import sys, h5py

def read(name, part):
    dict(part.attrs)
    if isinstance(part, h5py.Dataset):
        part[()]

with h5py.File(sys.argv[1], "r") as file:
    read("", file)
    file.visititems(read)
"""


def read_model(path: str | os.PathLike[str]) -> Any:
    """Load a `.keras` file, or an `.h5` file of Keras 2; its content counts, not its name."""
    path = Path(path)
    load = _load_hdf5 if file_kind(path) == "hdf5" else _load_keras
    try:
        model = load(path)
    except ModelError as error:
        raise ModelError(f"{path} {error}") from error
    # Keras raises whatever its deserialisers and h5py happen to raise; the file is to blame for all of it.
    except Exception as error:
        raise ModelError(f"{path}: Keras cannot load it: {keras_reason(error)}") from error
    return check_model(model, os.fspath(path))


def write_model(model: Any, path: str | os.PathLike[str]) -> Path:
    """Write a model whole or not at all."""
    return write_bytes(path, keras_bytes(model.save, "model.keras"))


class _Named(io.BytesIO):
    """A file in memory with a name, by whose ending Keras chooses the format."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def keras_bytes(save: Callable[[Any], object], name: str) -> memoryview:
    """Return what Keras would write to a file.

    HDF5 ends the process where a disk is full; in memory it does not.
    """
    file = _Named(name)
    save(file)
    return file.getbuffer()


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
        raise ModelError(f"{path} cannot be read: {reason_of(error)}") from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{path} is damaged or cut short ({error}); copy or download it again") from error
    if start.startswith(_HDF5) or start[512:].startswith(_HDF5):
        return "hdf5"
    raise ModelError(f"{path} is {_other(path, start)}")


def _other(path: Path, start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for offset, signature, kind, remedy in _SIGNATURES:
        if start[offset:].startswith(signature) or (not offset and text.startswith(signature)):
            return f"{kind}; {remedy}"
    if not start:
        return "an empty file; copy or download it again"
    # These two have no signature; the second is how a message of ONNX begins.
    if path.suffix == ".pb":
        return f"a graph of TensorFlow; {_NEEDED}"
    if path.suffix == ".onnx" or (start[0] == 8 and start[1] < 32 and start[2:3] in (b"\x12", b":", b"B")):
        return f"an ONNX model; {_NEEDED}"
    return f"not a Keras model: it begins with the bytes {start[:8].hex(' ')}; {_NEEDED}"


def _zip(path: Path) -> Literal["keras"]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "config.json" in names and any(name.startswith("model.weights") for name in names):
        return "keras"
    for ends, kind, remedy in _MEMBERS:
        if any(name.endswith(ends) for name in names):
            raise ModelError(f"{path} is {kind}; {remedy}")
    raise ModelError(f"{path} is a zip archive without a Keras model; {_NEEDED}")


def _folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return f"a SavedModel of TensorFlow; {_SAVED_MODEL}"
    if (path / "config.json").is_file():
        return "an unpacked .keras file; pack its content again (zip -r ../model.keras * in the folder)"
    if (path / "manifest.json").is_file() and (path / "cnn.keras").is_file():
        return f"a bundle of 'cnnboost export'; its network alone is {path / 'cnn.keras'}"
    files = sorted(file.name for file in path.iterdir() if file.suffix in (".keras", ".h5", ".hdf5"))
    return f"a folder; {f'did you mean {path / files[0]}?' if files else _NEEDED}"


def _check_hdf5(path: Path) -> None:
    """Have a process of its own read it first: the HDF5 library crashes on some damage, or never ends."""
    seconds = SECONDS + path.stat().st_size / 50e6
    command = [sys.executable, "-I", "-c", _READ_ALL, str(path.absolute())]
    try:
        status = subprocess.run(command, capture_output=True, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"is damaged: the HDF5 library does not finish reading it within {seconds:.0f} s; get it again"
        ) from None
    if status < 0:
        raise ModelError(f"is damaged: the HDF5 library crashes on it (signal {-status}); get it again")


def _load_hdf5(path: Path) -> Any:
    import h5py
    import keras

    _check_hdf5(path)
    with h5py.File(path, "r") as file:
        stored = file.attrs.get("model_config")
        weights = file.get("model_weights", ())
        saved = {name for name in weights if len(weights[name]) and name != "top_level_model_weights"}
        version = _text(file.attrs.get("keras_version", "2"))
        if stored is None:
            raise ModelError(_without_network(sorted(file), file.attrs))
    with _named(path, "model.h5") as place:
        if not version.startswith(("0", "1", "2")):
            return keras.saving.load_model(place, compile=False, safe_mode=True)
        model = _network_of_keras_2(_text(stored))
        # Keras goes by the order of the layers; names are surer, where all of them are known.
        names = {layer.name for layer in model.layers if layer.weights}
        model.load_weights(place, **({"by_name": True} if names == saved else {}))
    return model


def _load_keras(path: Path) -> Any:
    import keras

    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
        config = archive.read("config.json")
    with _named(path, "model.keras") as place:
        if not str(metadata.get("keras_version", "3")).startswith("2"):
            return keras.saving.load_model(place, compile=False, safe_mode=True)
        model = _network_of_keras_2(config)
        model.load_weights(place)
    return model


def _network_of_keras_2(stored: str | bytes) -> Any:
    import keras

    model = keras.saving.deserialize_keras_object(rewrite(json.loads(stored)), safe_mode=True)
    if not model.built:
        raise ModelError("does not say what shape its images have, so its network cannot be built")
    return model


@contextmanager
def _named(path: Path, name: str) -> Iterator[Path]:
    """Give a file the ending by which Keras knows what it is, where it has another."""
    if path.suffix == Path(name).suffix and not path.name.endswith(".weights.h5"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name
        try:
            place.symlink_to(path.resolve())
        except OSError:  # not everybody may make links on Windows
            shutil.copyfile(path, place)
        yield place


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _without_network(groups: list[str], attributes: Any) -> str:
    if "layer_names" in attributes or {"layers", "_layer_checkpoint_dependencies"} & set(groups):
        return (
            "holds weights alone, without the network they belong to; build the network in Python, load them "
            "with model.load_weights, and save both with model.save('model.keras')"
        )
    held = ", ".join(groups[:5]) or "nothing"
    return f"is an HDF5 file without a Keras model (it holds: {held}); give a .keras file, or .h5 of Keras 2"


def keras_reason(error: Exception) -> str:
    """Return what Keras complains of, out of a message that first repeats a whole configuration."""
    text = str(error).strip()
    for mark in ("Exception encountered: ", "Example error message for object "):
        text = text.rsplit(mark, 1)[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.startswith("<") and len(lines) > 1:
        lines = lines[1:]
    reason = lines[0].split(" Full object config:")[0] if lines else type(error).__name__
    if isinstance(error, KeyError):
        return f"KeyError: {reason}"
    for known, better in _BETTER.items():
        match = re.match(known, reason)
        if match:
            return better.format(*match.groups())
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
