"""`cnnboost compare` as a user meets it."""

from __future__ import annotations

import json

import pytest

from cnnboost.files import read_json
from tests.command_line import invoke

HEADS = 'compare.heads=["logistic_regression", "nearest_neighbors"]'
FEW = ["-s", HEADS, "-s", "cnn.epochs=1", "-s", "compare.folds=2"]
FEW += ["-s", "hybrid.boost={n_estimators=4, max_depth=2}"]


def test_it_prints_a_table_and_a_verdict_for_each_mode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("compare", "--seeds", 1, *FEW, columns=200)
    for words in ("calibrated", "residual", "blend", "median p", "heads fitted on train", "nearest"):
        assert words in result.stdout
    assert result.stdout.count("the softmax") >= 3
    document = read_json(tmp_path / "reports/digits/compare.json")
    assert len(document["runs"]) == 1
    found = json.loads(invoke("compare", "--seeds", 1, "--json", *FEW).stdout)
    assert found["runs"] == document["runs"]
    together = invoke("compare", "--networks", columns=200)
    assert "residual is more accurate than the best linear head on" in together.stdout
    assert "reports/gains.json" in together.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--seeds", "0"], 2, ["--seeds"]),
        (["-s", "compare.modes=['stacked']"], 2, ["plain", "residual", "blend"]),
        (["-s", "hybrid.tta=five"], 2, ["ten-crop"]),
        (["-s", "hybrid.boost={max_dept=3}"], 2, ["max_dept", "max_depth"]),
        (["-s", "hybrid.views=5"], 2, ["augment"]),
        (["-s", "compare.folds=1"], 2, ["folds"]),
        (["-s", 'compare.heads=["svm"]'], 2, ["'svm'", "linear_svm", "import path"]),
        (["-s", 'compare.heads=["linear_svm", "linear_svm"]'], 2, ["two rows would be called 'linear_svm'"]),
        (["-s", 'compare.heads=[{path="a.B", name="plain"}]'], 2, ["two rows would be called 'plain'"]),
        (["-s", "compare.heads=[{path='linear_svm', option=1}]"], 2, ["option", "Known here: path, options"]),
        (["--networks", "--seeds", "2"], 2, ["leave out"]),
        (["--networks", "--reports", "nowhere"], 1, ["nowhere", "there are no comparisons"]),
        (["--split", "train"], 2, ["was trained on these images"]),
        (["--split", "tset"], 1, ["tset", "validation"]),
    ],
)
def test_mistakes_are_named_and_have_a_status(arguments, status, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = [] if "--networks" in arguments else ["-s", "cnn.epochs=1"]
    result = invoke("compare", *short, *arguments, status=status, columns=200)
    assert all(word in result.output for word in words), result.output
