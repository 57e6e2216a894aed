"""`cnnboost distill`, formerly `teach`, as a user meets it."""

from __future__ import annotations

import json

import pytest

from tests.command_line import invoke


@pytest.fixture
def cnnboost(job, recipe_file, tmp_path, monkeypatch):
    """Run a command on the toy recipe, in a folder where its CNN is trained."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: invoke(*arguments, "-r", recipe_file, columns=200, **options)


def test_a_teacher_is_written_and_a_student_follows_it(cnnboost, tmp_path):
    found = cnnboost("distill", "--tta", "flip")
    assert "training images in 10 classes by 1 network, views: flip" in found.stdout
    assert "--set cnn.teacher=models/toy/teacher.npz" in found.stdout
    document = json.loads(cnnboost("teach", "--tta", "flip", "--json").stdout)
    assert set(document) == {"recipe", "teacher", "cached", "networks", "tta", "images", "classes"}
    assert document["cached"]
    student = ["-s", "name=student", "-s", "cnn.teacher=models/toy/teacher.npz", "-s", "cnn.epochs=1"]
    assert "accuracy" in cnnboost("train", *student).stdout
    assert (tmp_path / "models/student/cnn.keras").is_file()


def test_several_networks_teach_together(cnnboost, tmp_path):
    model = "models/toy/cnn.keras"
    found = cnnboost("distill", "--model", model, "--model", model, "--out", "two.npz", "--json")
    assert json.loads(found.stdout)["networks"] == [model, model]
    assert (tmp_path / "two.npz").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["distill", "--tta", "five"], 2, ["five", "ten-crop"]),
        (["distill", "--out", "teacher.npy"], 2, ["teacher.npy", ".npz"]),
        (["distill", "--model", "none.keras"], 1, ["none.keras", "no such file"]),
        (["distill", "-s", "cnn.teacher=models/toy/teacher.npz"], 2, ["own CNN follows", "--out"]),
        (["train", "-s", "cnn.teacher=none.npz"], 1, ["none.npz", "no such file", "cnnboost distill -r"]),
        (["train", "-s", "cnn.teacher=models/toy/cnn.keras"], 1, ["not the file of a teacher"]),
        (["train", "-s", "cnn.teacher_weight=1.5"], 2, ["teacher_weight", "1.5"]),
        (["train", "-s", "cnn.teacher_temperature=0"], 2, ["teacher_temperature"]),
        (["train", "-s", "cnn.augment={crop=2}"], 2, ["crop=2", "share of height and width"]),
        (["train", "-s", "cnn.progressive_resizing=[[9, 0.5]]"], 2, ["9 pixels", "these have 8"]),
        (["train", "-s", "cnn.precision=half"], 2, ["precision", "bfloat16"]),
        (["train", "-s", "cnn.steps_per_execution=0"], 2, ["steps_per_execution"]),
    ],
)
def test_mistakes_are_named_and_have_a_status(arguments, status, words, cnnboost):
    output = cnnboost(*arguments, status=status).output
    assert all(word in output for word in words), output
