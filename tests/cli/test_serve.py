"""`cnnboost serve`: what keeps it from starting. `tests/serve` has the server at work."""

import socket
import sys

import pytest

from cnnboost.deploy.bundle import write_bundle
from cnnboost.images.decode import MAX_PIXELS
from tests.command_line import invoke
from tests.deploy.small_graph import MANIFEST, small_file


@pytest.fixture
def refused(tmp_path):
    """Return a function that runs the command, which must not start; it returns what was said."""
    write_bundle(tmp_path / "toy", MANIFEST, {"hybrid.onnx": small_file()})

    def run(*arguments, status, model="toy"):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = [] if "--port" in arguments else ["--port", str(taken.getsockname()[1])]
            return invoke("serve", tmp_path / model, *arguments, *port, status=status).stderr

    return run


def test_a_port_that_is_taken(refused):
    said = refused(status=1)
    assert "cannot listen on 127.0.0.1:" in said
    assert "--port (0 is any that is free)" in said


def test_an_address_that_is_not_of_this_machine(refused):
    assert "cannot listen on 192.0.2.1:" in refused("--host", "192.0.2.1", status=1)


def test_a_bundle_that_is_not_there_or_lacks_the_graph(refused, tmp_path):
    assert "no such file or folder" in refused(status=1, model="none")
    assert "without int8.onnx" in refused("--graph", "int8", status=1)
    assert "is the hybrid graph" in refused("--graph", "cnn", status=2, model="toy/hybrid.onnx")
    (tmp_path / "toy" / "hybrid.onnx").write_bytes(small_file()[:-1])
    assert "checksum" in refused(status=1)


def test_limits_beyond_those_of_the_decoder(refused):
    said = refused("--max-pixels", str(MAX_PIXELS + 1), status=2)
    assert f"images of more than {MAX_PIXELS} pixels are never decoded" in said


def test_limits_that_contradict_each_other(refused):
    assert "--max-images 256 is more than --queue 2" in refused("--queue", "2", status=2)


@pytest.mark.parametrize(
    "package", ["fastapi", "httptools", "uvicorn", "prometheus_client", "python_multipart"]
)
def test_a_package_that_is_missing(refused, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(status=1)
    assert package in said
    assert "pip install 'cnnboost[serve]'" in said
