"""A process of its own for every path, and the rounds in which they take turns.

Thread pools fight: those of TensorFlow, XGBoost's OpenMP and ONNX Runtime keep threads spinning after a call,
and in one process a path would be slowed by libraries that its user never loads. So each path runs in a fresh
process that loads what this path needs. The processes take turns, one computes while the others wait for a
line on their standard input, and whoever is done answers when its threads are at rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

from cnnboost.errors import CnnboostError
from cnnboost.timing.clock import MOST_CALLS, Block, Timing, turns
from cnnboost.timing.paths import PRODUCTS, Source

WARM_SECONDS, WARM_CALLS = 0.1, 3


class Worker:
    """The process of one path."""

    def __init__(self, path: str, source: Source) -> None:
        self.path = path
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cnnboost.timing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            encoding="utf-8",
            env=environment(source.threads),
            start_new_session=True,  # Ctrl-C is for us, who then end it
        )
        self._send({"path": path, "source": source._asdict()})

    def wait(self) -> None:
        """Wait until it is ready, or has answered."""
        self._receive()

    def time(self, what: str, n: int, seconds: float, most: int = MOST_CALLS) -> Block:
        """Time calls; see `clock.time_calls`."""
        return Block(**self.ask(do="time", what=what, n=n, seconds=seconds, most=most))

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer; see `serve.Server.answer`."""
        self._send(request)
        return self._receive()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what it never read is lost, as is the process

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._ended()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> None:
        status = self._process.wait()
        raise CnnboostError(
            f"the process that times {self.path} ended with status {status}: {last_words(self._said)}"
        )


class WorkerPool:
    """The workers of several paths; a context that ends them all."""

    def __init__(self, paths: Sequence[str], source: Source) -> None:
        self.workers: dict[str, Worker] = {}
        self._paths, self._source = paths, source

    def __enter__(self) -> Self:
        try:
            for path in self._paths:
                self.workers[path] = Worker(path, self._source)
            for worker in self.workers.values():
                worker.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers.values():
            worker.close()

    def time(
        self,
        sizes: Mapping[str, int],
        *,
        rounds: int,
        seconds: float,
        done: Callable[[], None] = lambda: None,
    ) -> dict[str, Timing]:
        """Let paths take turns; see `clock.turns`."""
        hosts = {path: self.workers[PRODUCTS.get(path, path)] for path in sizes}
        for path, n in sizes.items():
            hosts[path].time(path, n, WARM_SECONDS, WARM_CALLS)
        found: dict[str, list[Block]] = {path: [] for path in sizes}
        for path in turns(list(sizes), rounds):
            found[path].append(hosts[path].time(path, sizes[path], seconds / rounds))
            done()
        return {path: Timing(tuple(blocks)) for path, blocks in found.items()}


def environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a process that is timed."""
    found = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads:
        found.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)))
    return found


def last_words(said: IO[bytes]) -> str:
    """Return the last line that a process wrote before it ended."""
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    # A line of a frame has no words.
    lines = [line.strip(" │") for line in lines if any(sign.isalnum() for sign in line)]
    return lines[-1] if lines else "it wrote nothing"
