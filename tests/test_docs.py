"""What the documents say works: the README's commands and Python, its figures, every docstring's example."""

import doctest
import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

import cnnboost
from cnnboost.cli import app
from tests import readme
from tests.conftest import ROOT
from tests.faces.clips import astronaut, moving, write_clip
from tests.serve.conftest import started

DOCUMENTS = {path: path.read_text() for path in readme.documents()}
TEXT = "\n".join(DOCUMENTS.values())
PROGRAM = str(Path(sys.executable).parent / "cnnboost")
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(cnnboost.__path__, "cnnboost.") if "__main__" not in m.name
)


def block(kind):
    found = re.search(rf"<!-- quickstart: {kind} -->\s*```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, f"no document has a quickstart for {kind}"
    return found.group(1)


def test_the_commands_of_the_quickstart_work_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line, comments=True) for line in block("shell").splitlines() if line.strip()]
    assert len(commands) >= 5
    shown = {}
    for command in commands:
        assert command[0] == "cnnboost"
        # Less training than a reader would wait for; everything else is as it stands there.
        quick = [*command[1:], "-s", "cnn.epochs=1", "-s", "boost.n_estimators=2"]
        done = CliRunner(env={"COLUMNS": "100"}).invoke(app, quick)
        assert done.exit_code == 0, done.output
        shown[command[1]] = done.stdout
    assert (tmp_path / "features/train-fc1.npy").is_file()
    assert (tmp_path / "models/digits/heads/fc1-plain.ubj").is_file()
    assert "XGBoost at output" in shown["evaluate"]


def test_the_python_of_the_quickstart_works(capsys):
    exec(compile(block("python"), "README.md", "exec"), {})
    shown = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert float(shown["CNN"]) > 0.8
    assert float(shown["CNN + XGBoost"]) > 0.8


@pytest.mark.parametrize("kind", ["hybrid", "bagged"])
def test_the_hybrids_of_the_readme_work(kind, capsys):
    exec(compile(block(kind), "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0.8


def test_photographs_and_clips_are_classified_as_the_readme_says(tmp_path):
    """In a folder that holds nothing but these: the bundle came with the package."""
    (tmp_path / "photographs").mkdir()
    for name in ("photograph.jpg", "photographs/a.jpg"):
        astronaut().save(tmp_path / name)
    write_clip(tmp_path / "clip.mp4", moving(3))
    for command in [shlex.split(line, comments=True) for line in block("photograph").splitlines()]:
        assert command[0] == "cnnboost"
        done = subprocess.run([PROGRAM, *command[1:]], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for name in ("faces.csv", "clip.csv"):
        assert ",happy," in (tmp_path / name).read_text()
    assert (tmp_path / "annotated.mp4").is_file()
    python = [sys.executable, "-c", block("face")]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("happy ")


def test_the_server_and_the_folder_of_the_readme_work(tmp_path):
    (tmp_path / "faces").mkdir()
    shades = np.add.outer(np.arange(120), np.arange(100)).astype(np.uint8)
    for name in ("face.jpg", "other.png", "faces/one.png"):
        Image.fromarray(shades).save(tmp_path / name)
    serve, ask, export, predict = [shlex.split(line, comments=True) for line in block("serve").splitlines()]
    with started(*serve[2:]) as server:
        assert [serve[:2], ask[0]] == [["cnnboost", "serve"], "curl"]
        sent = [part.partition("=@")[2] for part in ask if "=@" in part]
        files = [("images", (name, (tmp_path / name).read_bytes())) for name in sent]
        address = server.address + ask[-1].removeprefix("http://127.0.0.1:8000/")
        assert len(requests.post(address, files=files, timeout=60).json()["rows"]) == 2
    done = subprocess.run([PROGRAM, *export[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, *predict[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_figures_are_those_of_the_reports(path):
    assert readme.fill(path) == DOCUMENTS[path], "run `make readme`"


def test_every_figure_has_its_place():
    for name in readme.blocks():
        assert TEXT.count(f"<!-- {name} -->") >= 1, name
        assert TEXT.count(f"<!-- {name} -->") == TEXT.count(f"<!-- /{name} -->"), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_files_that_a_document_names_are_there(path):
    for name in re.findall(r"`((?:reports|pipelines|tests)/[\w./-]+\.\w+)", DOCUMENTS[path]):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\]\((?!https?:|#|gallery/|reference/)([^)#]+)", DOCUMENTS[path]):
        assert (path.parent / name).exists(), name


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert result.failed == 0


def test_the_targets_of_the_makefile_are_listed():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "lint", "wheel", "bench-line", "bench-peers"):
        assert re.search(rf"^{target} ", shown, re.MULTILINE)
