"""Durations and their statistics, the order in which paths take turns, and the load of other programs."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Calls of one path in one round; more make the result no more precise.
MOST_CALLS = 200


class Block(NamedTuple):
    """Calls that were timed one after the other."""

    seconds: list[float]
    cpu_seconds: float


@dataclass(frozen=True)
class Timing:
    """The durations of one path at one batch size."""

    rounds: tuple[Block, ...]

    @property
    def seconds(self) -> list[float]:
        """Durations of all calls, in order."""
        return [value for block in self.rounds for value in block.seconds]

    @property
    def spread(self) -> float:
        """Interquartile range over the median: at 0.1, the middle half lies within 10 %."""
        low, middle, high = np.percentile(self.seconds, [25, 50, 75])
        return float((high - low) / middle)

    @property
    def busy(self) -> float:
        """Cores that were busy on average, spinning threads included."""
        return sum(block.cpu_seconds for block in self.rounds) / sum(self.seconds)

    def quantile(self, percent: float) -> float:
        """Return the seconds within which so many percent of the calls ended."""
        return float(np.percentile(self.seconds, percent))


def ratio(slow: Timing, fast: Timing) -> float:
    """Return how many times as long one path takes as another: the median over the rounds."""
    pairs = zip(slow.rounds, fast.rounds, strict=True)
    return statistics.median(statistics.median(a.seconds) / statistics.median(b.seconds) for a, b in pairs)


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Give every name once a round; each round begins with the next name."""
    for i in range(rounds):
        first = i % len(names)
        yield from (*names[first:], *names[:first])


def time_calls(call: Callable[[int], Any], seconds: float, most: int = MOST_CALLS) -> Block:
    """Time calls, one after the other, with garbage collection off.

    A first call is not counted: other processes have used caches and memory since the last turn.
    """
    durations: list[float] = []
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        call(0)
        cpu, end = time.process_time(), time.perf_counter() + seconds
        while not durations or (len(durations) < most and time.perf_counter() < end):
            started = time.perf_counter()
            call(1 + len(durations))
            durations.append(time.perf_counter() - started)
        cpu = time.process_time() - cpu
    finally:
        if was_enabled:
            gc.enable()
    return Block(durations, cpu)


def rest(longest: float = 0.5) -> None:
    """Wait until the threads of this process are idle.

    Thread pools keep spinning for a while after a call, and would take time from the next path.
    """
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        started, cpu = time.perf_counter(), time.process_time()
        time.sleep(0.004)
        if time.process_time() - cpu < 0.1 * (time.perf_counter() - started):
            return


class BackgroundLoad:
    """Measures, from its creation on, how many cores other programs keep busy.

    Child processes count as others until they have ended and been waited for.
    """

    #: Cores. The system itself uses less.
    WORTH_A_WARNING = 0.15

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._busy, self._own = self._busy_seconds(), _own_seconds()
        self._started = time.perf_counter()

    def cores(self) -> float | None:
        """Return the cores that others kept busy on average, of those that this process may use."""
        busy = self._busy_seconds()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others / (time.perf_counter() - self._started))

    def _busy_seconds(self) -> float | None:
        try:
            lines = self._stat.read_text(encoding="ascii").splitlines()
            usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError):
            return None
        rows = [line.split() for line in lines]
        # user, nice, system, idle, iowait, irq, softirq, steal
        busy = [[int(row[i]) for i in (1, 2, 3, 6, 7, 8)] for row in rows if row and row[0] in usable]
        return sum(map(sum, busy)) / ticks if busy else None


def _own_seconds() -> float:
    """Return the processor time of this process and of its ended children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
