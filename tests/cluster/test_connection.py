"""Machines that cannot do the work are named before anything is sent to them."""

import os
import resource
import socket
import subprocess
import sys
import textwrap

import pytest

from cnnboost.cluster import connection
from cnnboost.cluster.connection import check_folder, check_paths, check_versions, connected, workers_of
from cnnboost.errors import ClusterError, ParameterError
from tests.waiting import wait_until


@pytest.mark.parametrize(
    "address", ["here", "local:0", "local:x", "local:9999", "local:" + "9" * 5000, "http://a:1", "a b:1", ""]
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ParameterError, match="give"), connected(address):
        pass


def test_where_local_workers_cannot_start_the_error_says_so(monkeypatch):
    import distributed

    def fail(**options):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", fail)
    said = r"--dask local:3: the workers cannot be started on this machine \(Nanny failed .*\(local:1\)"
    with pytest.raises(ClusterError, match=said), connected("local:3"):
        pass


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParameterError, match=r"pip install 'cnnboost\[dask\]'"), connected("local:1"):
        pass


def test_where_no_scheduler_is_the_error_comes_soon_and_names_the_address(monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    with socket.socket() as taken:  # bound and not listening: nobody else can be there
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}"), connected(address):
            pass


def test_an_address_that_asks_for_encryption_needs_certificates():
    with pytest.raises(ClusterError, match="TLS"), connected("tls://127.0.0.1:1"):
        pass


def test_a_scheduler_without_workers_is_not_waited_for_long(monkeypatch):
    import distributed

    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1)
    options = {"n_workers": 0, "processes": False, "dashboard_address": None, "protocol": "tcp"}
    with distributed.LocalCluster(host="127.0.0.1", **options) as cluster:
        address = cluster.scheduler_address
        with (
            pytest.raises(ClusterError, match=r"no worker has joined .* dask worker tcp"),
            connected(address),
        ):
            pass


def test_machines_that_are_like_this_one_are_accepted(client, tmp_path):
    check_versions(client)
    check_folder(client, tmp_path)
    check_paths(client, [tmp_path, tmp_path / "missing"])
    assert list(tmp_path.iterdir()) == []


def test_a_worker_with_other_packages_is_named(processes, client, tmp_path):
    """A worker whose Python says otherwise of its packages, in a process of its own."""
    before = set(workers_of(client))
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata\n"
        "from pathlib import Path\n\n"
        "found = importlib.metadata.version\n\n\n"
        "def version(name):\n"
        "    lacking, other = (Path(__file__).with_name('said.txt').read_text() + ' ').split(' ')[:2]\n"
        "    if name == lacking:\n"
        "        raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return '9.9.9' if name == other else found(name)\n\n\n"
        "importlib.metadata.version = version\n"
    )
    said = tmp_path / "said.txt"
    said.write_text("")
    other = processes.worker("--no-nanny", path=[tmp_path])
    try:
        wait_until(lambda: len(workers_of(client)) == 3)
        (address,) = set(workers_of(client)) - before
        for packages, reason in {
            "none xgboost": r"xgboost 9\.9\.9 \(here \d",
            "onnxruntime": r"lacks onnxruntime; .*pip install 'cnnboost\[dask\]'",
            "pluggy": r"lacks pluggy; .*pip install 'cnnboost\[dask,faces\]'",
            "none absent": r"absent 9\.9\.9 \(here it is not installed\)",
        }.items():
            said.write_text(packages)
            with pytest.raises(ClusterError, match=f"worker {address}.*{reason}"):
                check_versions(client, {"pluggy": "faces", "absent": "faces"})
        said.write_text("pluggy")
        check_versions(client)  # it is not needed for other work
        check_versions(client, {"absent": "faces"})
    finally:
        other.kill()
        wait_until(lambda: set(workers_of(client)) == before)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can take rights away from a process")
def test_a_worker_without_access_to_the_folder_is_named(client, tmp_path, processes):
    before = set(workers_of(client))
    folder = tmp_path / "models"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)

    def without_override():
        import ctypes

        for capability in (1, 2):  # to read and write what belongs to others
            assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0

    worker = processes.worker("--no-nanny", preexec_fn=without_override)
    try:
        wait_until(lambda: len(workers_of(client)) == 3)
        (address,) = set(workers_of(client)) - before
        with pytest.raises(ClusterError, match=rf"worker {address} cannot use the folder {folder}.*denied"):
            check_folder(client, folder)
        with pytest.raises(ClusterError, match=rf"worker {address} cannot read {folder}"):
            check_paths(client, [folder])
    finally:
        worker.kill()
        wait_until(lambda: set(workers_of(client)) == before)


def test_a_scheduler_that_dies_is_noticed(tmp_path, monkeypatch):
    from tests.dask_processes import DaskProcesses

    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 10)
    processes = DaskProcesses(tmp_path)
    try:
        processes.worker("--no-nanny")
        with connected(processes.address) as client:
            processes.scheduler.kill()
            processes.scheduler.wait()
            with pytest.raises(ClusterError, match=r"does not answer.*goes on from there"):
                workers_of(client)
    finally:
        processes.close()


def test_local_workers_end_with_the_connection():
    """Also where the command is stopped; run as a program, since workers begin with the program again."""
    program = textwrap.dedent(
        """
        import os
        from cnnboost.cluster.connection import connected
        if __name__ == "__main__":
            with connected("local:1") as client:
                print(*client.run(os.getpid).values(), flush=True)
                raise SystemExit
        """
    )
    script = [sys.executable, "-c", program]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=True)
    (pid,) = map(int, done.stdout.split())
    wait_until(lambda: not _is_there(pid), 20)
    assert "Traceback" not in done.stderr


def _is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def limited_files(size):
    """Return a function that lets a process write files of a size at most, as on a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
