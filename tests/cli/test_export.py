"""`cnnboost export` as a user sees it."""

from __future__ import annotations

import json
from functools import partial

import pytest

from cnnboost.deploy.bundle import write_bundle
from tests.command_line import invoke
from tests.deploy.small_graph import MANIFEST, small_file


@pytest.fixture
def export(job, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return partial(invoke, "export", "--recipe", recipe_file)


def test_the_document(export):
    document = json.loads(export("--json").stdout)
    assert set(document) == {"bundle", "cached", "manifest", "written"}
    assert not document["cached"]
    assert len(document["written"]) == 6
    again = json.loads(export("--json").stdout)
    assert again["cached"]
    assert again["written"] == []


def test_the_table(export):
    shown = export().stdout
    assert "hybrid.onnx" in shown
    assert "100.00%" in shown
    assert "graphs compared with Keras and XGBoost on 1,000 images" in shown
    assert "manifest.json" in shown
    assert "up to date in models/toy" in export().stdout


class TestStandalone:
    """`--standalone`: of a bundle that is there, or of the one that is exported."""

    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_bundle(
            tmp_path / "toy", MANIFEST, {"hybrid.onnx": small_file(), "int8.onnx": small_file(seed=1)}
        )
        return partial(invoke, "export", "--standalone", "alone")

    def test_of_a_bundle_that_is_there(self, run, tmp_path):
        document = json.loads(run("--model", "toy", "--json").stdout)
        assert document["bundle"] == "toy"
        assert set(document["written"]) == {
            f"alone/{name}" for name in ("model.onnx", "labels.json", "predict.py", "requirements.txt")
        }
        assert (tmp_path / "alone/model.onnx").read_bytes() == small_file()
        run("--model", "toy", "--int8")
        assert (tmp_path / "alone/model.onnx").read_bytes() == small_file(seed=1)

    def test_by_itself_of_the_bundle_that_ships(self, run, tmp_path):
        said = run().stderr
        assert "FER-2013" in said
        assert json.loads((tmp_path / "alone/labels.json").read_text())["classes"][0] == "angry"
        assert "What it must not be used for" in (tmp_path / "alone/README.md").read_text()

    def test_of_a_recipe(self, export, tmp_path):
        shown = export("--standalone", "alone").stdout
        assert "alone/predict.py" in shown
        bundle = tmp_path / "models/toy/hybrid.onnx"
        assert (tmp_path / "alone/model.onnx").read_bytes() == bundle.read_bytes()

    def test_mistakes(self, run, tmp_path):
        for option in (["--layer", "fc1"], ["--pixels", "raw"], ["--classes", "a,b"], ["--force"]):
            for model in ([], ["--model", "toy"]):
                said = run(*model, *option, status=2).stderr
                assert f"{option[0]} is about making a bundle" in said
        assert "--no-image-cache is about" in run("--no-image-cache", status=2).stderr
        said = run("--model", "toy", "--recipe", "digits", status=2).stderr
        assert "--recipe is about making a bundle" in said
        assert "leave it out, or give --recipe and no bundle with --model" in " ".join(said.split())
        (tmp_path / "alone").mkdir()
        (tmp_path / "alone/thesis.txt").write_text("mine")
        assert "alone holds other files (thesis.txt)" in run("--model", "toy", status=1).stderr


def test_mistakes(export, toy_file, tmp_path):
    assert (
        "unknown mode='magic'; valid modes: plain, residual, blend"
        in export("--mode", "magic", status=2).stderr
    )
    assert "has no layer 'fc9'" in export("--layer", "fc9", status=2).stderr
    assert "say with --out" in export("--model", str(toy_file), status=2).stderr
    (tmp_path / "file").write_text("")
    assert "file" in export("--out", str(tmp_path / "file"), status=1).stderr
