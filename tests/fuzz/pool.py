"""Processes that read damaged inputs, each watched: who dies or hangs is replaced."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzz import worker

_SPAWN = multiprocessing.get_context("spawn")
_LIMIT = 20.0
"""Seconds for one input."""
_PREPARE = 240.0
"""Seconds more for the first input of a kind, whose undamaged files are read first."""
_MOST_MEMORY = 5 << 30
"""Bytes at which a worker is replaced: Keras does not give back all that it took."""

Job = tuple[str, int, bool]
"""Kind, number, and whether it is read apart from others, as its reader may crash."""


class _Reader:
    """A process, and the kinds whose undamaged files it has read."""

    def __init__(self, originals: Path, home: Path, seed: int) -> None:
        self.home = home
        self.connection, theirs = _SPAWN.Pipe()
        arguments = (theirs, originals, home, seed)
        self.process = _SPAWN.Process(target=worker.main, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.known: set[str] = set()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class Slot:
    """A place for one input at a time; a process reads it, and another one what its reader may crash of.

    Parameters
    ----------
    originals, home : Path
    seed : int
    """

    def __init__(self, originals: Path, home: Path, seed: int) -> None:
        self._make = lambda apart: _Reader(originals, home / ("apart" if apart else "common"), seed)
        self._readers: dict[bool, _Reader] = {}

    @property
    def connection(self) -> Connection:
        """Where the answer comes from."""
        return self._readers[self.job[2]].connection

    def give(self, job: Job) -> None:
        """Have an input read; the process is started if there is none."""
        kind, number, apart = self.job = job
        if apart not in self._readers:
            self._readers[apart] = self._make(apart)
        reader = self._readers[apart]
        self.home = reader.home
        self._given = time.monotonic()
        self.deadline = self._given + _LIMIT + _PREPARE * (kind not in reader.known)
        reader.known.add(kind)
        reader.connection.send((kind, number))

    def take(self) -> dict[str, Any]:
        """Return what came of the input: what the process says, or how it died."""
        kind, number, apart = self.job
        reader = self._readers[apart]
        lost = {"kind": kind, "number": number, "how": "", "seconds": time.monotonic() - self._given}
        if not reader.connection.poll():
            self._stop(apart)
            return {**lost, "outcome": "hang", "said": f"longer than {_LIMIT:.0f} s"}
        try:
            found: dict[str, Any] = reader.connection.recv()
        except (EOFError, ConnectionResetError):
            reader.process.join(10)
            code = reader.process.exitcode or 0
            self._stop(apart)
            name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            printed = (reader.home / "printed.txt").read_text(errors="replace")[-3000:]
            return {**lost, "outcome": "crash", "said": f"{printed}\n{name}"}
        if found["memory"] > _MOST_MEMORY:
            self._stop(apart)
        return found

    def _stop(self, apart: bool) -> None:
        self._readers.pop(apart).stop()

    def stop(self) -> None:
        """End the processes, whatever they do."""
        for apart in list(self._readers):
            self._stop(apart)


def run_all(
    slots: list[Slot], next_job: Callable[[Slot], Job | None], done: Callable[[Slot, dict[str, Any]], None]
) -> None:
    """Keep all slots busy until there is nothing more to do.

    Parameters
    ----------
    slots : list of Slot
    next_job : callable
        Gives what a slot is to read next; None: it is finished.
    done : callable
        Gets what came of it, while the input is still in the slot's folder.
    """
    busy: list[Slot] = []

    def start(slot: Slot) -> None:
        job = next_job(slot)
        if job is not None:
            slot.give(job)
            busy.append(slot)

    try:
        for slot in slots:
            start(slot)
        while busy:
            patience = max(0.0, min(slot.deadline for slot in busy) - time.monotonic())
            ready = wait([slot.connection for slot in busy], patience)
            now = time.monotonic()
            for slot in [s for s in busy if s.connection in ready or s.deadline <= now]:
                busy.remove(slot)
                done(slot, slot.take())
                start(slot)
    finally:
        for slot in slots:
            slot.stop()
