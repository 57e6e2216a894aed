"""What other programs took of the processor while something was timed."""

from __future__ import annotations

import os
import time
from pathlib import Path

WORTH_A_WARNING = 0.15
"""Cores. What a system does on its own account is less."""


class BackgroundLoad:
    """Measures from its making on how many cores are busy for others.

    The processes of this program count as others until they have ended and been waited for.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._busy, self._own = self._read(), _own()
        self._started = time.perf_counter()

    def cores(self) -> float | None:
        """Return the cores that others kept busy on average, of those this process may use."""
        busy = self._read()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy) - (_own() - self._own)
        return max(0.0, others / (time.perf_counter() - self._started))

    def _read(self) -> float | None:
        """Return the seconds for which our cores were busy."""
        try:
            lines = self._stat.read_text(encoding="ascii").splitlines()
            mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError):
            return None
        rows = [line.split() for line in lines]
        # user, nice, system, idle, iowait, irq, softirq, steal
        busy = [[int(row[i]) for i in (1, 2, 3, 6, 7, 8)] for row in rows if row and row[0] in mine]
        return sum(map(sum, busy)) / ticks if busy else None


def _own() -> float:
    """Return the seconds that this process and those it has waited for computed."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
