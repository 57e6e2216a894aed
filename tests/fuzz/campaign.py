"""The campaign: which input is read next, what came of all of them, and the ones that are kept."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz import originals
from tests.fuzz.kind import OUTCOMES, WRONG
from tests.fuzz.kinds import KINDS
from tests.fuzz.pool import Job, Slot, run_all
from tests.fuzz.worker import NOTE

_KEPT = 3
"""Inputs that are kept of each fault."""


class Campaign:
    """Inputs of some kinds, each with its share of the time.

    Parameters
    ----------
    kinds : sequence of str
    seed : int
    keep : Path
        Folder for the inputs that were not read as they should be.
    made : Path, optional
        Folder of the undamaged files, which are made if they are not there; default: one for this campaign.
    workers : int
        Processes that read at the same time.
    """

    def __init__(
        self, kinds: Sequence[str], seed: int, keep: Path, made: Path | None = None, workers: int = 2
    ) -> None:
        self.kinds, self.seed, self.keep, self.made = list(kinds), seed, keep, made
        self.workers = workers
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
        self.seconds: dict[str, float] = dict.fromkeys(kinds, 0.0)
        self.faults: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._given: Counter[str] = Counter()

    def run(self, seconds: float = math.inf, most: float = math.inf) -> None:
        """Damage and read for so long, and so many of each kind; undamaged files do not count."""
        with tempfile.TemporaryDirectory(prefix="cnnboost-fuzz-", dir=_in_memory()) as home:
            made = self._originals(Path(home))
            slots = [Slot(made, Path(home) / f"worker-{i}", self.seed) for i in range(self.workers)]
            self._budget, self._most = seconds * self.workers, most
            run_all(slots, self._next, self._done)

    def run_one(self, kind: str, number: int) -> dict[str, Any]:
        """Run one input again."""
        found: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(prefix="cnnboost-fuzz-", dir=_in_memory()) as home:
            slot = Slot(self._originals(Path(home)), Path(home) / "worker", self.seed)
            jobs = iter([(kind, number, False)])

            def done(slot: Slot, result: dict[str, Any]) -> None:
                found.append(result)
                self._keep(slot, result)

            run_all([slot], lambda _: next(jobs, None), done)
        return found[0]

    def _originals(self, home: Path) -> Path:
        folder = (self.made or home / "originals").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if any(KINDS[kind].trained for kind in self.kinds) and not (folder / "networks").exists():
            # In a process of its own: this one is to stay small.
            process = multiprocessing.get_context("spawn").Process(target=originals.make, args=(folder,))
            process.start()
            process.join()
            if process.exitcode:
                raise RuntimeError("the undamaged files could not be made; what is above says why")
        return folder

    def _next(self, slot: Slot) -> Job | None:
        left = [kind for kind in self.kinds if self._given[kind] < self._most]
        if not left or sum(self.seconds.values()) > self._budget:
            return None
        kind = min(left, key=lambda name: self.seconds[name] / KINDS[name].share)
        self._given[kind] += 1
        # What is being read counts as if it took a little, so that two workers take different kinds.
        self.seconds[kind] += 1e-3
        return kind, self._given[kind], KINDS[kind].apart

    def _done(self, slot: Slot, result: dict[str, Any]) -> None:
        kind, outcome = result["kind"], result["outcome"]
        if outcome in ("crash", "memory") and KINDS[kind].apart:
            outcome = "known"
        self.seconds[kind] += result["seconds"]
        self.counts[kind][outcome] += 1
        if outcome in WRONG:
            self._keep(slot, result)

    def _keep(self, slot: Slot, result: dict[str, Any]) -> None:
        fault = signature(result)
        same = self.faults[fault]
        result = {**result, "seed": self.seed}
        same.append(result)
        if len(same) > _KEPT:
            return
        target = self.keep / f"{result['kind']}-{self.seed}-{result['number']}"
        shutil.rmtree(target, ignore_errors=True)
        home = slot.home
        with contextlib.suppress(shutil.Error):  # queues and devices; the seed and number make them again
            shutil.copytree(home / "input", target / "input", symlinks=True)
        if (home / NOTE).is_file() and not result["how"]:
            result["how"] = json.loads((home / NOTE).read_text())["how"]
        target.mkdir(parents=True, exist_ok=True)
        (target / "outcome.json").write_text(json.dumps(result, indent=2))

    @property
    def wrong(self) -> int:
        """Inputs that were not read as they should be."""
        return sum(of[outcome] for of in self.counts.values() for outcome in WRONG)

    def document(self, seconds: float) -> dict[str, Any]:
        """Return what came of all inputs, for a JSON file."""
        return {
            "seed": self.seed,
            "seconds": round(seconds, 1),
            "inputs": sum(of.total() for of in self.counts.values()),
            "wrong": self.wrong,
            "kinds": {
                kind: {
                    "inputs": of.total(),
                    **{name: of[name] for name in OUTCOMES},
                    "seconds": round(self.seconds[kind], 1),
                }
                for kind, of in self.counts.items()
            },
            "faults": [
                {
                    "fault": fault,
                    "inputs": len(same),
                    "again": [again(one) for one in same[:_KEPT]],
                    "said": same[0]["said"][-3000:],
                }
                for fault, same in sorted(self.faults.items(), key=lambda item: -len(item[1]))
            ],
        }


def again(result: dict[str, Any]) -> str:
    """Return the command that runs an input again."""
    return f"python -m tests.fuzz --kind {result['kind']} --seed {result['seed']} --number {result['number']}"


def signature(result: dict[str, Any]) -> str:
    """Return what is the same for all inputs that hit the same fault: kind, outcome and place in the code."""
    lines = [line.strip() for line in result["said"].splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ") and "/cnnboost/" in line]
    last = places[-1].rpartition("/cnnboost/")[2] if places else ""
    words = lines[-1].partition(":")[0][:80] if lines else ""
    return f"{result['kind']}: {result['outcome']}: {last} {words}"


def _in_memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
