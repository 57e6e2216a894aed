"""A process that damages inputs and has them read, one after the other, until it is told to stop or dies."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.kind import WRONG, Kind, MadeAnew, Unnoticed

NOTE = "input.json"
_ROOM = 12 << 30
"""Bytes of addresses that a worker may take; TensorFlow alone maps several billion."""
_MOST_MEMORY = 3 << 29
"""Bytes that reading one input may take; the largest image that is accepted takes several hundred million."""
_COMMAND_EVERY = 100


def serve(connection: Connection, originals: Path, home: Path, seed: int) -> None:
    """Answer each `(kind, number)` with what came of that input.

    Parameters
    ----------
    connection : Connection
        Gets `(kind, number)`, gives a dict with `outcome`, `how`, `said` and `seconds`.
    originals : Path
        Folder of the undamaged files.
    home : Path
        Folder of this worker's inputs.
    seed : int
    """
    _be_quiet(home)
    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    inputs = Inputs(originals, home, seed)
    while True:
        try:
            kind, number = connection.recv()
        except EOFError:
            return
        connection.send(inputs.run(kind, number))


def _be_quiet(home: Path) -> None:
    """Send what libraries print to a file, and keep warnings from filling it."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "printed.txt").open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - its number is wanted
        os.dup2(nothing.fileno(), 0)
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", MPLBACKEND="agg", CNNBOOST_CACHE=str(home / "cache"))
    os.environ.pop("CNNBOOST_DATA", None)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


class Inputs:
    """Makes inputs by kind and number, and has them read.

    Parameters
    ----------
    originals, home : Path
    seed : int
    """

    def __init__(self, originals: Path, home: Path, seed: int) -> None:
        self._originals, self._home, self._seed = originals, home, seed
        self._kinds: dict[str, Kind] = {}

    def run(self, name: str, number: int) -> dict[str, Any]:
        """Damage one input, have it read, and say what came of it."""
        kind = self._kinds.get(name) or self._prepared(name)
        started = time.perf_counter()
        folder = self._home / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        damage = kind.damage(Random(f"{self._seed} {name} {number}"), folder)
        note = {"kind": name, "seed": self._seed, "number": number, "how": damage.how}
        # Recorded before it is read, so that it is known if this process dies of it.
        (self._home / NOTE).write_text(json.dumps(note))
        before = _most_memory()
        outcome, said = self._read(kind, folder, damage.covered)
        try:
            said.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
        except UnicodeError:
            outcome, said = "traceback", f"a message beyond Unicode: {said!a}"
        argv = kind.argv(folder) if number % _COMMAND_EVERY == 0 and outcome not in WRONG else None
        if argv and (wrong := self._command(argv)):
            outcome, said = "traceback", f"cnnboost {' '.join(argv)[:200]}: {wrong}"
        seconds = time.perf_counter() - started
        if (taken := _most_memory() - before) > _MOST_MEMORY:
            outcome, said = "memory", f"{taken:,} bytes; {said}"
        return {**note, "outcome": outcome, "said": said, "seconds": seconds, "memory": _memory()}

    def _prepared(self, name: str) -> Kind:
        from tests.fuzz.kinds import KINDS

        # Undamaged files that kinds write are their own.
        made = self._home / "originals" / name
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for path in self._originals.iterdir():
            (made / path.name).symlink_to(path)
        kind = KINDS[name](made)
        kind.prepare(made / "scratch")
        self._kinds[name] = kind
        return kind

    @staticmethod
    def _read(kind: Kind, folder: Path, covered: bool) -> tuple[str, str]:
        from cnnboost.errors import CnnboostError

        try:
            result = kind.read(folder)
        except kind.errors as error:
            return "refused", f"{type(error).__name__}: {error}"
        except MadeAnew:
            return "refused", "made again"
        except Unnoticed as error:
            return "unnoticed", str(error)
        except CnnboostError as error:
            return "misnamed", f"{type(error).__name__}: {error}"
        except MemoryError:
            return "memory", traceback.format_exc()
        except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
            return "traceback", traceback.format_exc()
        if result in kind.whole:
            return "right", ""
        return ("unnoticed" if covered else "different"), "another result"

    @staticmethod
    def _command(argv: list[str]) -> str:
        """Run a command in this process; return what is wrong, "" if nothing is."""
        from typer.testing import CliRunner

        from cnnboost.cli import app

        with contextlib.chdir("/"):
            found = CliRunner().invoke(app, argv)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            return "".join(traceback.format_exception(found.exception))
        return "" if found.exit_code in (0, 1, 2) else f"exit status {found.exit_code}"


def _memory() -> int:
    """Bytes that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _most_memory() -> int:
    """Return the most bytes that this process had since the last call."""
    lines = Path("/proc/self/status").read_text().splitlines()
    most = next(line for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(most.split()[1]) * 1024


def main(connection: Connection, originals: Path, home: Path, seed: int) -> None:
    """Serve, and leave without the clean-up that a damaged library may hang in."""
    try:
        serve(connection, originals, home, seed)
    except KeyboardInterrupt:
        sys.exit(1)
    os._exit(0)
