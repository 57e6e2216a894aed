"""The wheel: what travels in it, and that it works from an empty folder without the checkout."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_it_holds_the_package_its_recipes_and_its_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("cnnboost/py.typed", "cnnboost/pipelines/digits.toml", "cnnboost/pipelines/oslo.toml"):
        assert name in names
    assert not [name for name in names if not name.startswith(("cnnboost/", "cnnboost-"))]


def test_the_bare_commands_work_from_an_empty_folder(wheel, tmp_path):
    # Its own folder on the path stands for an installation; the packages it needs are those of this run.
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}

    def run(*arguments):
        command = [sys.executable, "-m", "cnnboost", *arguments]
        return subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=True)

    where = [sys.executable, "-c", "import cnnboost; print(cnnboost.__file__)"]
    place = subprocess.run(
        where, cwd=empty, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert place.startswith(str(site))
    assert "fc1" in run("extract", "--quiet").stdout
    assert "fc1-plain.ubj" in run("fit-boost", "--layer", "fc1", "--quiet").stdout
    assert sorted(p.name for p in empty.iterdir()) == ["models"]
