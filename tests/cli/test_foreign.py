"""Commands on a model file from elsewhere: what it is fed, what its outputs are, what its scores mean."""

import json

import keras
import numpy as np
import pytest

from tests.command_line import invoke

L = keras.layers


@pytest.fixture(scope="module")
def files(toy_cnn, toy_images, tmp_path_factory):
    """Return a folder with a model that expects raw pixels, which nothing tells, and the images it knows."""
    folder = tmp_path_factory.mktemp("foreign")
    x = image = keras.Input((8, 8, 1))
    hidden = L.Conv2D(1, 1, use_bias=False)
    own = keras.models.clone_model(toy_cnn.model_)  # the toy belongs to every test
    own.set_weights(toy_cnn.model_.get_weights())
    for layer in (hidden, *own.layers[2:]):
        x = layer(x)
    hidden.set_weights([np.full((1, 1, 1, 1), 1 / 255, np.float32)])
    model = keras.Model(image, x)
    model.save(folder / "raw.keras")
    model.layers[-1].set_weights([w * 0 + np.arange(10) for w in model.layers[-1].get_weights()])
    model.save(folder / "collapsed.keras")
    X, y = toy_images
    np.savez(folder / "digits.npz", X=X, y=y)
    np.savez(folder / "split.npz", x_train=X[:400], y_train=y[:400], x_test=X[400:], y_test=y[400:])
    return folder


@pytest.fixture
def run(files, recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(command, *arguments, status=0, model="raw", data="digits"):
        given = ["--model", files / f"{model}.keras"] if model else []
        told = [command, "-r", recipe_file, "--data", files / f"{data}.npz", *given, *arguments]
        return invoke(*told, status=status, columns=120)

    return run


def test_no_verdict_on_a_scale_that_looks_wrong(run, tmp_path):
    result = run("evaluate", "-l", "fc1", status=1)
    assert "with pixels unit, and on" in result.stderr
    assert "state the better one: --pixels raw" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "reports" / "toy" / "metrics.json").exists()
    assert "--pixels raw" in run("export", "--out", "bundle", status=1).stderr
    assert not (tmp_path / "bundle").exists()
    assert "--pixels raw" in run("extract", "-l", "fc1").stderr


def test_a_scale_that_was_asked_for_is_scored_without_a_verdict(run):
    result = run("evaluate", "-l", "fc1", "--pixels", "unit")
    assert "what was asked for looks wrong" in result.stderr
    assert "no verdict" in result.stdout
    found = json.loads(run("evaluate", "-l", "fc1", "--pixels", "unit", "--json").stdout)
    assert found["heads"][0]["against_cnn"]["p_value"] is None
    assert "is better than" not in found["heads"][0]["against_cnn"]["verdict"]


def test_a_verdict_on_the_right_scale_and_whose_images_it_is_of(run):
    result = run("evaluate", "-l", "fc1", "--pixels", "raw")
    assert "may be among those that it was trained on" in " ".join(result.stdout.split())
    found = json.loads(run("evaluate", "-l", "fc1", "--pixels", "raw", "--json", data="split").stdout)
    assert found["given"]["notes"] == []
    assert found["given"]["pixels"] == "raw"
    assert 0 <= found["heads"][0]["against_cnn"]["p_value"] <= 1


def test_the_order_of_outputs_is_stated(run, tmp_path):
    names = [str(i) for i in range(10)]
    (tmp_path / "names.txt").write_text(
        "\ufeff" + "\n".join([*names[5:], *names[:5]]) + "\n", encoding="utf-8"
    )
    result = run("evaluate", "-l", "fc1", "--pixels", "raw", "--classes", "names.txt")
    assert "--classes 0,1,2,3,4,5,6,7,8,9" in result.stderr
    assert "no verdict" in result.stdout
    found = run("extract", "-l", "fc1", "--pixels", "raw", "--classes", ",".join(names))
    assert "in this order: 0, 1, 2" in found.stderr


@pytest.mark.parametrize(
    ("classes", "status", "words"),
    [
        ("0,1,2", 1, "missing: 3, 4, 5"),
        ("0,1,2,3,4,5,6,7,8,9,ten", 1, "unknown: ten"),
        ("0,1,2,3,4,5,6,7,8,9,9", 1, "twice: 9"),
        ("names.text", 2, "no such file"),
    ],
)
def test_an_order_of_other_classes_is_refused(run, classes, status, words):
    assert words in run("extract", "-l", "fc1", "--classes", classes, status=status).stderr


def test_an_order_is_of_a_model_file(run):
    assert "--model FILE" in run("extract", "--classes", "a,b", model=None, status=2).stderr


def test_a_collapsed_model_is_told_of_scale_and_order_first(run):
    result = run("evaluate", "-l", "fc1", model="collapsed")
    assert (
        "look at the scale of its pixels (--pixels) and the order of its outputs (--classes)" in result.stderr
    )
