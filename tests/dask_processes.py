"""Schedulers and workers of Dask as processes on loopback, for tests.

One cluster serves all tests; workers that a test kills come back, as their nannies start them again.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent

_SECONDS = 60


class DaskProcesses:
    """A scheduler, and workers of one thread; each with a nanny, as a user has them, or without one."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(file),
        )  # fmt: skip
        wait_until(lambda: file.is_file() and file.read_text().endswith("}"), _SECONDS, self.scheduler)
        self.address = json.loads(file.read_text())["address"]

    def _start(self, *command, path=(), **options):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
        }
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True, **options,
        )  # fmt: skip
        log.close()
        self.processes.append(process)
        return process

    def worker(self, *options, **how):
        """Start a worker."""
        return self._start(
            "dask", "worker", self.address, "--host", "127.0.0.1", "--nworkers", "1", "--nthreads", "1",
            "--memory-limit", "1GiB", "--no-dashboard", "--death-timeout", "30",
            "--local-directory", str(self.folder), *options, **how,
        )  # fmt: skip

    def logs(self):
        """Return what all of them have said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def close(self):
        """End all of them, workers first; each is the leader of a session of its own."""
        for process in reversed(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Return a scheduler and two workers with nannies."""
    pytest.importorskip("distributed")
    started = DaskProcesses(tmp_path_factory.mktemp("dask"))
    try:
        started.worker()
        started.worker()
        yield started
    finally:
        started.close()


@pytest.fixture
def client(processes):
    """Return a client of the cluster whose two workers are there."""
    from cnnboost.cluster.connection import connected, workers_of

    with connected(processes.address) as client:
        wait_until(lambda: len(workers_of(client)) == 2)
        yield client
        # Whatever a test did, nothing of it is left to be done.
        wait_until(lambda: not any(client.processing().values()))


@pytest.fixture
def pids(client):
    """Return the process of each worker, by its address."""
    return client.run(os.getpid)


@pytest.fixture
def stopped():
    """Return a context in which a process stands still, so that its tasks stay where they are."""

    @contextmanager
    def stopped(pid):
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return stopped
