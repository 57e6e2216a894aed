"""A process for every path, and the rounds in which they take turns.

Thread pools of TensorFlow, XGBoost and ONNX Runtime keep spinning after a call, and in one process a path
would be slowed by libraries that its user never loads. So each path runs in a fresh process with what it
needs. One computes while the others wait for a line on their standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

from cnnboost.errors import CnnboostError
from cnnboost.timing.clock import MOST_CALLS, Block, Timing, turns
from cnnboost.timing.paths import PRODUCTS, Source

WARM_SECONDS, WARM_CALLS = 0.1, 3


class Worker:
    """The process of one path; see `worker.main`."""

    def __init__(self, path: str, source: Source) -> None:
        self.path = path
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cnnboost.timing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env=_environment(source.threads),
            start_new_session=True,  # Ctrl-C reaches this process only, which then ends the others
        )
        self._send({"path": path, "source": source._asdict()})

    def wait(self) -> dict[str, Any]:
        """Wait for the answer, or at the beginning until one image is predicted."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer; see `worker.Server.answer`."""
        self._send(request)
        return self.wait()

    def time(self, what: str, n: int, seconds: float, most: int = MOST_CALLS) -> Block:
        """Time calls; see `clock.time_calls`."""
        return Block(**self.ask(do="time", what=what, n=n, seconds=seconds, most=most))

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue  # a request that was never read

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def _fail(self) -> None:
        status = self._process.wait()
        raise CnnboostError(
            f"the process that times {self.path} ended with status {status}: {_last_line(self._stderr)}"
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
        self, sizes: Mapping[str, int], *, rounds: int, seconds: float, done: Callable[[], None]
    ) -> dict[str, Timing]:
        """Let paths take turns; see `clock.turns`."""
        hosts = {path: self.workers[PRODUCTS.get(path, path)] for path in sizes}
        for path, n in sizes.items():
            hosts[path].time(path, n, WARM_SECONDS, WARM_CALLS)

        def turn(path: str) -> Block:
            return hosts[path].time(path, sizes[path], seconds / rounds)

        return _in_turns(turn, list(sizes), rounds, done)


def time_starts(
    paths: Sequence[str],
    programs: Mapping[str, Sequence[str]],
    source: Source,
    *,
    rounds: int,
    done: Callable[[], None],
) -> dict[str, Timing]:
    """Time fresh processes in turn: paths until their first prediction, programs until they end.

    Their files have been read before, so the disk plays no part.
    """

    def turn(name: str) -> Block:
        started = time.perf_counter()
        if name in programs:
            _run(name, programs[name], source.threads)
            return Block([time.perf_counter() - started], 0.0)
        worker = Worker(name, source)
        try:
            worker.wait()
            return Block([time.perf_counter() - started], 0.0)
        finally:
            worker.close()

    return _in_turns(turn, [*paths, *programs], rounds, done)


def _in_turns(
    turn: Callable[[str], Block], names: Sequence[str], rounds: int, done: Callable[[], None]
) -> dict[str, Timing]:
    blocks: dict[str, list[Block]] = {name: [] for name in names}
    for name in turns(names, rounds):
        blocks[name].append(turn(name))
        done()
    return {name: Timing(tuple(of_name)) for name, of_name in blocks.items()}


def _run(name: str, command: Sequence[str], threads: int | None) -> None:
    with tempfile.TemporaryFile() as stderr:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, check=False,
            env=_environment(threads), start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise CnnboostError(
                f"the process of {name!r} ended with status {done.returncode}: {_last_line(stderr)}"
            )


def _environment(threads: int | None) -> dict[str, str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return environment


def _last_line(stderr: IO[bytes]) -> str:
    """Return the last line that a process wrote before it ended; lines of a frame do not count."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()
    lines = [line.strip(" │") for line in lines if any(sign.isalnum() for sign in line)]
    return lines[-1] if lines else "it wrote nothing"
