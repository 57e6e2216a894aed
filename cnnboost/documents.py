"""JSON documents that this package writes, checked whole when they are read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cnnboost.errors import StoreError
from cnnboost.files import CHECKSUM, digest_of, parsed_json


class Document(BaseModel):
    """Keys of a document that are used, with their types; others may stand beside them."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


def read_document(path: Path, kind: type[Document], remedy: str, *, checksum: bool = False) -> dict[str, Any]:
    """Read a JSON document.

    Parameters
    ----------
    path : Path
    kind : type
        What it should be.
    remedy : str
        What to do about it, for the error.
    checksum : bool, default=False
        Refuse a document without a checksum. Documents of earlier versions have none; one that is there has
        to be right in any case.

    Returns
    -------
    dict
        Without the checksum.

    Raises
    ------
    StoreError
        If it is missing, damaged, altered, or another document. The message names file, key and remedy.
    """
    facts = parsed_json(path, remedy)
    has_checksum = CHECKSUM in facts
    stated = facts.pop(CHECKSUM, None)
    try:
        kind.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise StoreError(f"{path}: {place}: {first['msg'].lower()}; {remedy}") from error
    if checksum and not has_checksum:
        raise StoreError(f"{path}: {CHECKSUM}: field required; {remedy}")
    if has_checksum and stated != digest_of(facts):
        raise StoreError(f"{path} was altered after it was written (checksum); {remedy}")
    return facts
