"""Cold start: a fresh process, from its first instruction to its first prediction."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from cnnboost.errors import CnnboostError
from cnnboost.timing.clock import Block, Timing, turns
from cnnboost.timing.paths import Source, open_path
from cnnboost.timing.worker_pool import environment, last_words

READY = "predicted"


class Start(NamedTuple):
    """A process to start."""

    command: list[str]
    until: str


def first_prediction(path: str, source: Source) -> Start:
    """Return the process that loads one path and predicts one image."""
    metadata = json.dumps({"path": path, "source": source._asdict()})
    return Start([sys.executable, "-m", "cnnboost.timing.start", metadata], "first prediction")


def time_starts(
    starts: Mapping[str, Start], *, rounds: int, threads: int | None, done: Callable[[], None] = lambda: None
) -> dict[str, Timing]:
    """Start processes in turn, nothing else running; see `clock.turns`.

    Their files have been read before, so the disk has no part in it.
    """
    found: dict[str, list[Block]] = {name: [] for name in starts}
    for name in turns(list(starts), rounds):
        found[name].append(Block([_time(name, starts[name], threads)], cpu_seconds=0.0))
        done()
    return {name: Timing(tuple(blocks)) for name, blocks in found.items()}


def _time(name: str, start: Start, threads: int | None) -> float:
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            start.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment(threads),
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
            if start.until == "exit" or first != READY:
                process.stdout.read()
                failed = process.wait() != 0 or start.until != "exit"
            else:
                failed = False
            seconds = time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
        if failed:
            status = process.returncode
            raise CnnboostError(
                f"the process that starts {name} ended with status {status}: {last_words(said)}"
            )
    return seconds


def main() -> None:
    """Predict one image and say so."""
    metadata = json.loads(sys.argv[1])
    source = Source(**metadata["source"])
    run = open_path(metadata["path"], source)
    image = np.load(source.images, mmap_mode="r", allow_pickle=False)[:1].view(np.ndarray)
    run(image)
    print(READY, flush=True)


if __name__ == "__main__":
    main()
