"""The wheel: what travels in it, and that it works from an empty folder without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from cnnboost.deploy.bundle import FAST, SHIPPED, write_bundle
from tests.conftest import ROOT
from tests.deploy.small_graph import metadata_of, small_file

MODELS = "cnnboost/models/"


def build(tree, out, kind="wheel"):
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(out)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


def models_in(wheel):
    """Return the names of what the wheel holds of the bundles that ship."""
    names = zipfile.ZipFile(wheel).namelist()
    return {name.removeprefix(MODELS) for name in names if name.startswith(MODELS)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def tree(tmp_path):
    """A copy of what a wheel is built from, without any model."""
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "cnnboost", tree / "cnnboost", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "pipelines", tree / "pipelines")
    for name in ("pyproject.toml", ".gitignore", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    return tree


def test_it_holds_the_package_its_recipes_and_its_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "py.typed",
        "pipelines/digits.toml",
        "pipelines/oslo.toml",
        "serve/page.html",
        "serve/docs.html.j2",
        "deploy/standalone_predict.py",
    ):
        assert f"cnnboost/{name}" in names
    assert not [name for name in names if not name.startswith(("cnnboost/", "cnnboost-"))]


@pytest.mark.slow
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


def test_it_carries_the_bundles_that_the_repository_ships(wheel):
    found = models_in(wheel)
    for bundle in (SHIPPED, FAST):
        members = json.loads((ROOT / "models" / bundle / "manifest.json").read_text())["members"]
        assert {f"{bundle}/{name}" for name in ("manifest.json", *members)} <= found
        assert sum(metadata["bytes"] for metadata in members.values()) < 30e6
    assert all(name.endswith((".json", ".keras", ".ubj", ".onnx", ".md")) for name in found)


def test_an_index_would_take_wheel_and_sdist(wheel):
    sdist = build(ROOT, wheel.parent, "sdist")
    command = [sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_built_without_a_bundle(tree, tmp_path):
    assert models_in(build(tree, tmp_path / "dist")) == set()


def test_a_bundle_travels_without_what_lies_around_it_and_predicts(tree, tmp_path):
    folder = tree / "models" / SHIPPED
    metadata = {key: value for key, value in metadata_of().items() if key not in ("format", "kind", "native")}
    members = {"hybrid.onnx": small_file(), "head.ubj": b"head", "cnn.keras": b"cnn"}
    write_bundle(folder, {**metadata, "versions": {}}, members)
    (folder / "README.md").write_text("a card")
    for name in ("features/fc1.npy", "heads/fc1-plain.ubj", "search/0/cnn.keras", "cnn.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not for others")
    (tree / "models" / "other").mkdir()
    (tree / "models" / "other" / "cnn.keras").write_bytes(b"not for others")
    path = build(tree, tmp_path / "dist")
    assert models_in(path) == {f"{SHIPPED}/{name}" for name in ("README.md", "manifest.json", *members)}

    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(path).extractall(site)
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(empty / "photo.jpg")
    done = subprocess.run(
        [sys.executable, "-m", "cnnboost", "predict", "photo.jpg", "--json"],
        cwd=empty, env={**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"]["path"] == str(site / "cnnboost" / "models" / SHIPPED / "hybrid.onnx")
    assert found["rows"][0]["label"] in found["classes"]
    assert str(site) in done.stderr
    assert [path.name for path in empty.iterdir()] == ["photo.jpg"]
