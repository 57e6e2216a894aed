import json
from functools import partial

import pytest
from PIL import Image

from tests.command_line import invoke


@pytest.fixture
def photos(toy_images, tmp_path):
    X, y = toy_images
    for i in range(24):
        folder = tmp_path / "photos" / str(y[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(X[i, ..., 0]).resize((30, 20)).convert("RGB").save(folder / f"{i}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def evaluate(job, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return partial(invoke, "evaluate", "-r", recipe_file, "--data", "photos", columns=80)


def test_other_images_are_scored_by_what_is_there(evaluate, photos, tmp_path):
    (photos / "3" / "broken.png").write_bytes(b"")
    before = {path: path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file()}
    result = evaluate("--on-bad", "skip")
    assert "Toy: scores on photos, 24 images; nothing was trained on them" in result.stdout
    assert "CNN softmax" in result.stdout
    assert "XGBoost" not in result.stdout
    assert "reports/toy/other/photos/metrics.json" in result.stdout
    for words in ("nothing is trained", "cnnboost run toy --data photos", "there is no head at fc1"):
        assert words in result.stderr
    found = json.loads(evaluate("--on-bad", "skip", "--json", "-q").stdout)
    assert (found["source_name"], found["images"], found["images_left_out"]) == ("photos", {"all": 24}, 1)
    assert found["written"][0] == "reports/toy/other/photos/metrics.json"
    assert {p: p.read_bytes() for p in (tmp_path / "models").rglob("*") if p.is_file()} == before


def test_one_split_of_other_images(evaluate, photos):
    photos.rename(photos.with_name("test"))
    photos.mkdir()
    photos.with_name("test").rename(photos / "test")
    text = evaluate("--split", "test").stdout
    assert "scores on photos (test), 24 images" in text
    assert "has no split 'train'" in evaluate("--split", "train", status=1).stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["-l", "fc2"], 1, ["no head at fc2", "cnnboost fit-boost -r toy --layer fc2"]),
        (["-l", "fc9"], 2, ["'fc9'", "fc1"]),
        (["-s", "cnn.learning_rate=0.5"], 2, ["[cnn]", "'toy'", "cnnboost run toy --data photos"]),
        (["--device", "gpu"], 1, ["'gpu'"]),
    ],
)
def test_mistakes_about_other_images_are_named(evaluate, photos, arguments, status, words):
    result = evaluate(*arguments, status=status)
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""


def test_a_class_that_the_cnn_does_not_know_is_named(evaluate, photos):
    (photos / "3").rename(photos / "33")
    result = evaluate(status=1)
    assert "Did you mean '3' for '33'?" in result.stderr
    assert "It knows: 0, 1, 2, 3" in result.stderr
