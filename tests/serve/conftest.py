"""A server as a process of its own, on a free port of this machine."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image

from cnnboost.deploy.bundle import write_bundle
from tests.deploy.small_graph import MANIFEST, small_file

CARD = """# Toy

## What it is for

Tests.

## What it must not be used for

- To decide anything about a person, or
  to watch people.
- For **anything** else.

## Data

None.
"""


def pixels(seed, shape=(8, 8)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(image, **options):
    """The content of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", **options)
    return file.getvalue()


@dataclass
class Server:
    """A server that runs."""

    address: str
    process: subprocess.Popen
    errors: list

    @property
    def place(self):
        return urlsplit(self.address).hostname, urlsplit(self.address).port

    def stop(self, number=signal.SIGTERM):
        """End it with a signal; return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def started(*arguments, program=("-m", "cnnboost")):
    """Start a server, and end it if the test did not."""
    command = [sys.executable, *program, "serve", *map(str, arguments), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    try:
        lines = ""
        while not lines.endswith("}\n"):
            line = process.stdout.readline()
            assert line, f"the server did not start: {errors}"
            lines += line
        yield Server(json.loads(lines)["address"], process, errors)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
        process.stdout.close()
        reader.join(10)


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    """The folder of a bundle with a card."""
    folder = tmp_path_factory.mktemp("served") / "toy"
    scores = {
        "split": "validation",
        "images": 1000,
        "hybrid": {"accuracy": 0.75, "macro_f1": 0.7, "log_loss": 0.6, "calibration_error": 0.01},
    }
    write_bundle(folder, {**MANIFEST, "title": "A toy", "scores": scores}, {"hybrid.onnx": small_file()})
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="session")
def portrait():
    """A photograph of one person, 512 pixels wide and high."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def server(toy_bundle):
    """A server of a small graph, shared by the tests of a module."""
    with started(toy_bundle, "--timeout", "5", "--max-bytes", "400000", "--max-pixels", "1000000") as running:
        yield running
        assert running.stop() == 0, running.errors
        assert not any("Traceback" in line for line in running.errors)


@pytest.fixture(scope="session")
def loaded_modules(toy_bundle, tmp_path_factory):
    """What a server has imported when it ends."""
    path = tmp_path_factory.mktemp("modules") / "modules.json"
    code = (
        "import atexit, json, pathlib, sys; from cnnboost.__main__ import main; atexit.register(lambda: "
        f"pathlib.Path({str(path)!r}).write_text(json.dumps(sorted(sys.modules)))); main()"
    )
    with started(toy_bundle, program=("-c", code)) as server:
        files = [("images", ("a.png", png(pixels(0))))]
        assert requests.post(server.address + "predict", files=files, timeout=30).status_code == 200
        for page in ("", "docs", "metrics", "model", "openapi.json"):
            assert requests.get(server.address + page, timeout=30).status_code == 200
        assert server.stop() == 0
    return {name.split(".")[0] for name in json.loads(path.read_text())}
