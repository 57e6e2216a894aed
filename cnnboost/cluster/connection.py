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
from typing import TYPE_CHECKING, Any, TypeVar

from cnnboost.errors import ClusterError, ParameterError
from cnnboost.files import write_bytes

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger("cnnboost")

T = TypeVar("T")

CONNECT_SECONDS = 5
"""For which a scheduler is looked for."""
ANSWER_SECONDS = 30
"""For which machines that are there may think about a question; so long a worker is waited for, too."""
MOST_LOCAL = 256

PACKAGES = ("cnnboost", "xgboost", "onnxruntime", "numpy", "pillow", "dask", "distributed")
"""Packages whose version decides about values, or about whether machines understand each other."""

_INSTALL = "pip install 'cnnboost[dask]'"


def load_distributed() -> Any:
    """Import Dask."""
    try:
        import dask.dataframe  # noqa: F401 - xgboost.dask needs it
        import distributed
    except ImportError as error:
        raise ParameterError(
            f"several machines need Dask, and {error.name or 'a part of it'} is not installed: {_INSTALL}"
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
    local = re.fullmatch(r"local:(\d+)", address)
    if not local and not re.fullmatch(
        r"((tcp|tls|ucx|ws|wss)://)?[^\s/:]+:\d+|.*\[[0-9a-fA-F:]+\]:\d+", address
    ):
        raise ParameterError(
            f"--dask {address}: give the address of a scheduler, as tcp://127.0.0.1:8786, or local:N for N "
            "workers on this machine"
        )
    if local and not 1 <= int(local[1]) <= MOST_LOCAL:
        raise ParameterError(f"--dask {address}: give a number of workers from 1 to {MOST_LOCAL}")
    distributed = load_distributed()
    # Lost connections are reported once, as errors of our own.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with _started(distributed, address, int(local[1]) if local else 0) as client:
        wait_for_workers(client)
        yield client


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
            where = f"no Dask scheduler answers at {address}" if not n_local else "no local workers start"
            raise ClusterError(
                f"{where} ({_reason(error)}); start one with 'dask scheduler', and workers with 'dask worker "
                "ADDRESS'; is the address the one it prints, and can it be reached from here?"
            ) from error
        try:
            yield client
        finally:
            with suppress(OSError, TimeoutError, RuntimeError):
                client.close(timeout=CONNECT_SECONDS)
            if cluster is not None:
                cluster.close(timeout=2 * CONNECT_SECONDS)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def address_of(client: Client) -> str:
    """Return the address of a client's scheduler, for messages."""
    return str(getattr(getattr(client, "scheduler", None), "address", None) or "its address")


def ask(client: Client, question: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
    """Wait for the answer of a cluster, but not for ever."""
    seconds = ANSWER_SECONDS if seconds is None else seconds

    async def bounded() -> T:
        return await asyncio.wait_for(question(), seconds)

    try:
        found: T = client.sync(bounded)
    except (OSError, TimeoutError, asyncio.CancelledError) as error:
        raise gone(
            client, f"no answer in {seconds:g} seconds" if not str(error) else _reason(error)
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


def wait_for_workers(client: Client, seconds: float | None = None) -> dict[str, int]:
    """Return the workers, when there are any."""
    seconds = ANSWER_SECONDS if seconds is None else seconds
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker has joined the Dask scheduler at {address_of(client)} in {seconds:g} seconds; start "
            f"one on each machine: dask worker {address_of(client)} --nworkers 1 --nthreads 1"
        ) from error
    except OSError as error:
        raise gone(client, _reason(error)) from error
    return workers_of(client)


def check_versions(client: Client) -> None:
    """Compare the packages of scheduler and workers with those of this machine.

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

    own = probe(PACKAGES)
    answers: dict[str, Any] = ask(client, lambda: client.run(probe, PACKAGES, on_error="return"))
    machines = {f"worker {address}": answer for address, answer in answers.items()}
    # The scheduler unpacks what it is sent, and XGBoost's tracker runs there.
    machines[f"the scheduler {address_of(client)}"] = ask(
        client, lambda: client.run_on_scheduler(probe, PACKAGES)
    )
    for machine, found in machines.items():
        if isinstance(found, BaseException):
            raise ClusterError(f"{machine} cannot be asked for its packages: {_reason(found)}") from found
        lacking = [name for name, version in found.items() if version is None]
        if lacking:
            raise ClusterError(
                f"{machine} lacks {' and '.join(lacking)}; install there what is installed here "
                f"(cnnboost {own['cnnboost']}): {_INSTALL}, and start it again"
            )
        others = [
            f"{name} {version} (here {own[name]})" for name, version in found.items() if version != own[name]
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
    mark = write_bytes(folder / f".seen-{token}", token.encode())

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

    try:
        answers = ask(client, lambda: client.run(look, str(mark), token, on_error="return"))
    finally:
        mark.unlink(missing_ok=True)
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
    return answer if isinstance(answer, str) else _reason(answer)
