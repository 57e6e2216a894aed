"""A bundle is verified before it is used and replaced as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnboost.deploy import bundle as module
from cnnboost.deploy.bundle import finish, is_bundle, read_bundle, write_bundle
from cnnboost.errors import StoreError
from cnnboost.files import digest_of

FACTS = {
    "recipe": "toy",
    "classes": ["a", "b"],
    "layer": "fc1",
    "mode": "plain",
    "pixels": "raw",
    "input": {"height": 8, "width": 8, "channels": 1},
    "rounds": 3,
    "versions": {},
}
OLD = {"cnn.keras": b"cnn", "head.ubj": b"old trees", "hybrid.onnx": b"old graph"}
NEW = {"cnn.keras": b"cnn", "head.ubj": b"new trees", "hybrid.onnx": b"new graph!"}


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "models" / "toy", FACTS, OLD)
    return tmp_path / "models" / "toy"


def contents(folder):
    return {name: path.read_bytes() for name, path in read_bundle(folder).members.items()}


def test_what_is_written_is_read(folder):
    found = read_bundle(folder)
    assert contents(folder) == OLD
    assert {key: found.manifest[key] for key in FACTS} == FACTS
    assert sorted(path.name for path in folder.iterdir()) == sorted([*OLD, "manifest.json"])
    assert not any(path.name.startswith(".") for path in folder.iterdir())


def test_a_file_can_be_a_member(folder, tmp_path):
    source = tmp_path / "trained.keras"
    source.write_bytes(b"from a file")
    write_bundle(folder, FACTS, {"cnn.keras": source})
    assert contents(folder) == {"cnn.keras": b"from a file"}


def test_other_files_in_the_folder_stay_and_belong_to_nobody(folder):
    (folder / "history.json").write_text("{}")
    write_bundle(folder, FACTS, NEW)
    assert contents(folder) == NEW
    assert (folder / "history.json").read_text() == "{}"


def test_a_member_that_is_the_same_is_not_written_again(folder):
    before = (folder / "cnn.keras").stat().st_ino
    write_bundle(folder, FACTS, NEW)
    assert (folder / "cnn.keras").stat().st_ino == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "head.ubj").unlink(), r"head\.ubj is missing"),
        (lambda f: (f / "head.ubj").write_bytes(b"old"), r"head\.ubj has 3 bytes .* 9: truncated"),
        (lambda f: (f / "head.ubj").write_bytes(b"bad trees"), r"head\.ubj is not the file"),
        (lambda f: (f / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), r"manifest\.json is damaged: not JSON"),
        (lambda f: (f / "manifest.json").write_text("[]"), "holds no JSON object"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1}'), "classes, .* missing"),
        (lambda f: edit(f, classes=["b", "a"]), r"manifest\.json was altered"),
        (lambda f: edit(f, format=2, sealed=True), "format 2, this version reads 1; update"),
        (
            lambda f: edit(f, members={"../cnn.keras": {"bytes": 1, "sha256": ""}}, sealed=True),
            "not a plain file name",
        ),
        *(
            (lambda f, change=change: edit(f, **change, sealed=True), said)
            for change, said in (
                ({"members": None}, "members = None cannot be"),
                ({"members": {"a" * 300: {"bytes": 1, "sha256": ""}}}, r"a member 'aaa.*\.\.\.: not a plain"),
                ({"members": {"cnn.keras\x00": {"bytes": 1, "sha256": ""}}}, "not a plain file name"),
                ({"members": {"cnn.keras": None}}, "does not state bytes and sha256 of cnn.keras"),
                ({"members": {"cnn.keras": {"bytes": "1", "sha256": ""}}}, "does not state bytes"),
                ({"classes": "ab"}, "classes = 'ab' cannot be"),
                ({"classes": ["a", "a"]}, "classes = .* cannot be"),
                ({"input": {"height": 8}}, "input = .* cannot be"),
                ({"input": {"height": 8, "width": True, "channels": 1}}, "input = .* cannot be"),
                ({"rounds": "3"}, "rounds = '3' cannot be"),
                ({"networks": [1]}, r"networks = \[1\] cannot be"),
                ({"versions": {"numpy": 2}}, "versions = .* cannot be"),
                ({"parity": {"hybrid": 1}}, "parity = .* cannot be"),
            )
        ),
    ],
)
def test_damage_is_named(folder, damage, said):
    damage(folder)
    with pytest.raises(StoreError, match=said):
        read_bundle(folder)


def edit(folder, sealed=False, **changes):
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    if sealed:
        manifest.pop("facts_sha256")
        manifest["facts_sha256"] = digest_of(manifest)
    path.write_text(json.dumps(manifest))


def test_a_folder_without_a_bundle_is_none(tmp_path):
    assert not is_bundle(tmp_path)
    with pytest.raises(StoreError, match="holds no bundle"):
        read_bundle(tmp_path)


STEPS = ("mkdir", "rename", "replace", "rmdir")


def stops_at(monkeypatch, number):
    """Let the process stop before its n-th step that changes a folder."""
    count = 0

    def counted(original):
        def step(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return step

    for name in STEPS:
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return lambda: count


def test_wherever_it_is_stopped_there_is_the_old_bundle_or_the_new_one(folder, tmp_path):
    seen = []
    number = 0
    while True:
        number += 1
        copy = tmp_path / f"copy{number}"
        shutil.copytree(folder, copy)
        with pytest.MonkeyPatch.context() as patch:
            count = stops_at(patch, number)
            with contextlib.suppress(KeyboardInterrupt):
                write_bundle(copy, FACTS, NEW)
        seen.append(contents(copy))
        assert seen[-1] in (OLD, NEW)
        write_bundle(copy, FACTS, NEW)
        assert contents(copy) == NEW
        assert not list(copy.glob(".*"))
        if count() < number:
            break
    assert seen[0] == OLD
    assert seen[-1] == NEW
    assert number > 8


def test_an_interrupted_move_is_finished_by_the_next_write(folder, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "finish", lambda folder: None)
        write_bundle(folder, FACTS, NEW)
    assert (folder / "head.ubj").read_bytes() == b"old trees"
    assert contents(folder) == NEW
    finish(folder)
    assert (folder / "head.ubj").read_bytes() == b"new trees"
    assert contents(folder) == NEW


KILLED = """
import os, signal, sys
from pathlib import Path
from cnnboost.deploy.bundle import write_bundle
folder, number, metadata, members = Path(sys.argv[1]), int(sys.argv[2]), eval(sys.argv[3]), eval(sys.argv[4])
count = 0
def audit(event, args):
    global count
    if event in ("os.rename", "os.mkdir", "open", "os.rmdir") and str(folder) in str(args[0]):
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
write_bundle(folder, metadata, members)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("number", range(1, 24, 3))
def test_a_killed_process_leaves_a_bundle(folder, number):
    command = [sys.executable, "-c", KILLED, str(folder), str(number), repr(FACTS), repr(NEW)]
    subprocess.run(command, check=False)
    assert contents(folder) in (OLD, NEW)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "toy", FACTS, OLD)
    assert (tmp_path / "file").read_text() == ""
