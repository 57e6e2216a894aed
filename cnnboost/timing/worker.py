"""The process of one path: reads a request a line, answers a line. `Worker` is its other end.

It loads what its own path needs and nothing else, so no other library's threads are there. It answers only
when its threads are at rest, so none of them spins while another path has its turn.
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
    """What one process can do."""

    def __init__(self, path: str, source: Source) -> None:
        self.path, self.source = path, source
        self._run = open_path(path, source)
        self._calls: dict[tuple[str, int], Callable[[int], Any]] = {}
        file = source.features if is_head_only(path) else source.images
        # Mapped, so that the pages of one copy serve all processes; as a plain array, as users have it.
        self._rows = np.load(file, mmap_mode="r", allow_pickle=False).view(np.ndarray)

    def call(self, what: str, n: int) -> Callable[[int], Any]:
        """Return the call to time."""
        if (what, n) not in self._calls:
            self._calls[what, n] = self._product(what, n) if what in PRODUCTS else self._path(n)
        return self._calls[what, n]

    def _path(self, n: int) -> Callable[[int], Any]:
        rows, run, places = self._rows, self._run, len(self._rows) - n + 1

        def call(number: int) -> Any:
            start = number * n % places
            return run(rows[start : start + n])

        return call

    def _product(self, what: str, n: int) -> Callable[[int], Any]:
        product = open_product(what, n, self.source.threads)
        return lambda number: product()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked."""
        do = request["do"]
        if do == "predict":
            np.save(request["out"], self._run(self._rows), allow_pickle=False)
            answer = {}
        elif do == "threads":
            answer = threads_used(self.source.threads)
        else:
            seconds, most = request["seconds"], request["most"]
            answer = clock.time_calls(self.call(request["what"], request["n"]), seconds, most)._asdict()
        clock.rest()
        return answer


def threads_used(wanted: int | None) -> dict[str, int]:
    """Say how many threads each library that is loaded computes with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = {}
    if "tensorflow" in sys.modules:
        used["tensorflow"] = (
            sys.modules["tensorflow"].config.threading.get_intra_op_parallelism_threads() or cores
        )
    if "xgboost" in sys.modules:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

        pools = [pool for pool in threadpool_info() if pool["user_api"] == "openmp"]
        used["xgboost"] = wanted or max((pool["num_threads"] for pool in pools), default=cores)
    if "onnxruntime" in sys.modules:
        used["onnxruntime"] = wanted or cores
    return used


def main() -> None:
    """Serve one path until the other end is closed."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    server = Server(first["path"], Source(**first["source"]))
    # What libraries keep for good need not be looked at again before every turn.
    gc.collect()
    gc.freeze()
    clock.rest()
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
