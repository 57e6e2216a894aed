"""How signals end the program: SIGTERM and SIGHUP do what Ctrl-C does, and a second one ends it at once."""

from __future__ import annotations

import signal
from typing import Any

from cnnboost.errors import Stopped

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def heeded_signals() -> list[int]:
    """Return the signals that end the program; those that its caller had ignored (nohup) do not."""
    known = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


def heed_signals() -> None:
    """Let signals raise `Stopped`, so that files, locks and workers are left tidily."""
    heeded = heeded_signals()

    def stop(number: int, frame: Any) -> None:
        for one in heeded:
            signal.signal(one, signal.SIG_DFL)
        raise Stopped(number)

    for number in heeded:
        signal.signal(number, stop)
