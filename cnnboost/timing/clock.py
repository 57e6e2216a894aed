"""Durations and what is said of them: quantiles, spread, ratios; and the order in which paths take turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

MOST_CALLS = 200
"""Calls of one path in one round; more say no more."""


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
        """Of every call, in the order in which they were made."""
        return [value for block in self.rounds for value in block.seconds]

    @property
    def calls(self) -> int:
        """Number of calls that were timed."""
        return sum(len(block.seconds) for block in self.rounds)

    @property
    def mean(self) -> float:
        """Mean seconds of a call."""
        return statistics.fmean(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range over the median: 0.1 says that the middle half lies within 10 %."""
        low, middle, high = np.percentile(self.seconds, [25, 50, 75])
        return float((high - low) / middle)

    @property
    def busy(self) -> float:
        """Cores that were kept busy on average, spinning threads included."""
        return sum(block.cpu_seconds for block in self.rounds) / sum(self.seconds)

    def quantile(self, percent: float) -> float:
        """Return the seconds within which so many percent of the calls were done."""
        return float(np.percentile(self.seconds, percent))


def ratio(slow: Timing, fast: Timing) -> float:
    """Return how many times as long one path takes as another."""
    pairs = zip(slow.rounds, fast.rounds, strict=True)
    return statistics.median(statistics.median(a.seconds) / statistics.median(b.seconds) for a, b in pairs)


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Give the order of turns: every name once a round, each round beginning with the next name."""
    for i in range(rounds):
        first = i % len(names)
        yield from (*names[first:], *names[:first])


def time_calls(call: Callable[[int], Any], seconds: float, most: int = MOST_CALLS) -> Block:
    """Time calls, one after the other, with garbage collection off.

    One call comes first and is not noted: it finds caches and pages that other processes had in between.
    """
    found: list[float] = []
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        call(0)
        cpu, end = time.process_time(), time.perf_counter() + seconds
        while not found or (len(found) < most and time.perf_counter() < end):
            started = time.perf_counter()
            call(1 + len(found))
            found.append(time.perf_counter() - started)
        cpu = time.process_time() - cpu
    finally:
        if was_on:
            gc.enable()
    return Block(found, cpu)


def rest(longest: float = 0.5) -> None:
    """Wait until the threads of this process are at rest.

    Thread pools go on spinning for a while after a call, and would take time from whoever comes next.
    """
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        started, cpu = time.perf_counter(), time.process_time()
        time.sleep(0.004)
        if time.process_time() - cpu < 0.1 * (time.perf_counter() - started):
            return
