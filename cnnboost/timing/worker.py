"""A process for every path, and the rounds in which they take turns.

Thread pools of TensorFlow, XGBoost and ONNX Runtime keep spinning after a call, and in one process a path
would be slowed by libraries that its user never loads. So each path runs in a fresh process with what it
needs: a request a line on its stdin, an answer a line on its stdout. It answers when its threads are idle, so
that none of them spins during another path's turn.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import IO, Any, Self

import numpy as np

from cnnboost.errors import CnnboostError
from cnnboost.timing import clock, paths
from cnnboost.timing.clock import Block, Timing
from cnnboost.timing.paths import Source

WARM_SECONDS, WARM_CALLS = 0.1, 3


class Worker:
    """The process of one path; see `main`."""

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
        """Send a request and wait for the answer; see `Server.answer`."""
        self._send(request)
        return self.wait()

    def time(self, what: str, n: int, seconds: float, most: int = clock.MOST_CALLS) -> Block:
        """Time calls; see `clock.time_calls`."""
        return Block(**self.ask(do="time", what=what, n=n, seconds=seconds, most=most))

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            assert stream is not None
            with suppress(BrokenPipeError):  # a request that was never read
                stream.close()

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

    def __init__(self, names: Sequence[str], source: Source) -> None:
        self.workers: dict[str, Worker] = {}
        self._names, self._source = names, source

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # where one cannot start, the others end
            for path in self._names:
                self.workers[path] = stack.enter_context(closing(Worker(path, self._source)))
            for worker in self.workers.values():
                worker.wait()
            self._all = stack.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._all.close()

    def time(
        self, sizes: Mapping[str, int], *, rounds: int, seconds: float, done: Callable[[], None]
    ) -> dict[str, Timing]:
        """Let paths take turns; see `clock.turns`."""
        hosts = {path: self.workers[paths.PRODUCTS.get(path, path)] for path in sizes}
        for path, n in sizes.items():
            hosts[path].time(path, n, WARM_SECONDS, WARM_CALLS)

        def turn(path: str) -> Block:
            return hosts[path].time(path, sizes[path], seconds / rounds)

        return _in_turns(turn, list(sizes), rounds, done)


def time_starts(
    names: Sequence[str],
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
        with closing(Worker(name, source)) as worker:
            worker.wait()
            return Block([time.perf_counter() - started], 0.0)

    return _in_turns(turn, [*names, *programs], rounds, done)


def _in_turns(
    turn: Callable[[str], Block], names: Sequence[str], rounds: int, done: Callable[[], None]
) -> dict[str, Timing]:
    blocks: dict[str, list[Block]] = {name: [] for name in names}
    for name in clock.turns(names, rounds):
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


class Server:
    """Answers the requests of one process."""

    def __init__(self, path: str, source: Source) -> None:
        self.path, self.source = path, source
        self._run = paths.open_path(path, source)
        file = source.features if paths.is_head_only(path) else source.images
        # Mapped, so that all processes share the memory; as a plain array, as users have it.
        self._rows = np.load(file, mmap_mode="r", allow_pickle=False).view(np.ndarray)

    def call(self, what: str, n: int) -> Callable[[int], Any]:
        """Return the call to time: a matrix product of size n, or the path on the next n images."""
        if what in paths.PRODUCTS:
            product = paths.open_product(what, n, self.source.threads)
            return lambda number: product()
        rows, run, places = self._rows, self._run, len(self._rows) - n + 1

        def call(number: int) -> Any:
            start = number * n % places
            return run(rows[start : start + n])

        return call

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Handle a request."""
        answer: dict[str, Any] = {}
        if request["do"] == "predict":
            np.save(request["out"], self._run(self._rows), allow_pickle=False)
        elif request["do"] == "threads":
            answer = threads_used(self.source.threads)
        else:
            call = self.call(request["what"], request["n"])
            answer = clock.time_calls(call, request["seconds"], request["most"])._asdict()
        clock.rest()
        return answer


def threads_used(wanted: int | None) -> dict[str, int]:
    """Return the number of threads of each library that is loaded."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = {}
    if "tensorflow" in sys.modules:
        threading = sys.modules["tensorflow"].config.threading
        used["tensorflow"] = threading.get_intra_op_parallelism_threads() or cores
    if "xgboost" in sys.modules:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

        pools = [pool for pool in threadpool_info() if pool["user_api"] == "openmp"]
        used["xgboost"] = wanted or max((pool["num_threads"] for pool in pools), default=cores)
    if "onnxruntime" in sys.modules:
        used["onnxruntime"] = wanted or cores
    return used


def main() -> None:
    """Predict one image, say so, then answer requests until stdin is closed."""
    # Libraries must not print between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    server = Server(first["path"], Source(**first["source"]))
    server.call(server.path, 1)(0)
    print("{}", file=answers, flush=True)
    # Objects that libraries keep for good need not be examined before every turn.
    gc.collect()
    gc.freeze()
    clock.rest()
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
