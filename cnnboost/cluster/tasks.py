"""Many tasks of one kind on the workers of a cluster, a few of them under way at a time.

Dask makes a task again elsewhere when its worker dies. Here a task is also made elsewhere where a worker's
own machine refuses it (a full disk, a folder that it does not see), and such a worker gets no more of them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnboost.cluster.connection import gone, load_distributed, wait_for_workers, workers_of
from cnnboost.errors import ClusterError, CnnboostError, StoreError

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger("cnnboost")

WAITING = 2
"""Number of tasks of a worker besides the one at work, so that it never waits for the client."""
AHEAD = 4
"""Number of tasks that may begin before the first has ended, for each under way, where order counts."""
_LOOK_SECONDS = 1
"""Seconds after which it is looked who is there, where no task has ended by then."""
_MOST_REFUSALS = 3
"""Number of workers that refuse one task: then it is the task's fault, or that of the folder they share."""


class TaskCancelled(Exception):
    """Whoever asked for a task is gone, or wants it no more."""


@dataclass(frozen=True)
class _Refused:
    """What a worker says of a task that its machine cannot do."""

    worker: str
    error: Exception


@dataclass
class _Task:
    number: int
    arguments: tuple[Any, ...]
    refusals: int = 0
    allowed: frozenset[str] | None = None


def is_cancelled() -> bool:
    """Tell whether nobody wants the result of the task any more that this is called in."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # not in a task at all
        return False
    state = worker.state.tasks.get(worker.get_current_task())
    return state is None or state.state == "cancelled"


def check_wanted() -> None:
    """Stop a task that nobody wants any more; to be called now and then within long ones."""
    if is_cancelled():
        raise TaskCancelled


def spread(
    client: Client,
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    *,
    what: str,
    ordered: bool = False,
) -> Generator[tuple[int, Any], None, None]:
    """Call a function once for each tuple of arguments, on any worker.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        It must not matter if it is called twice with the same arguments.
    tasks : iterable of tuple
        Read as far as workers can take tasks up.
    what : str
        What a task makes, for messages.
    ordered : bool
        Whether results come in the order of the tasks. While one task is slow, the results of only so many
        others are kept in memory (`AHEAD`): further tasks wait for it.

    Yields
    ------
    tuple of int and object
        Number and result of each task, in the order in which they end, or in their own.

    Raises
    ------
    ClusterError
        If scheduler or workers are gone, or workers die of one task again and again.
    CnnboostError
        What a task raised; a `StoreError` only where several workers did.
    """
    distributed = load_distributed()
    run = _Run(client, function, what, ordered)
    kept: dict[int, Any] = {}
    remaining = (_Task(number, arguments) for number, arguments in enumerate(tasks))
    try:
        while True:
            run.fill(remaining)
            if not run.running:
                return
            with suppress(TimeoutError):
                distributed.wait(list(run.running), timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED")
            if not ordered:
                yield from run.ended()
                continue
            kept.update(run.ended())
            while run.first in kept:
                yield run.first, kept.pop(run.first)
                run.first += 1
    finally:
        run.give_up()


class _Run:
    """The tasks under way."""

    def __init__(self, client: Client, function: Callable[..., Any], what: str, ordered: bool) -> None:
        self.client, self.function, self.what, self.ordered = client, function, what, ordered
        self.first = self.taken = 0  # the task whose result is wanted next, and those that were begun
        self.running: dict[Future, _Task] = {}
        self.again: deque[_Task] = deque()
        self.refused: dict[str, Exception] = {}

    def fill(self, remaining: Iterator[_Task]) -> None:
        """Hand tasks out, as many as the workers that are there can take up."""
        threads = self._able()
        for future, task in list(self.running.items()):
            if task.allowed is not None and not task.allowed & threads.keys():
                del self.running[future]  # it would wait for workers that are gone
                self.client.cancel([future], force=True)
                self.again.append(task)
        most = sum(threads.values()) + WAITING * len(threads)
        room = most - len(self.running)
        while room > 0:
            if self.again:
                new = self.again.popleft()
            elif self.ordered and self.taken - self.first >= AHEAD * most:
                return
            elif (taken := next(remaining, None)) is not None:
                new, self.taken = taken, self.taken + 1
            else:
                return
            new.allowed = frozenset(threads) if self.refused else None
            allowed = sorted(new.allowed) if new.allowed else None
            future = self.client.submit(_attempt, self.function, *new.arguments, workers=allowed, pure=False)
            self.running[future] = new
            room -= 1

    def _able(self) -> dict[str, int]:
        """Return the threads of workers that have refused nothing; wait for a while where all are gone."""
        while not (threads := workers_of(self.client)):
            wait_for_workers(self.client)
        able = {address: n for address, n in threads.items() if address not in self.refused}
        if not able:
            raise next(iter(self.refused.values()))
        return able

    def ended(self) -> Iterator[tuple[int, Any]]:
        """Give the results of the tasks that have ended."""
        for future in [future for future in self.running if future.done()]:
            task = self.running.pop(future)
            if future.status == "finished":
                result = future.result()
                if isinstance(result, _Refused):
                    self._refuse(task, result)
                else:
                    yield task.number, result
            elif future.status == "error":
                self._raise(future.exception())
            else:
                raise gone(self.client, f"a task is {future.status}")

    def _refuse(self, task: _Task, refusal: _Refused) -> None:
        task.refusals += 1
        if task.refusals >= _MOST_REFUSALS:
            raise refusal.error
        if refusal.worker not in self.refused:
            self.refused[refusal.worker] = refusal.error
            log.warning("worker %s makes no more %s: %s", refusal.worker, self.what, refusal.error)
        self.again.append(task)

    def _raise(self, error: BaseException) -> None:
        if isinstance(error, CnnboostError):
            raise error
        if type(error).__name__ == "KilledWorker":
            raise ClusterError(
                f"one task of the {self.what} was begun by several workers in turn, and each of them died: "
                "they have too little memory for it, most likely; give them more ('dask worker "
                "--memory-limit'), and run the same command again"
            ) from error
        raise ClusterError(f"a worker could not make {self.what}: {type(error).__name__}: {error}") from error

    def give_up(self) -> None:
        """Cancel what is under way; nothing of it is left in the cluster."""
        with suppress(OSError, TimeoutError, RuntimeError):
            if self.running and self.client.status == "running":
                self.client.cancel(list(self.running), force=True)


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Do a task on a worker; say who cannot where it is the machine's fault."""
    from distributed import get_worker

    try:
        return function(*arguments)
    except (StoreError, OSError, MemoryError) as error:
        reason = error if isinstance(error, StoreError) else StoreError(str(error) or type(error).__name__)
        return _Refused(get_worker().address, reason)
