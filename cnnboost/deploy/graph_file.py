"""An exported ONNX file: graph, metadata and checksum; and a session on one that was verified.

A file is a protobuf message, and consecutive messages are read as one. The last bytes of an exported file are
therefore one more entry of its metadata, of fixed length, with the sha256 of all bytes before it: any ONNX
reader accepts the file, and a change is noticed before anything is parsed. That protects against damage and
mix-ups. It is not a signature: an attacker can compute a checksum too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from cnnboost.deploy.bundle import WANTS, brief, check_values, valid_classes, valid_input
from cnnboost.errors import ModelError, StoreError
from cnnboost.files import read_regular, reason_of
from cnnboost.images.decode import InputSpec

if TYPE_CHECKING:
    import onnx

FORMAT = 1
METADATA_KEY, CHECKSUM_KEY = "cnnboost", "cnnboost.sha256"
KINDS = ("hybrid", "cnn")
ENGINE_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    UnicodeDecodeError,  # from names in a file that are not UTF-8
    *(value for value in vars(_state).values() if isinstance(value, type) and issubclass(value, Exception)),
)
#: After a call, threads spin for so long: enough for calls that follow each other, too short to take the
#: cores from other libraries. ONNX Runtime's own limit is tens of milliseconds: trees that XGBoost evaluates
#: right afterwards then take up to thirty times as long.
_SPIN_US = "100"
_VALID = {
    "kind": lambda value: value in KINDS,
    "classes": lambda value: (
        valid_classes(value) and {type(name) for name in value} in ({str}, {int}, {float}, {bool})
    ),
    "input": lambda value: valid_input(value) and value["channels"] in (1, 3),
    # A CNN that was exported by itself has neither.
    "layer": lambda value: isinstance(value, str | None),
    "mode": lambda value: isinstance(value, str | None),
    "int8": lambda value: isinstance(value, bool),
    "wants": lambda value: value in WANTS,
}


@dataclass(frozen=True)
class GraphFile:
    """An exported graph in a file that several machines see; one of the same content is equal to it."""

    path: Path = field(compare=False)
    sha256: str

    def read(self) -> bytes:
        """Return its content, if it is the one that is meant."""
        try:
            content = read_regular(self.path)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {reason_of(error)}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise StoreError(f"{self.path} is not the graph that was exported: it was altered or replaced")
        return content


def serialise(model: onnx.ModelProto, metadata: Mapping[str, Any]) -> bytes:
    """Turn a graph into the content of a file, with metadata and checksum."""
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata, sort_keys=True)
    return add_checksum(model.SerializeToString(deterministic=True))


def add_checksum(model: bytes) -> bytes:
    """Append the checksum of a serialised ONNX model."""
    return model + _trailer(hashlib.sha256(model).hexdigest())


def verify_checksum(content: bytes, place: str) -> None:
    """Compare a file's content with the checksum at its end."""
    if not content:
        raise StoreError(f"{place} is empty; export it again")
    model, trailer = content[:-_TRAILER_BYTES], content[-_TRAILER_BYTES:]
    if CHECKSUM_KEY.encode() not in trailer:
        raise StoreError(
            f"{place} is truncated, or was not made by cnnboost; 'cnnboost export' makes such a file"
        )
    if trailer != _trailer(hashlib.sha256(model).hexdigest()):
        raise StoreError(f"{place} was altered after it was exported (checksum); export it again")


def _trailer(digest: str) -> bytes:
    entry = _field(1, CHECKSUM_KEY) + _field(2, digest)  # StringStringEntryProto
    return _field(14, entry)  # ModelProto.metadata_props


def _field(number: int, content: str | bytes) -> bytes:
    """Encode a length-delimited protobuf field of less than 128 bytes."""
    content = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2, len(content)]) + content


_TRAILER_BYTES = len(_trailer("0" * 64))


def open_session(
    content: bytes, threads: int, place: str
) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Open a session on a file whose checksum was verified; return it with the file's metadata."""
    try:
        session = session_on(content, threads)
        metadata = _metadata(session.get_modelmeta().custom_metadata_map.get(METADATA_KEY), place)
        _check_signature(session, InputSpec(**metadata["input"]), len(metadata["classes"]), place)
    except ENGINE_ERRORS as error:
        if "xternal data" in str(error):
            raise ModelError(
                f"{place} keeps weights in other files, which are not read; export it again "
                "('cnnboost export'), or save it with all of its weights"
            ) from error
        raise ModelError(f"{place}: ONNX Runtime cannot read the graph: {reason_of(error)}") from error
    return session, metadata


def session_on(content: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Open a session on a graph, with as many threads of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; nothing is printed besides
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    # Otherwise a foreign graph could have any file of this machine read as its weights.
    nowhere = f"{os.devnull}/none"
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", nowhere)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _metadata(text: str | None, place: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text) if text else None
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise StoreError(f"{place} has no metadata: its entry {METADATA_KEY!r} is missing or not JSON")
    if metadata.get("format") != FORMAT:
        version = brief(metadata.get("format"))
        raise StoreError(f"{place} has format {version}, this version reads {FORMAT}; update cnnboost")
    check_values(place, {**dict.fromkeys(("kind", "classes", "input")), **metadata}, _VALID)
    return metadata


def _check_signature(session: onnxruntime.InferenceSession, spec: InputSpec, k: int, place: str) -> None:
    """Compare inputs and outputs of the graph with the metadata."""
    inputs = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    outputs = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    if inputs != {"image": ("tensor(uint8)", list(spec))}:
        raise ModelError(f"{place} states images of {spec}, its graph takes {_signature(inputs)}")
    if outputs.get("probabilities") != ("tensor(float)", [k]):
        raise ModelError(f"{place} states {k} classes, its graph gives {_signature(outputs)}")


def _signature(nodes: dict[str, tuple[str, list[Any]]]) -> str:
    return ", ".join(f"{name} {kind} [n, {', '.join(map(str, s))}]" for name, (kind, s) in nodes.items())
