"""Keras models out of files of Keras 2 and 3, never running code that is in them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnnboost.cnn.file_kind import file_kind
from cnnboost.cnn.old_config import rewrite
from cnnboost.errors import ModelError

_CUSTOM = (
    "its layer class {!r} is not one of Keras' own, and its code is not in the file; import the package that "
    "registers the class first, or rebuild the network with Keras' own layers"
)
_CODE = (
    "it holds Python code (a Lambda layer), which is not run; rebuild the network with Keras' own layers in "
    "its place, load the weights and save it again"
)
_BETTER = {
    r"Unknown layer: '(.+?)'": _CUSTOM,
    r"Could not locate class '(.+?)'": _CUSTOM,
    r"Requested the deserialization of a .*[lL]ambda": _CODE,
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


def load_model(path: Path) -> Any:
    """Return the model in a file, uncompiled; what is in the file counts, not its name.

    Raises
    ------
    ModelError
        If there is none, or it carries code, or cannot be loaded.
    """
    kind = file_kind(path)
    try:
        return _load_hdf5(path) if kind == "hdf5" else _load_keras(path)
    except ModelError as error:
        raise ModelError(f"{path} {error}") from error
    # Keras raises whatever its deserialisers and h5py happen to raise; the file is to blame for all of it.
    except Exception as error:
        raise ModelError(f"{path}: Keras cannot load it: {reason_of(error)}") from error


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
        model = keras.saving.deserialize_keras_object(rewrite(json.loads(_text(stored))), safe_mode=True)
        if not model.built:
            raise ModelError("does not say what shape its images have, so its network cannot be built")
        # Keras goes by the order of the layers; names are surer, where all of them are known.
        names = {layer.name for layer in model.layers if layer.weights}
        model.load_weights(place, **({"by_name": True} if names == saved else {}))
    return model


def _load_keras(path: Path) -> Any:
    import keras

    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
        if not str(metadata.get("keras_version", "3")).startswith("2"):
            with _named(path, "model.keras") as place:
                return keras.saving.load_model(place, compile=False, safe_mode=True)
        config = json.dumps(rewrite(json.loads(archive.read("config.json"))))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "model.keras"
            with zipfile.ZipFile(place, "w") as translated:
                for name in archive.namelist():
                    content = config.encode() if name == "config.json" else archive.read(name)
                    translated.writestr(name, content)
            return keras.saving.load_model(place, compile=False, safe_mode=True)


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


def reason_of(error: Exception) -> str:
    """Return what Keras complains of, out of a message that first repeats a whole configuration."""
    text = str(error).strip()
    if "'tuple' object" in text and not text:
        text = ""
    for mark in ("Exception encountered: ", "Example error message for object "):
        text = text.rsplit(mark, 1)[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if text.startswith("<") and len(lines) > 1:
        lines = lines[1:]
    reason = lines[0].split(" Full object config:")[0] if lines else type(error).__name__
    if isinstance(error, KeyError):
        return f"KeyError: {reason}"
    for known, better in _BETTER.items():
        found = re.match(known, reason)
        if found:
            return better.format(*found.groups())
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
