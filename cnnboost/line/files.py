"""Small files: JSON and text written whole, checksums."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> Path:
    """Write text to a temporary name, then rename.

    Parameters
    ----------
    path : Path
        Its folder is made.
    text : str

    Returns
    -------
    Path
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, facts: Any) -> Path:
    """Write JSON; see `write_text`.

    Parameters
    ----------
    path : Path
    facts : JSON-able

    Returns
    -------
    Path
    """
    return write_text(path, json.dumps(facts, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is no such file or it is damaged.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict or None
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def digest_of(facts: Any) -> str:
    """Hash JSON-able facts.

    Parameters
    ----------
    facts : JSON-able

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hash a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        sha256, hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
