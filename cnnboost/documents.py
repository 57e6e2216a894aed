"""JSON documents that this package writes, checked whole when they are read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cnnboost.errors import StoreError
from cnnboost.files import CHECKSUM, digest_of, parsed_json


class Document(BaseModel):
    """Keys of a document that are used, with their types; other keys are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


def read_document(path: Path, kind: type[Document], remedy: str, *, checksum: bool = False) -> dict[str, Any]:
    """Read a JSON document."""
    metadata = parsed_json(path, remedy)
    has_checksum = CHECKSUM in metadata
    stated = metadata.pop(CHECKSUM, None)
    try:
        kind.model_validate(metadata)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise StoreError(f"{path}: {place}: {first['msg'].lower()}; {remedy}") from error
    if checksum and not has_checksum:
        raise StoreError(f"{path}: {CHECKSUM}: field required; {remedy}")
    if has_checksum and stated != digest_of(metadata):
        raise StoreError(f"{path} was altered after it was written (checksum); {remedy}")
    return metadata
