"""`cnnboost predict` on clips: a row for each face and frame, tracks, files that are whole or not there."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cnnboost.faces.clip import Clip
from cnnboost.faces.tracks import HALF_LIFE
from tests.command_line import invoke
from tests.deploy.small_graph import small_file
from tests.faces.clips import background, moving, write_clip
from tests.waiting import wait_until

pytest.importorskip("av")

TIMES = [0, 40, 80, 120, 160, 200, 280, 400, 440, 480, 520, 560]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A portrait that moves for half a second; frames come at uneven times."""
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "clip.mp4", moving(len(TIMES)), TIMES, options={"movflags": "faststart"})


run = partial(invoke, "predict")


def test_a_row_for_each_frame_smoothed_over_its_track(clip, tmp_path):
    result = run(clip, "--csv", tmp_path / "rows.csv", "--annotated", tmp_path / "out.mp4", "--json")
    rows = list(csv.DictReader((tmp_path / "rows.csv").open(newline="")))
    assert [int(row["frame"]) for row in rows] == list(range(len(TIMES)))
    np.testing.assert_allclose([float(row["time_s"]) for row in rows], np.array(TIMES) / 1000, atol=2e-3)
    assert {row["track"] for row in rows} == {"1"}
    assert {row["label"] for row in rows} == {"happy"}
    assert np.all(np.diff([float(row["face_x"]) for row in rows]) > 10)

    classes = [name.removeprefix("smoothed_") for name in rows[0] if name.startswith("smoothed_")]
    raw = np.array([[float(row[name]) for name in classes] for row in rows])
    smoothed = np.array([[float(row[f"smoothed_{name}"]) for name in classes] for row in rows])
    wanted = raw[0]
    for number, now in enumerate(raw):
        passed = float(rows[number]["time_s"]) - float(rows[max(0, number - 1)]["time_s"])
        wanted = now + 0.5 ** (passed / HALF_LIFE) * (wanted - now)
        np.testing.assert_allclose(smoothed[number], wanted, atol=1e-5)

    document = json.loads(result.stdout)
    assert document["half_life_s"] == HALF_LIFE
    assert (document["frames"], document["tracks"], document["damage"]) == (len(TIMES), 1, None)
    assert document["written"] == [str(tmp_path / "rows.csv"), str(tmp_path / "out.mp4")]
    assert [row["probabilities"]["happy"] for row in document["rows"]] == [
        float(row["happy"]) for row in rows
    ]

    with Clip(str(clip)) as before, Clip(str(tmp_path / "out.mp4")) as after:
        for old, new, row in zip(before, after, rows, strict=True):
            assert new.time == pytest.approx(old.time, abs=2e-3)
            changed = np.abs(np.asarray(new.picture, int) - np.asarray(old.picture)).max(axis=2) > 30
            x, y = float(row["face_x"]), float(row["face_y"])
            width, height = float(row["face_width"]), float(row["face_height"])
            assert changed[int(y + height / 2), int(x) - 2 : int(x) + 5].any()
            assert not changed[int(y + height * 0.3) : int(y + height * 0.7), int(x + width * 0.3)].any()


def test_the_table_and_a_clip_without_faces(clip, tmp_path):
    result = run(clip)
    assert len(result.stdout.splitlines()) == 1 + len(TIMES)
    assert "frames: 12, faces: 12, tracks: 1;" in result.stderr
    empty = write_clip(tmp_path / "none.mp4", [background()] * 4)
    result = run(empty, "--csv", tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text().count("\n") == 1
    assert "frames: 4, faces: 0, tracks: 0;" in result.stderr


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A clip of few frames."""
    return write_clip(tmp_path_factory.mktemp("short") / "short.mp4", moving(3))


def test_labels_that_are_numbers_are_shown_as_text(short, tmp_path):
    (tmp_path / "numbers.onnx").write_bytes(small_file(classes=(7, 8, 9)))
    model = ("--model", tmp_path / "numbers.onnx", "--faces")
    assert run(short, *model).stdout.splitlines()[1].split()[3] in "789"
    result = run(short, *model, "--csv", tmp_path / "rows.csv", "--annotated", tmp_path / "out.mp4", "--json")
    (row, *_) = csv.DictReader((tmp_path / "rows.csv").open(newline=""))
    document = json.loads(result.stdout)
    assert document["classes"] == ["7", "8", "9"]
    assert row["label"] == document["rows"][0]["label"]
    assert document["rows"][0]["smoothed"][row["label"]] == float(row[f"smoothed_{row['label']}"])


def test_csv_on_stdout_is_utf_8_whatever_the_locale(short, tmp_path):
    (tmp_path / "toy.onnx").write_bytes(small_file(classes=("fâché", "heureux", "triste")))
    command = [sys.executable, "-m", "cnnboost", "predict", str(short), "--model", str(tmp_path / "toy.onnx")]
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*command, "--faces", "--csv", "-"],
        env={**os.environ, **ascii_only},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.decode("utf-8").splitlines()
    assert "fâché,heureux,triste,smoothed_fâché" in head
    assert len(rows) == 3


def test_a_damaged_end_is_marked_and_what_comes_before_is_kept(clip, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    result = run(cut, "--csv", tmp_path / "rows.csv", status=1)
    *rows, last = csv.DictReader((tmp_path / "rows.csv").open(newline=""))
    assert 1 < len(rows) < len(TIMES)
    assert all(row["error"] == "" for row in rows)
    assert last["error"]
    assert last["happy"] == ""
    assert "damaged" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["clip.mp4", "b.png"], 2, ["clip by itself"]),
        (["clip.mp4", "--whole"], 2, ["--whole"]),
        (["clip.mp4", "--annotated", "out.gif"], 2, ["out.gif", ".mp4"]),
        (
            ["clip.mp4", "--annotated", "./clip.mp4"],
            2,
            ["--annotated clip.mp4 is among the files to predict"],
        ),
        (["--csv", "text.mp4", "clip.mp4"], 2, ["--csv text.mp4"]),
        (["none.mp4"], 1, ["none.mp4", "No such file"]),
        (["sound.mp4"], 1, ["sound.mp4", "only sound"]),
        (["text.mp4"], 1, ["text.mp4", "cannot be read as a video"]),
        (["clip.mp4", "--csv", "text.mp4/rows.csv"], 1, ["cannot be written"]),
    ],
)
def test_mistakes_are_named(clip, tmp_path, monkeypatch, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").symlink_to(clip)
    Path("text.mp4").write_text("not a clip")
    write_clip("sound.mp4", [], sound=True)
    result = run(*arguments, status=status)
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""


def test_ctrl_c_leaves_nothing(tmp_path):
    long = write_clip(tmp_path / "long.mp4", moving(400))
    process = subprocess.Popen(
        [sys.executable, "-m", "cnnboost", "predict", str(long),
         "--csv", "out/rows.csv", "--annotated", "out/a.mp4"],
        cwd=tmp_path, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    wait_until(lambda: len(list(tmp_path.glob("out/*"))) == 2, process=process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"no file was written" in stderr
    assert b"Traceback" not in stderr
    assert list((tmp_path / "out").iterdir()) == []
