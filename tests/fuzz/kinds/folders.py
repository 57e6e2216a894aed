"""Class folders with what a disk can hold besides images: odd names, links, devices, queues."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from random import Random

from tests.fuzz.kind import Damage, put
from tests.fuzz.kinds.sources import Source, class_folders

_NAMES = (
    b"a\nb", b"\xff\xfe", b"-rf", b".hidden", b"x" * 255, b" ", b"train", b"test", b"valid", b"invalid",
    b"\x1b[31m", b"=1+1", b"<b>|", "日本語".encode(), b"a\\b", b"..png", b"%s", b"con", b"Training_1.png",
    b"1", b"a,b", b'"', b"__MACOSX", b"x.zip",
)  # fmt: skip


def _renamed(rng: Random, path: Path) -> str:
    name = rng.choice(_NAMES) + (path.suffix.encode() if rng.random() < 0.5 else b"")
    new = path.with_name(os.fsdecode(name[:255]))
    if new.exists():
        return "as it was"
    path.rename(new)
    return f"named {name[:20]!r}"


def _link(rng: Random, path: Path) -> str:
    target = rng.choice(
        (
            "/dev/zero",
            "/dev/null",
            "/dev/stdin",
            "/dev/tty",
            "..",
            ".",
            "nowhere",
            path.name,
            "/proc/self/mem",
            "../bird",
        )
    )
    _remove(path)
    path.symlink_to(target)
    return f"link to {target}"


def _queue(rng: Random, path: Path) -> str:
    _remove(path)
    os.mkfifo(path)
    return "FIFO"


def _socket(rng: Random, path: Path) -> str:
    _remove(path)
    # Names of sockets are short.
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name[:50])
    return "socket"


def _other_content(rng: Random, path: Path) -> str:
    _remove(path)
    path.write_bytes(rng.choice((b"", b"text", b"\0" * 10, b"PK\x03\x04", b"%PDF", rng.randbytes(200))))
    return "file of another kind"


def _hole(rng: Random, path: Path) -> str:
    _remove(path)
    with path.open("wb") as file:
        file.truncate(rng.choice((1 << 20, 1 << 24, 1 << 33)))
    return "huge file without content"


def _folder(rng: Random, path: Path) -> str:
    _remove(path)
    path.mkdir()
    if rng.random() < 0.5:
        (path / "deeper").mkdir()
    return "folder in its place"


def _moved(rng: Random, path: Path) -> str:
    target = (
        path.parent / "deeper" / "still" / path.name
        if rng.random() < 0.5
        else path.parent.parent / f"up-{path.name}"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # a name that is too long already
        if not target.exists():
            path.rename(target)
    return "moved"


def _rights(rng: Random, path: Path) -> str:
    path.chmod(0)
    return "no rights"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for below in path.iterdir():
            _remove(below)
        path.rmdir()
    else:
        path.unlink()


_CHANGES: tuple[Callable[[Random, Path], str], ...] = (
    _renamed, _renamed, _renamed, _link, _link, _queue, _socket, _other_content, _hole, _folder, _moved,
    _rights,
)  # fmt: skip


class Folders(Source):
    name, place = "folder", "set"

    @cached_property
    def inputs(self):
        return [
            {f"set/{name}": content for name, content in class_folders(splits)} for splits in (False, True)
        ]

    def damage(self, rng: Random, folder: Path) -> Damage:
        put(folder, rng.choice(self.inputs))
        done = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            places = sorted(
                path for path in (folder / "set").rglob("*") if path.parent != path and not path.is_symlink()
            )
            if places:
                path = rng.choice(places)
                done.append(f"{os.fsencode(path.name)[:20]!r}: {rng.choice(_CHANGES)(rng, path)}")
        return Damage(", ".join(done))
