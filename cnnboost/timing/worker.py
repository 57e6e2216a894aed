"""The process of one path: a request a line on stdin, an answer a line on stdout. See `worker_pool.Worker`.

It loads what its own path needs and nothing else, so that no other library's threads are running. It answers
when its threads are idle, so that none of them spins during another path's turn.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from cnnboost.timing import clock
from cnnboost.timing.paths import PRODUCTS, Source, is_head_only, open_path, open_product


class Server:
    """Answers the requests of one process."""

    def __init__(self, path: str, source: Source) -> None:
        self.path, self.source = path, source
        self._run = open_path(path, source)
        file = source.features if is_head_only(path) else source.images
        # Mapped, so that all processes share the memory; as a plain array, as users have it.
        self._rows = np.load(file, mmap_mode="r", allow_pickle=False).view(np.ndarray)

    def call(self, what: str, n: int) -> Callable[[int], Any]:
        """Return the call to time: a matrix product of size n, or the path on the next n images."""
        if what in PRODUCTS:
            product = open_product(what, n, self.source.threads)
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
