"""The folder that runs without cnnboost: the same answers, from three packages alone."""

import json
import subprocess
import sys
import tomllib
import venv

import numpy as np
import pytest
from PIL import Image

from cnnboost import Predictor
from cnnboost.deploy.bundle import SHIPPED, read_bundle, write_bundle
from cnnboost.deploy.standalone import REQUIREMENTS, write_standalone
from cnnboost.errors import StoreError
from tests.conftest import ROOT
from tests.deploy.small_graph import CLASSES, MANIFEST, small_file

ALLOWED = {"numpy", "onnxruntime", "PIL"}
#: Refuses every package but the three that requirements.txt names, and the standard library.
GUARD = f"""
import runpy, sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if path is None and top not in sys.stdlib_module_names | {ALLOWED!r}:
            raise ModuleNotFoundError(name + " is not installed here", name=name)
sys.meta_path.insert(0, Guard())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    members = {"hybrid.onnx": small_file((9, 7, 3)), "int8.onnx": small_file((9, 7, 3), seed=1, int8=True)}
    manifest = {**MANIFEST, "input": {"height": 9, "width": 7, "channels": 3}}
    (folder / "README.md").write_text("a card")
    return write_bundle(folder, manifest, members)


@pytest.fixture(scope="module")
def alone(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "folder"
    write_standalone(bundle, folder)
    return folder


def run(folder, *arguments, status=0, python=(sys.executable, "-I", "-c", GUARD)):
    command = [*python, str(folder / "predict.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_what_is_in_it(bundle, alone):
    assert {path.name for path in alone.iterdir()} == {
        "model.onnx", "labels.json", "predict.py", "requirements.txt", "README.md"
    }  # fmt: skip
    assert (alone / "model.onnx").read_bytes() == bundle.members["hybrid.onnx"].read_bytes()
    assert len((alone / "predict.py").read_text().splitlines()) < 150
    assert json.loads((alone / "labels.json").read_text())["classes"] == CLASSES


def test_it_needs_three_packages_no_older_than_this_one_does(alone):
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert (alone / "requirements.txt").read_text().splitlines() == list(REQUIREMENTS)
    assert set(REQUIREMENTS) <= set(wanted)
    assert len(REQUIREMENTS) == 3


def test_the_probabilities_are_those_of_the_predictor(bundle, alone, odd_images, tmp_path):
    predictor = Predictor.load(bundle)
    for name, content in odd_images.items():
        (tmp_path / name).write_bytes(content)
    found = json.loads(run(alone, tmp_path, "--json").stdout)
    assert (found["classes"], found["failed"]) == (CLASSES, 0)
    assert sorted(row["path"] for row in found["rows"]) == sorted(str(tmp_path / name) for name in odd_images)
    for row in found["rows"]:
        (wanted,) = predictor.predict_proba(row["path"])
        np.testing.assert_array_equal(np.float32(list(row["probabilities"].values())), wanted, row["path"])
        assert row["label"] == CLASSES[wanted.argmax()]


def test_what_the_predictor_refuses_it_refuses(alone, odd_images, tmp_path):
    good = odd_images["plain.png"]
    at = good.index(b"IDAT") + 12
    bad = {
        "empty.png": b"",
        "text.png": b"hello",
        "short.png": good[:60],
        "damaged.png": good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :],
        "short.jpg": odd_images["large.jpg"][:2000],
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    first, second = (Image.new("L", (8, 8), shade) for shade in (0, 255))
    first.save(tmp_path / "frames.gif", save_all=True, append_images=[second])
    dark = np.arange(81, dtype=np.uint16).reshape(9, 9)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    (tmp_path / "good.png").write_bytes(good)
    found = json.loads(run(alone, tmp_path, "--json", status=1).stdout)
    failed = {row["path"].rsplit("/", 1)[1] for row in found["rows"] if row.get("error")}
    assert failed == {*bad, "frames.gif", "dark.png"}
    assert found["failed"] == len(failed)


def test_a_table_and_mistakes(alone, odd_images, tmp_path):
    (tmp_path / "a.png").write_bytes(odd_images["plain.png"])
    done = run(alone, tmp_path / "a.png", tmp_path / "none\x1b[31m.png", status=1)
    good, bad = done.stdout.splitlines()
    assert "\x1b" not in bad
    assert "none\\x1b[31m.png" in bad
    assert good.split()[0] in CLASSES
    assert good.endswith("a.png")
    assert bad.startswith("-")
    assert "No such file" in bad
    (tmp_path / "folder").mkdir()
    assert "no image was found in" in run(alone, tmp_path / "folder", status=2).stderr


def test_a_graph_and_labels_that_do_not_belong_together_are_refused(bundle, odd_images, tmp_path):
    write_standalone(bundle, tmp_path / "folder")
    (tmp_path / "a.png").write_bytes(odd_images["plain.png"])
    (tmp_path / "folder" / "model.onnx").write_bytes(bundle.members["int8.onnx"].read_bytes())
    assert "labels.json" in run(tmp_path / "folder", tmp_path / "a.png", status=2).stderr
    (tmp_path / "folder" / "labels.json").write_text("[]")
    assert "the model cannot be used" in run(tmp_path / "folder", tmp_path / "a.png", status=2).stderr


def test_another_graph_and_a_second_time(bundle, alone, tmp_path):
    write_standalone(bundle, tmp_path / "folder")
    write_standalone(bundle, tmp_path / "folder", graph="int8")
    assert (tmp_path / "folder" / "model.onnx").read_bytes() == bundle.members["int8.onnx"].read_bytes()


def test_what_a_killed_run_and_another_bundle_left_is_removed(bundle, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (".model.0a1b2c3d.onnx", ".labels.00000000.json", ".README.ffffffff.md"):
        (folder / name).write_bytes(b"half of it")
    written = write_standalone(bundle, folder)
    assert set(folder.iterdir()) == set(written)
    assert (folder / "README.md").read_text() == "a card"
    other = write_bundle(
        tmp_path / "other", {**MANIFEST, "classes": [0, 1, 2]}, {"hybrid.onnx": small_file(classes=(0, 1, 2))}
    )
    (folder / ".README.ffffffff.md").write_bytes(b"half of it")
    edited = folder / ".README.md.swp"  # as an editor leaves it
    edited.touch()
    assert {*write_standalone(other, folder), edited} == set(folder.iterdir())
    assert not (folder / "README.md").exists()
    assert json.loads((folder / "labels.json").read_text())["classes"] == ["0", "1", "2"]


def test_the_files_of_others_are_not_touched(bundle, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predict.py").write_text("mine")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(StoreError, match="holds other files"):
            write_standalone(bundle, place)
    with pytest.raises(StoreError, match=r"cnn\.onnx"):
        write_standalone(bundle, tmp_path / "new", graph="cnn")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_it_runs_in_an_environment_that_has_nothing_else(odd_images, tmp_path):
    write_standalone(read_bundle(ROOT / "models" / SHIPPED), tmp_path / "folder")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        str(tmp_path / "folder/requirements.txt"),
    ]
    done = subprocess.run(install, capture_output=True, text=True, timeout=280)
    if done.returncode:
        pytest.skip(f"the packages cannot be installed here: {done.stderr[-300:]}")
    (tmp_path / "a.jpg").write_bytes(odd_images["large.jpg"])
    found = json.loads(
        run(tmp_path / "folder", tmp_path / "a.jpg", "--json", python=[str(python), "-I"]).stdout
    )
    wanted = Predictor.load().predict_proba(tmp_path / "a.jpg")[0]
    assert list(found["rows"][0]["probabilities"].values()) == pytest.approx(wanted.tolist(), abs=1e-5)
