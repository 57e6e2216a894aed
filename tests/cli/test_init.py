import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cnnboost.cli import app


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for colour, name in enumerate(("red", "green", "blue")):
        (tmp_path / "my pictures" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 80, (16, 16, 3), np.uint8)
            pixels[..., colour] += 150
            Image.fromarray(pixels).save(tmp_path / "my pictures" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return "my pictures"


def run(*arguments, status=0):
    result = CliRunner().invoke(app, list(arguments))
    assert "Traceback" not in result.output
    assert result.exit_code == status, result.output
    return result


def test_two_commands_from_photographs_to_scores(photographs):
    assert "wrote my-pictures.toml; next: cnnboost run my-pictures.toml" in run("init", photographs).stdout
    small = ["--set", "cnn.epochs=8", "--set", "boost.n_estimators=5"]
    scores = json.loads(run("run", "my-pictures.toml", *small, "--json").stdout)
    assert scores["recipe"] == "my-pictures"
    assert scores["classes"] == ["blue", "green", "red"]


def test_json(photographs):
    found = json.loads(run("init", photographs, "-o", "mine.toml", "--json").stdout)
    assert (found["classes"], found["median_size"]) == ({"blue": 6, "green": 6, "red": 6}, [16, 16])
    assert (found["channels"], found["written"]) == (3, ["mine.toml"])


def test_what_a_user_may_mistype(photographs):
    assert "'my pictures'" in run("init", "my picture", status=1).stderr
    run("init", photographs)
    assert "--force" in run("init", photographs, status=2).stderr
    assert run("init", photographs, "--force").stdout
    assert "Missing argument" in run("init", status=2).stderr
