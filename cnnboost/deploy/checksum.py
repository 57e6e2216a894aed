"""A checksum that travels inside an ONNX file and is checked before anything parses it.

An ONNX file is a protobuf message, and messages that stand one after the other are read as one. The last
bytes of a sealed file are therefore one more entry of its metadata, of fixed length, with the sha256 of all
bytes before it: any ONNX reader takes the file, and whoever changes it without sealing it anew is found out.
It guards against damage and mix-ups. It is no signature: who means harm can compute a checksum too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cnnboost.errors import StoreError

KEY = "cnnboost.sha256"
#: Key of the metadata entry with what the graph was made from, as JSON.
FACTS_KEY = "cnnboost"
_DIGITS = 64


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited protobuf field; all of ours are shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def _trailer(digest: str) -> bytes:
    entry = _field(1, KEY.encode()) + _field(2, digest.encode())  # StringStringEntryProto
    return _field(14, entry)  # ModelProto.metadata_props


_LENGTH = len(_trailer("0" * _DIGITS))


def add_checksum(model: bytes) -> bytes:
    """Append the checksum of a serialised ONNX model."""
    return model + _trailer(hashlib.sha256(model).hexdigest())


def verify_checksum(content: bytes, path: Path) -> None:
    """Compare a file's content with the checksum at its end."""
    if not content:
        raise StoreError(f"{path} is empty; export it again")
    model, trailer = content[:-_LENGTH], content[-_LENGTH:]
    if KEY.encode() not in trailer:
        raise StoreError(
            f"{path} is no complete file of cnnboost: truncated, or made by something else; "
            "'cnnboost export' makes one"
        )
    if trailer != _trailer(hashlib.sha256(model).hexdigest()):
        raise StoreError(f"{path} was altered after it was exported (checksum); export it again")
