"""The bundle: the files that a trained hybrid needs, and the manifest that lists them.

The manifest is written last and states size and sha256 of every member; nothing else in the folder belongs to
the bundle. A bundle is replaced as a whole: the new one is assembled in a temporary folder, and is valid from
the moment that this is renamed to `.export`. Its files then move to their final places; a reader that comes
in between reads them from `.export`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
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
#: The model card beside a bundle, for people; it is not a member.
CARD = "README.md"
#: What a bundle may say that its images show, so that it can be found in photographs.
WANTS = ("face",)
#: The graphs that it may have, each in a file of its name; `int8` is the hybrid in 8-bit integers.
GRAPHS = ("hybrid", "cnn", "int8")
#: Recipes whose bundles come with the package: what is taken where none is named, and a faster one.
SHIPPED = "fer2013"
FAST = "fer2013_fast"
_PENDING = ".export"
_MOST_JSON_BYTES = 1 << 24
_MEMBER_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,100}", re.ASCII)
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
            continue  # another process is moving a new bundle to its place
        except StoreError:
            # Unless another process replaced the bundle meanwhile, so that members of two were compared.
            if _manifests(folder) == before:
                raise


def shipped_bundle(name: str = SHIPPED) -> Bundle:
    """Read a bundle that comes with the package: emotions of faces, trained on FER-2013.

    It expects cropped faces, and its manifest says so: `Predictor.faces` and `cnnboost predict` cut them out
    of photographs. The `README.md` beside it says what it can do, and what it must not be used for.
    """
    folders = [folder / name for folder in _shipped_places()]
    for folder in filter(is_bundle, folders):
        try:
            return read_bundle(folder)
        except StoreError as error:
            raise StoreError(
                f"the bundle that ships with cnnboost is damaged: {error}, or reinstall cnnboost"
            ) from error
    raise StoreError(
        f"no bundle came with this copy of cnnboost (searched {', '.join(map(str, folders))}); name one "
        "with --model, or a recipe with --recipe, whose bundle is made if it does not exist"
    )


def located(model: Path) -> Path:
    """Return the folder of a bundle that ships where it is called by its name, else the path itself."""
    if str(model) not in (SHIPPED, FAST) or model.exists():
        return model
    return next(filter(is_bundle, (folder / model for folder in _shipped_places())), model)


def member_name(kind: str, number: int) -> str:
    """Name the file of a network or head without its ending: `cnn`, then `cnn-2`, `cnn-3`, ..."""
    return kind if number == 1 else f"{kind}-{number}"


def graph_name(graph: str) -> str:
    """Name the file of a graph: `hybrid.onnx`, `cnn.onnx` or `int8.onnx`."""
    return f"{graph}.onnx"


def describe(bundle: Bundle, graph: str = "hybrid") -> str:
    """Describe a bundle in one line: its model, and how good it is."""
    manifest = bundle.manifest
    text = manifest.get("title") or manifest["recipe"]
    scores = manifest.get("scores") or {}
    if graph in scores:
        accuracy = scores[graph]["accuracy"]
        text += f"; accuracy {accuracy:.1%} on {scores['images']:,} images of {scores['split']}"
    return f"{text} ({bundle.folder})"


def write_bundle(folder: Path, metadata: Mapping[str, Any], members: Mapping[str, bytes]) -> Bundle:
    """Put a bundle into a folder, whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        finish(folder)
        new = folder / f"{_PENDING}.{secrets.token_hex(4)}"
        new.mkdir()
        try:
            stated = {name: _write_member(folder, new, name, content) for name, content in members.items()}
            write_json(new / MANIFEST, {"format": FORMAT, **metadata, "members": stated})
            new.rename(folder / _PENDING)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        finish(folder)
    except OSError as error:
        raise disk_error(folder, error, sum(map(len, members.values()))) from error
    return read_bundle(folder)


def finish(folder: Path) -> None:
    """Move the files of an assembled bundle to their places, the manifest last; remove abandoned ones."""
    for abandoned in folder.glob(f"{_PENDING}.*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    pending = folder / _PENDING
    if pending.is_dir():
        for path in sorted(pending.iterdir(), key=lambda path: path.name == MANIFEST):
            path.replace(folder / path.name)
        pending.rmdir()


def _write_member(folder: Path, new: Path, name: str, content: bytes) -> dict[str, Any]:
    """Write a member, unless the bundle that is replaced has the same; return its entry in the manifest."""
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if not _is_member(folder / name, entry):
        with (new / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return entry


def _is_member(path: Path, entry: Mapping[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == entry["bytes"] and file_digest(path) == entry["sha256"]


def _manifests(folder: Path) -> list[bytes | None]:
    """Return the content of the pending and of the final manifest."""
    contents: list[bytes | None] = []
    for path in (folder / _PENDING / MANIFEST, folder / MANIFEST):
        try:
            contents.append(read_regular(path, _MOST_JSON_BYTES))
        except OSError:
            contents.append(None)
    return contents


def _read(folder: Path) -> Bundle:
    places = [folder]
    if (folder / _PENDING / MANIFEST).is_file():
        places.insert(0, folder / _PENDING)
    path = places[0] / MANIFEST
    manifest = _read_manifest(path)
    members = {}
    for name, entry in manifest["members"].items():
        found = [place / name for place in places if (place / name).is_file()]
        if not found:
            raise StoreError(f"{folder / name} is missing, and {path} lists it; {_REMEDY}")
        if not _is_member(found[0], entry):
            raise StoreError(
                f"{found[0]} is not the file that {path.name} lists (checksum): truncated, altered or of "
                f"another model; {_REMEDY}"
            )
        members[name] = found[0]
    return Bundle(folder, manifest, members)


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StoreError(f"{path.parent} holds no bundle: {path.name} is missing; {_REMEDY}")
    manifest = parsed_json(path, _REMEDY, _MOST_JSON_BYTES)
    version = manifest.get("format")
    if version != FORMAT:
        raise StoreError(f"{path} has format {version!r}, this version reads {FORMAT}; update cnnboost")
    missing = sorted(_REQUIRED - manifest.keys())
    if missing:
        raise StoreError(f"{path} is not the manifest of a bundle: {', '.join(missing)} missing; {_REMEDY}")
    if manifest.pop(CHECKSUM, None) != digest_of(manifest):
        raise StoreError(f"{path} was altered after it was written (checksum); {_REMEDY}")
    # The checksum is not a signature: even in a manifest with a correct one, no name may leave the folder.
    check_values(str(path), manifest, _VALID)
    for name, entry in manifest["members"].items():
        if not _MEMBER_NAME.fullmatch(name):
            raise StoreError(f"{path} lists a member {brief(name)}, which is not a file name; {_REMEDY}")
        if not (
            isinstance(entry, dict) and type(entry.get("bytes")) is int and type(entry.get("sha256")) is str
        ):
            raise StoreError(f"{path} does not state bytes and sha256 of {name}; {_REMEDY}")
    return manifest


def check_values(place: str, document: Mapping[str, Any], valid: Mapping[str, Callable[[Any], bool]]) -> None:
    """Refuse a document with an impossible value; by hand, as predicting should not wait for pydantic."""
    for key, is_valid in valid.items():
        if key in document and not is_valid(document[key]):
            raise StoreError(f"{place} states {key} = {brief(document[key])}, which is invalid; {_REMEDY}")


def valid_classes(value: Any) -> bool:
    """Tell whether a value can be the classes of a model."""
    return isinstance(value, list) and len(set(map(str, value))) == len(value) > 1


def valid_input(value: Any) -> bool:
    """Tell whether a value can be the size of a model's images."""
    return (
        isinstance(value, dict)
        and value.keys() == {"height", "width", "channels"}
        and all(type(size) is int and size > 0 for size in value.values())
    )


def brief(value: Any) -> str:
    """Show a value in a message, only the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_a(kind: type) -> Callable[[Any], bool]:
    """Return the test for values of one type of JSON."""
    return lambda value: type(value) is kind


def _valid_parity(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(rows, list) and all(map(_is_a(dict), rows)) for rows in value.values()
    )


def _valid_scores(value: Any) -> bool:
    """Tell whether a value can be scores: of which images, and of each graph at least its accuracy."""
    if not isinstance(value, dict):
        return False
    graphs = [value[graph] for graph in GRAPHS if graph in value]
    stated = type(value.get("split")) is str and type(value.get("images")) is int
    return all(stated and isinstance(one, dict) and isinstance(one.get("accuracy"), float) for one in graphs)


_REQUIRED = {"recipe", "layer", "mode", "pixels", "input", "versions", "members", "classes", "rounds"}
_VALID: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("recipe", "layer", "mode", "pixels", "title", "tta", "made_from", "recipe_digest"), _is_a(str)
    ),
    "members": _is_a(dict),
    "scores": _valid_scores,
    **dict.fromkeys(("rounds", "networks"), _is_a(int)),
    "classes": valid_classes,
    "input": valid_input,
    "versions": lambda value: isinstance(value, dict) and all(map(_is_a(str), value.values())),
    "layers": lambda value: isinstance(value, list) and all(map(_is_a(str), value)),
    "parity": _valid_parity,
    "wants": lambda value: value in WANTS,
    "heads": lambda value: isinstance(value, list) and all(map(_is_a(dict), value)),
}


def _shipped_places() -> tuple[Path, ...]:
    """Return the folder of models in a wheel, and in a checkout."""
    package = Path(__file__).parent.parent
    return package / "models", package.parent / "models"
