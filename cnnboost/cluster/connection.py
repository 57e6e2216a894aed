"""A connection to a Dask cluster, and whether its machines can do the work.

What runs in the probes is sent as code and imports nothing of this package, so that it can say of a machine
that the package is missing there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from cnnboost.errors import ClusterError, ParameterError
from cnnboost.files import reason_of, while_used

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger("cnnboost")

T = TypeVar("T")

CONNECT_SECONDS = 5
"""Seconds for which a scheduler is looked for."""
ANSWER_SECONDS = 30
"""Seconds for which machines that are there may think about a question, and a worker is waited for."""
MOST_LOCAL = 256
"""Number of workers that are started on this machine, at most."""

PACKAGES = ("cnnboost", "xgboost", "onnxruntime", "numpy", "pillow", "dask", "distributed")
"""Packages whose version decides about values, or about whether machines understand each other."""

_EXTRA = "dask"
_ADDRESS = re.compile(
    r"local:(?P<local>\d+)|((tcp|tls|ucx|ws|wss)://)?([^\s/:\[\]]+|\[[^\s/\]]+\]):\d+", re.ASCII
)


def _install(*extras: str) -> str:
    return f"pip install 'cnnboost[{','.join(sorted({_EXTRA, *extras}))}]'"


def load_distributed() -> Any:
    """Import Dask."""
    try:
        import dask  # noqa: F401
        import distributed
    except ImportError as error:
        raise ParameterError(
            f"several machines need Dask, and {error.name or 'a part of it'} is not installed: {_install()}"
        ) from error
    return distributed


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to a scheduler, or start workers on this machine; at the end nothing is left running there.

    Parameters
    ----------
    address : str
        `tcp://host:port` of a scheduler, or `local:N` for N workers of one thread on this machine.

    Yields
    ------
    distributed.Client
        With at least one worker.

    Raises
    ------
    ParameterError
        If the address is none, or Dask is not installed.
    ClusterError
        If no scheduler answers at the address, or no worker joins it in time.
    """
    n_local = _local_workers(address)
    distributed = load_distributed()
    # Lost connections are reported once, as errors of our own.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with _started(distributed, address, n_local) as client:
        wait_for_workers(client)
        yield client


def _local_workers(address: str) -> int:
    """Return how many workers an address has started on this machine: none for that of a scheduler."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ParameterError(
            f"--dask {address}: give the address of a scheduler, as tcp://127.0.0.1:8786, or local:N for N "
            "workers on this machine"
        )
    local = found["local"]
    if local and (len(local) > 3 or not 1 <= int(local) <= MOST_LOCAL):
        raise ParameterError(f"--dask {address}: give a number of workers from 1 to {MOST_LOCAL}")
    return int(local or 0)


@contextmanager
def _started(distributed: Any, address: str, n_local: int) -> Iterator[Client]:
    import dask

    # A scheduler that is gone is not waited for during the half minute that is Dask's default.
    timeouts = {"distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s"}
    with dask.config.set(timeouts):
        cluster = None
        try:
            if n_local:
                cluster = distributed.LocalCluster(
                    n_workers=n_local,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # None would be port 8787 of every address
                    silence_logs=logging.CRITICAL,
                )
            client = distributed.Client(cluster or address, timeout=CONNECT_SECONDS)
        except BaseException as error:
            if cluster is not None:
                cluster.close()
            # A TypeError is that of an address which asks for encryption, without any certificates.
            if not isinstance(error, OSError | TypeError | ValueError | RuntimeError):
                raise
            if n_local:
                raise ClusterError(
                    f"--dask {address}: the workers cannot be started on this machine ({reason_of(error)}). "
                    "Look at its free memory and its limit of processes, give fewer workers (local:1), or "
                    "leave --dask out"
                ) from error
            raise ClusterError(
                f"no Dask scheduler answers at {address} ({reason_of(error)}); start one with 'dask "
                "scheduler', and workers with 'dask worker ADDRESS'; is the address the one it prints, and "
                "can it be reached from here?"
            ) from error
        try:
            yield client
        finally:
            with suppress(OSError, TimeoutError, RuntimeError):
                client.close(timeout=CONNECT_SECONDS)
            if cluster is not None:
                cluster.close(timeout=2 * CONNECT_SECONDS)


def address_of(client: Client) -> str:
    """Return the address of a client's scheduler, for messages."""
    return str(getattr(getattr(client, "scheduler", None), "address", None) or "its address")


def ask(client: Client, question: Callable[[], Awaitable[T]]) -> T:
    """Wait for the answer of a cluster, but not for ever."""

    async def bounded() -> T:
        return await asyncio.wait_for(question(), ANSWER_SECONDS)

    try:
        found: T = client.sync(bounded)
    except (OSError, TimeoutError, asyncio.CancelledError) as error:
        raise gone(
            client, f"no answer in {ANSWER_SECONDS:g} seconds" if not str(error) else reason_of(error)
        ) from error
    return found


def gone(client: Client, reason: str) -> ClusterError:
    """Return the error for a cluster that does not answer any more."""
    return ClusterError(
        f"the Dask scheduler at {address_of(client)} does not answer ({reason}). What was finished is kept: "
        "start scheduler and workers again, and the same command goes on from there"
    )


def workers_of(client: Client) -> dict[str, int]:
    """Return the threads of each worker that is there now, by its address."""
    if client.status not in ("running", "connecting"):
        raise gone(client, f"the connection is {client.status}")
    found: Mapping[str, int] = ask(client, client.scheduler.ncores)
    return dict(found)


def wait_for_workers(client: Client) -> dict[str, int]:
    """Return the workers, when there are any."""
    try:
        client.wait_for_workers(1, timeout=ANSWER_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker has joined the Dask scheduler at {address_of(client)} in {ANSWER_SECONDS:g} seconds; "
            f"start one on each machine: dask worker {address_of(client)} --nworkers 1 --nthreads 1"
        ) from error
    except OSError as error:
        raise gone(client, reason_of(error)) from error
    return workers_of(client)


def check_versions(client: Client, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Compare the packages of scheduler and workers with those of this machine.

    Parameters
    ----------
    client : distributed.Client
    more : mapping of str to str, optional
        Packages that this work needs on workers besides, each with the extra of cnnboost that installs it.
        One that is not here need not be there.

    Raises
    ------
    ClusterError
        If one is missing, or of another version: the message names machine, package and both versions.
    """

    def probe(names: Sequence[str]) -> dict[str, str | None]:
        import importlib.metadata
        import sys

        found: dict[str, str | None] = {"python": "{}.{}".format(*sys.version_info)}
        for name in names:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = None
        return found

    own = probe((*PACKAGES, *more))
    answers: dict[str, Any] = ask(client, lambda: client.run(probe, (*PACKAGES, *more), on_error="return"))
    machines = {f"worker {address}": answer for address, answer in answers.items()}
    # The scheduler unpacks what it is sent, and XGBoost's tracker runs there.
    machines[f"the scheduler {address_of(client)}"] = ask(
        client, lambda: client.run_on_scheduler(probe, PACKAGES)
    )
    for machine, found in machines.items():
        if isinstance(found, BaseException):
            raise ClusterError(f"{machine} cannot be asked for its packages: {reason_of(found)}") from found
        different = {name: version for name, version in found.items() if version != own[name]}
        lacking = [name for name, version in different.items() if version is None]
        if lacking:
            extras = {more[name] for name in lacking if name in more}
            raise ClusterError(
                f"{machine} lacks {' and '.join(lacking)}; install there what is installed here "
                f"(cnnboost {own['cnnboost']}): {_install(*extras)}, and start it again"
            )
        others = [
            f"{name} {version} (here {own[name] or 'it is not installed'})"
            for name, version in different.items()
        ]
        if others:
            raise ClusterError(
                f"{machine} has other versions than this machine, and values could differ: "
                f"{', '.join(others)}; install the same versions everywhere, and start it again"
            )


def check_folder(client: Client, folder: Path) -> None:
    """Make sure that every worker sees a folder of this machine, and may write to it.

    Raises
    ------
    ClusterError
        If one does not: the message names the worker, the folder and the reason.
    StoreError
        If nothing can be written to the folder from here.
    """
    folder = folder.resolve()
    token = secrets.token_hex(8)

    def look(mark: str, token: str) -> str | None:
        import uuid
        from pathlib import Path

        try:
            if Path(mark).read_text() != token:
                return "another folder of that name is there"
            own = Path(f"{mark}-{uuid.uuid4().hex}")
            own.write_text(token)
            own.unlink()
        except OSError as error:
            return str(error.strerror or error)
        return None

    with while_used(folder / "seen", token.encode()) as mark:
        answers = ask(client, lambda: client.run(look, str(mark), token, on_error="return"))
    for address, reason in answers.items():
        if reason is not None:
            raise ClusterError(
                f"worker {address} cannot use the folder {folder} ({_reason_of(reason)}): all machines need "
                "it under this path, shared (NFS, say), readable and writable. Share it, or name a folder "
                "that is shared: --models for features and heads, CNNBOOST_CACHE for decoded images"
            )


def check_paths(client: Client, paths: Sequence[Path]) -> None:
    """Make sure that every worker sees files and folders of this machine.

    Raises
    ------
    ClusterError
        If one does not: the message names worker and path.
    """

    def unseen(paths: Sequence[str]) -> str | None:
        import os

        return next((path for path in paths if not os.access(path, os.R_OK)), None)

    there = [str(path.absolute()) for path in paths if path.exists()]
    answers = ask(client, lambda: client.run(unseen, there, on_error="return"))
    for address, path in answers.items():
        if path is not None:
            raise ClusterError(
                f"worker {address} cannot read {_reason_of(path)}: images lie in a folder that all machines "
                "share under the same path"
            )


def _reason_of(answer: Any) -> str:
    return answer if isinstance(answer, str) else reason_of(answer)
