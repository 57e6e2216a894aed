import json

import numpy as np
import pytest
from PIL import Image

from tests.command_line import invoke


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


def test_two_commands_from_photographs_to_scores(photographs):
    assert "wrote my-pictures.toml; next: cnnboost run my-pictures.toml" in invoke("init", photographs).stdout
    small = ["--set", "cnn.epochs=8", "--set", "boost.n_estimators=5"]
    scores = json.loads(invoke("run", "my-pictures.toml", *small, "--json").stdout)
    assert scores["recipe"] == "my-pictures"
    assert scores["classes"] == ["blue", "green", "red"]


def test_json(photographs):
    found = json.loads(invoke("init", photographs, "-o", "mine.toml", "--json").stdout)
    assert (found["classes"], found["median_size"]) == ({"blue": 6, "green": 6, "red": 6}, [16, 16])
    assert (found["channels"], found["written"]) == (3, ["mine.toml"])


def test_what_a_user_may_mistype(photographs):
    assert "'my pictures'" in invoke("init", "my picture", status=1).stderr
    invoke("init", photographs)
    assert "--force" in invoke("init", photographs, status=2).stderr
    assert invoke("init", photographs, "--force").stdout
    assert "Missing argument" in invoke("init", status=2).stderr
