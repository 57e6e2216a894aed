"""The bundle: the files that a trained hybrid needs, and the manifest that names them.

The manifest is written last and says size and sha256 of every member; nothing else in the folder belongs to
the bundle. A bundle is replaced as a whole: the new one is put together in a folder of its own, whose
renaming to `.export` is the moment from which it counts. Its files are then moved to their places; who reads
before that is done reads them where they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnboost.errors import StoreError
from cnnboost.files import (
    CHECKSUM,
    digest_of,
    disk_error,
    file_digest,
    parsed_json,
    read_regular,
    write_json,
)

FORMAT = 1
MANIFEST = "manifest.json"
_PENDING = ".export"
_MOST_JSON_BYTES = 1 << 24
_MEMBER = re.compile(r"[A-Za-z0-9][\w.+-]{0,100}", re.ASCII)
#: What a manifest must hold. Checked by hand: whoever predicts needs no pydantic, and starts sooner so.
_KINDS: dict[str, type] = {
    **dict.fromkeys(("recipe", "layer", "mode", "pixels"), str),
    **dict.fromkeys(("input", "versions", "members"), dict),
    "classes": list,
    "rounds": int,
}
#: What `export` adds, where it is there.
_MORE: dict[str, type] = {
    **dict.fromkeys(("title", "tta", "made_from", "recipe_digest"), str),
    **dict.fromkeys(("scores", "parity"), dict),
    "networks": int,
    "layers": list,
}
_REMEDY = "export it again ('cnnboost export')"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose members were all compared with their checksums."""

    folder: Path
    manifest: dict[str, Any]
    members: dict[str, Path]


def is_bundle(folder: Path) -> bool:
    """Tell whether a folder holds a bundle, whatever its state."""
    return (folder / MANIFEST).is_file() or (folder / _PENDING / MANIFEST).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read the manifest of a bundle and verify its members; none of them is parsed."""
    while True:
        before = _manifests(folder)
        try:
            return _read(folder)
        except FileNotFoundError:
            if not is_bundle(folder) and _manifests(folder) == before:
                raise
        except StoreError:
            if _manifests(folder) == before:
                raise
        # Another process moved its new bundle into place meanwhile: the members were not of one time.


def _manifests(folder: Path) -> list[bytes | None]:
    """Return the manifests that stand in a folder: of the bundle on its way in, and of the one in place."""
    found: list[bytes | None] = []
    for path in (folder / _PENDING / MANIFEST, folder / MANIFEST):
        try:
            found.append(read_regular(path, _MOST_JSON_BYTES))
        except OSError:
            found.append(None)
    return found


def _read(folder: Path) -> Bundle:
    pending = folder / _PENDING
    places = [folder]
    if (pending / MANIFEST).is_file():
        places.insert(0, pending)
    path = places[0] / MANIFEST
    manifest = _read_manifest(path)
    members = {}
    for name, stated in manifest["members"].items():
        member = next((place / name for place in places if (place / name).is_file()), None)
        if member is None:
            raise StoreError(f"{folder / name} is missing, and {path} names it; {_REMEDY}")
        size = member.stat().st_size
        if size != stated["bytes"]:
            raise StoreError(
                f"{member} has {size} bytes where {path.name} states {stated['bytes']}: truncated, altered "
                f"or of another model; {_REMEDY}"
            )
        if file_digest(member) != stated["sha256"]:
            raise StoreError(
                f"{member} is not the file that {path.name} names (checksum): altered or of another model; "
                f"{_REMEDY}"
            )
        members[name] = member
    return Bundle(folder, manifest, members)


def write_bundle(folder: Path, metadata: Mapping[str, Any], members: Mapping[str, bytes | Path]) -> Bundle:
    """Put a bundle into a folder, whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        finish(folder)
        new = folder / f"{_PENDING}.{secrets.token_hex(4)}"
        new.mkdir()
        try:
            stated = {name: _put(folder, new, name, content) for name, content in members.items()}
            manifest = {"format": FORMAT, **metadata, "members": stated}
            write_json(new / MANIFEST, manifest)
            new.rename(folder / _PENDING)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        finish(folder)
    except OSError as error:
        needed = sum(
            content.stat().st_size if isinstance(content, Path) else len(content)
            for content in members.values()
        )
        raise disk_error(folder, error, needed) from error
    return read_bundle(folder)


def finish(folder: Path) -> None:
    """Move the files of a bundle that was put together to their places, the manifest last."""
    for draft in folder.glob(f"{_PENDING}.*"):
        shutil.rmtree(draft, ignore_errors=True)
    pending = folder / _PENDING
    if not pending.is_dir():
        return
    for path in sorted(pending.iterdir(), key=lambda path: path.name == MANIFEST):
        path.replace(folder / path.name)
    pending.rmdir()


def _put(folder: Path, new: Path, name: str, content: bytes | Path) -> dict[str, Any]:
    """Write one member to the draft, unless the folder has it; return what the manifest says of it."""
    if isinstance(content, Path):
        metadata = {"bytes": content.stat().st_size, "sha256": file_digest(content)}
    else:
        metadata = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    there = folder / name
    if (
        there.is_file()
        and there.stat().st_size == metadata["bytes"]
        and file_digest(there) == metadata["sha256"]
    ):
        return metadata
    with (new / name).open("wb") as file:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return metadata


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StoreError(f"{path.parent} holds no bundle: {path.name} is missing; {_REMEDY}")
    manifest = parsed_json(path, _REMEDY, _MOST_JSON_BYTES)
    version = manifest.get("format")
    if version != FORMAT:
        raise StoreError(f"{path} has format {version!r}, this version reads {FORMAT}; update cnnboost")
    missing = sorted(_KINDS.keys() - manifest.keys())
    if missing:
        raise StoreError(f"{path} is not the manifest of a bundle: {', '.join(missing)} missing; {_REMEDY}")
    stated = manifest.pop(CHECKSUM, None)
    if stated != digest_of(manifest):
        raise StoreError(f"{path} was altered after it was written (checksum); {_REMEDY}")
    # The checksum is no signature: whoever wrote it, no name may lead out of the folder.
    wrong = [
        key for key, kind in {**_KINDS, **_MORE}.items() if key in manifest and not _is(manifest[key], kind)
    ]
    wrong += [] if wrong else [key for key, good in _sound(manifest).items() if not good]
    if wrong:
        raise StoreError(f"{path}: {wrong[0]} = {brief(manifest[wrong[0]])} cannot be; {_REMEDY}")
    for name, metadata in manifest["members"].items():
        if not _MEMBER.fullmatch(name):
            raise StoreError(f"{path} names a member {brief(name)}: not a plain file name; {_REMEDY}")
        if not (
            isinstance(metadata, dict)
            and _is(metadata.get("bytes"), int)
            and _is(metadata.get("sha256"), str)
        ):
            raise StoreError(f"{path} does not state bytes and sha256 of {name}; {_REMEDY}")
    return manifest


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _sound(manifest: dict[str, Any]) -> dict[str, bool]:
    """Check what stands inside the values of a manifest."""
    classes, size = manifest["classes"], manifest["input"]
    return {
        "classes": len(classes) > 1 and len(set(map(str, classes))) == len(classes),
        "input": size.keys() == {"height", "width", "channels"}
        and all(_is(value, int) and value > 0 for value in size.values()),
        "layers": all(isinstance(layer, str) for layer in manifest.get("layers", ())),
        "versions": all(isinstance(version, str) for version in manifest["versions"].values()),
        "parity": all(
            isinstance(found, list) and all(isinstance(one, dict) for one in found)
            for found in manifest.get("parity", {}).values()
        ),
    }


def brief(value: Any) -> str:
    """Show a value in a message, its beginning where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
