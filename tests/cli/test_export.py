"""`cnnboost export` as a user sees it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cnnboost.cli import app


@pytest.fixture
def export(job, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, ["export", *arguments, "--recipe", str(recipe_file)])
        assert "Traceback" not in result.output
        assert result.exit_code == status, result.output
        return result

    return run


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


def test_mistakes(export, toy_file, tmp_path):
    assert (
        "unknown mode='magic'; valid modes: plain, residual, blend"
        in export("--mode", "magic", status=2).stderr
    )
    assert "has no layer 'fc9'" in export("--layer", "fc9", status=2).stderr
    assert "say with --out" in export("--model", str(toy_file), status=2).stderr
    (tmp_path / "file").write_text("")
    assert "file" in export("--out", str(tmp_path / "file"), status=1).stderr
