"""Sizes of memory: how a user states one, and how much of it is free."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path

from cnnboost.errors import ParameterError

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)
_EXAMPLES = "give a size such as 2GiB, 500MB or 1.5GiB"
_CGROUP = Path("/sys/fs/cgroup")


def parse_size(size: str | int) -> int:
    """Turn a size into bytes: a number, or text such as "2GiB" (binary) or "500MB" (decimal).

    Raises
    ------
    ParameterError
        If it is not a size, or less than a byte.

    Examples
    --------
    >>> parse_size("2GiB"), parse_size("1.5 kB"), parse_size(4096)
    (2147483648, 1500, 4096)
    """
    if isinstance(size, int) and not isinstance(size, bool):
        count = float(size)
    else:
        found = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
        # "2i" and "2iB" have no unit that the i could belong to.
        if found is None or (found[3] and not found[2]):
            raise ParameterError(f"memory={size!r} is not a size; {_EXAMPLES}")
        count = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()]
    if not 1 <= count < math.inf:
        raise ParameterError(f"memory={size!r} leaves no room for anything; {_EXAMPLES}")
    return int(count)


def show_size(count: int) -> str:
    """Write a number of bytes as people read it."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.1f} {unit}"
    return f"{count} bytes"


def free_memory() -> int:
    """Return the bytes that this process may still take: of the machine, and of its container's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
        free = min(free, max(0, limit - used + (int(cached[1]) if cached else 0)))
    return free


def budget(memory: str | int | None) -> int:
    """Return the bytes that a step may take: what was asked for, else half of what is free."""
    return parse_size(memory) if memory is not None else max(1, free_memory() // 2)
