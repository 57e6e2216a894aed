"""What a kind of file is: how it is damaged, who reads it, and what may come of that."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cnnboost.errors import CnnboostError, DataError
from cnnboost.files import digest_of
from tests.fuzz.damage import damaged
from tests.fuzz.values import damaged_json

OUTCOMES = (
    "refused", "right", "different", "misnamed", "unnoticed", "traceback", "crash", "hang", "memory", "known"
)  # fmt: skip
"""What comes of an input; `known` is what a library does below a checksum that was forged."""

WRONG = frozenset({"misnamed", "unnoticed", "traceback", "crash", "hang", "memory"})


class Damage(NamedTuple):
    """What was done to an input.

    Attributes
    ----------
    how : str
    covered : bool
        Whether a checksum, or a check of the format, must notice it where the result is another one.
    """

    how: str
    covered: bool = False


class Unnoticed(Exception):
    """A reader took something that cannot be, such as a NaN in a recipe."""


class MadeAnew(Exception):
    """A reader noticed the damage and began to make the file again, which would take too long here."""


class Kind(ABC):
    """One kind of input.

    Attributes
    ----------
    name : str
    errors : tuple of type
        With which its damaged files are refused.
    share : float
        Of the time, in relation to other kinds.
    apart : bool
        Whether its reader may crash, as the documentation says.
    listed : bool
        Whether another file says which files there are, so that a missing one must be noticed.
    trained : bool
        Whether its undamaged files come from a training.
    """

    name: ClassVar[str]
    errors: ClassVar[tuple[type[CnnboostError], ...]] = (DataError,)
    share: ClassVar[float] = 1.0
    apart: ClassVar[bool] = False
    listed: ClassVar[bool] = False
    trained: ClassVar[bool] = False

    def __init__(self, originals: Path) -> None:
        self.originals = originals
        self.whole: set[str] = set()

    def prepare(self, scratch: Path) -> None:
        """Read the undamaged inputs: their results are the right ones."""
        for number, files in enumerate(self.inputs):
            folder = scratch / f"whole-{number}"
            put(folder, files)
            self.whole.add(self.read(folder))

    @property
    @abstractmethod
    def inputs(self) -> list[Mapping[str, bytes]]:
        """Return the undamaged inputs: content by file name."""

    @abstractmethod
    def read(self, folder: Path) -> str:
        """Read what stands in a folder as the project does; return a digest of the result."""

    def damage(self, rng: Random, folder: Path) -> Damage:
        """Put a damaged input into an empty folder."""
        files = dict(rng.choice(self.inputs))
        name = rng.choice(self.targets(files))
        other = rng.choice(self.inputs).get(name, b"")
        if len(files) > 1 and rng.random() < 0.05:
            del files[name]
            put(folder, files)
            return Damage(f"{name} is {special(rng, folder / name)}", self.listed)
        how, content, covered = self.change(rng, name, files[name], other)
        files[name] = content
        files, covered = self.forge(rng, name, files, covered)
        put(folder, files)
        return Damage(f"{name}: {how}", covered)

    def targets(self, files: Mapping[str, bytes]) -> list[str]:
        """Return the files that may be damaged."""
        return list(files)

    def change(self, rng: Random, name: str, content: bytes, other: bytes) -> tuple[str, bytes, bool]:
        """Damage one file; return how, the content, and whether a check must notice."""
        return (*damaged(rng, content, other), False)

    def forge(
        self, rng: Random, name: str, files: dict[str, bytes], covered: bool
    ) -> tuple[dict[str, bytes], bool]:
        """Make checksums right again, so that the parsers behind them are reached; or leave them."""
        return files, covered

    def argv(self, folder: Path) -> list[str] | None:
        """Return a command that reads the input, without the program's name."""
        return None


class Sealed(Kind):
    """Files of which checksums tell that they were damaged, most of them JSON documents."""

    def change(self, rng: Random, name: str, content: bytes, other: bytes) -> tuple[str, bytes, bool]:
        """Damage what a document says, or the bytes of another file."""
        return (*(damaged_json if name.endswith(".json") else damaged)(rng, content, other), True)

    def forge(
        self, rng: Random, name: str, files: dict[str, bytes], covered: bool
    ) -> tuple[dict[str, bytes], bool]:
        """Give a damaged document its right checksum in half of the cases."""
        if name.endswith(".json") and name in files and rng.random() < 0.5:
            return {**files, name: resealed(files[name])}, False
        return files, covered


def resealed(content: bytes) -> bytes:
    """Give a document that carries its own checksum the right one, if it is such a document."""
    try:
        metadata = json.loads(content)
        if not isinstance(metadata, dict):
            return content
        stated = {key: value for key, value in metadata.items() if key != "facts_sha256"}
        return json.dumps({**stated, "facts_sha256": digest_of(stated)}).encode()
    except (ValueError, RecursionError):
        return content


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name; the folders are made."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def special(rng: Random, path: Path) -> str:
    """Put something at a place that is not a file, or nothing; return what it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = rng.choice((None, None, "folder", "queue", "nowhere", path.name, "/dev/null", "/dev/zero", "."))
    if target is None:
        return "missing"
    if target == "folder":
        path.mkdir()
    elif target == "queue":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
        return f"a link to {target}"
    return f"a {target}"


def files_in(folder: Path, *, leave_out: Iterable[str] = ()) -> dict[str, bytes]:
    """Read the files of a folder and those below, by name."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not path.match("*.lock") and name not in leave_out
    }


def digest(*parts: Any) -> str:
    """Hash results, arrays by their bytes."""
    hasher = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            hasher.update(f"{part.dtype} {part.shape}".encode())
            hasher.update(np.ascontiguousarray(part).tobytes())
        else:
            hasher.update(repr(part).encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
