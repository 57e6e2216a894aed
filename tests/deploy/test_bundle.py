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
from cnnboost.deploy.bundle import (
    FAST,
    SHIPPED,
    describe,
    finish,
    is_bundle,
    located,
    read_bundle,
    shipped_bundle,
    write_bundle,
)
from cnnboost.errors import StoreError
from cnnboost.files import digest_of
from tests.conftest import ROOT

from .small_graph import MANIFEST, small_file

OLD = {"cnn.keras": b"cnn", "head.ubj": b"old trees", "hybrid.onnx": b"old graph"}
NEW = {"cnn.keras": b"cnn", "head.ubj": b"new trees", "hybrid.onnx": b"new graph!"}


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "models" / "toy", MANIFEST, OLD)
    return tmp_path / "models" / "toy"


def contents(folder):
    return {name: path.read_bytes() for name, path in read_bundle(folder).members.items()}


def test_what_is_written_is_read_and_other_files_stay(folder):
    assert contents(folder) == OLD
    assert {key: read_bundle(folder).manifest[key] for key in MANIFEST} == MANIFEST
    (folder / "history.json").write_text("{}")
    before = (folder / "cnn.keras").stat().st_ino
    write_bundle(folder, MANIFEST, NEW)
    assert contents(folder) == NEW
    assert sorted(path.name for path in folder.iterdir()) == sorted([*NEW, "manifest.json", "history.json"])
    assert (folder / "cnn.keras").stat().st_ino == before  # the same content is not written again


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "head.ubj").unlink(), r"head\.ubj is missing"),
        (lambda f: (f / "head.ubj").write_bytes(b"old"), r"head\.ubj is not the file .* truncated"),
        (lambda f: (f / "head.ubj").write_bytes(b"bad trees"), r"head\.ubj is not the file"),
        (lambda f: (f / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), r"manifest\.json is damaged: not JSON"),
        (lambda f: (f / "manifest.json").write_text("[]"), "holds no JSON object"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1}'), "classes, .* missing"),
        (lambda f: edit(f, classes=["b", "a"]), r"manifest\.json was altered"),
        (lambda f: edit(f, format=2, checksum=True), "format 2, this version reads 1; update"),
        (
            lambda f: edit(f, members={"../cnn.keras": {"bytes": 1, "sha256": ""}}, checksum=True),
            "not a file name",
        ),
        *(
            (lambda f, change=change: edit(f, **change, checksum=True), words)
            for change, words in (
                ({"members": None}, "members = None, which is invalid"),
                (
                    {"members": {"a" * 300: {"bytes": 1, "sha256": ""}}},
                    r"a member 'aaa.*, which is not a file name",
                ),
                ({"members": {"cnn.keras\x00": {"bytes": 1, "sha256": ""}}}, "not a file name"),
                ({"members": {"cnn.keras": None}}, "does not state bytes and sha256 of cnn.keras"),
                ({"members": {"cnn.keras": {"bytes": "1", "sha256": ""}}}, "does not state bytes"),
                ({"classes": "ab"}, "classes = 'ab', which is invalid"),
                ({"classes": ["a", "a"]}, "classes = .*, which is invalid"),
                ({"input": {"height": 8}}, "input = .*, which is invalid"),
                ({"input": {"height": 8, "width": True, "channels": 1}}, "input = .*, which is invalid"),
                ({"rounds": "3"}, "rounds = '3', which is invalid"),
                ({"networks": [1]}, r"networks = \[1\], which is invalid"),
                ({"versions": {"numpy": 2}}, "versions = .*, which is invalid"),
                ({"parity": {"hybrid": 1}}, "parity = .*, which is invalid"),
                ({"scores": {"hybrid": 1}}, "scores = .*, which is invalid"),
                ({"scores": {"hybrid": {"accuracy": 0.5}}}, "scores = .*, which is invalid"),
                ({"scores": {"split": "test", "images": 1, "cnn": {}}}, "scores = .*, which is invalid"),
            )
        ),
    ],
)
def test_damage_is_named(folder, damage, words):
    damage(folder)
    with pytest.raises(StoreError, match=words):
        read_bundle(folder)


def edit(folder, checksum=False, **changes):
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    if checksum:
        manifest.pop("facts_sha256")
        manifest["facts_sha256"] = digest_of(manifest)
    path.write_text(json.dumps(manifest))


def test_a_folder_without_a_bundle_is_none(tmp_path):
    assert not is_bundle(tmp_path)
    with pytest.raises(StoreError, match="holds no bundle"):
        read_bundle(tmp_path)


def counted(monkeypatch, number):
    """Let the process stop before its n-th step that changes a folder; return the list of steps."""
    steps = []

    def counting(original):
        def step(*args, **kwargs):
            steps.append(original)
            if len(steps) == number:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return step

    for name in ("mkdir", "rename", "replace", "rmdir"):
        monkeypatch.setattr(Path, name, counting(getattr(Path, name)))
    return steps


def test_wherever_it_is_stopped_there_is_the_old_bundle_or_the_new_one(folder, tmp_path):
    seen = []
    while True:
        copy = tmp_path / f"copy{len(seen)}"
        shutil.copytree(folder, copy)
        with pytest.MonkeyPatch.context() as patch:
            steps = counted(patch, len(seen) + 1)
            with contextlib.suppress(KeyboardInterrupt):
                write_bundle(copy, MANIFEST, NEW)
        seen.append(contents(copy))
        assert seen[-1] in (OLD, NEW)
        write_bundle(copy, MANIFEST, NEW)
        assert contents(copy) == NEW
        assert not list(copy.glob(".*"))
        if len(steps) < len(seen):
            break
    assert seen[0] == OLD
    assert len(seen) > 8


def test_an_interrupted_move_is_finished_by_the_next_write(folder, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "finish", lambda folder: None)
        write_bundle(folder, MANIFEST, NEW)
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
@pytest.mark.parametrize("number", range(1, 24, 6))
def test_a_killed_process_leaves_a_bundle(folder, number):
    command = [sys.executable, "-c", KILLED, str(folder), str(number), repr(MANIFEST), repr(NEW)]
    subprocess.run(command, check=False)
    assert contents(folder) in (OLD, NEW)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "toy", MANIFEST, OLD)
    assert (tmp_path / "file").read_text() == ""


def put(models, seed=0, **metadata):
    members = {"hybrid.onnx": small_file(seed=seed)}
    return write_bundle(models / SHIPPED, {**MANIFEST, **metadata}, members)


@pytest.fixture
def look_in(tmp_path, monkeypatch):
    """Set the folders that are looked in, by name."""
    return lambda *names: monkeypatch.setattr(
        module, "_shipped_places", lambda: tuple(tmp_path / name for name in names)
    )


def test_the_first_folder_that_holds_one_counts(tmp_path, look_in):
    put(tmp_path / "second", seed=1)
    put(tmp_path / "third", seed=2)
    (tmp_path / "first" / SHIPPED).mkdir(parents=True)  # a training that was never exported
    look_in("none", "first", "second", "third")
    assert shipped_bundle().folder == tmp_path / "second" / SHIPPED


def test_without_one_the_error_names_places_and_remedies(tmp_path, look_in):
    look_in("a", "b")
    with pytest.raises(
        StoreError, match=rf"{tmp_path}/a/{SHIPPED}, {tmp_path}/b/{SHIPPED}.*--model.*--recipe"
    ):
        shipped_bundle()


def test_a_damaged_one_is_refused_and_not_passed_over(tmp_path, look_in):
    put(tmp_path / "first")
    put(tmp_path / "second")
    (tmp_path / "first" / SHIPPED / "hybrid.onnx").write_bytes(b"")
    look_in("first", "second")
    with pytest.raises(StoreError, match=r"ships.*damaged.*hybrid\.onnx.*reinstall cnnboost"):
        shipped_bundle()


def test_a_name_means_the_bundle_that_ships_unless_there_is_something_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (SHIPPED, FAST):
        assert located(Path(name)) == ROOT / "models" / name
        assert located(Path("elsewhere") / name) == Path("elsewhere") / name
        Path(name).write_bytes(b"")
        assert located(Path(name)) == Path(name)
    assert located(Path("fer")) == Path("fer")


def test_it_is_looked_for_in_the_package_and_then_in_the_repository():
    package, repository = module._shipped_places()
    assert (package.name, package.parent.name) == ("models", "cnnboost")
    assert repository == package.parent.parent / "models"


def test_one_line_says_which_it_is(tmp_path):
    scores = {"split": "validation", "images": 3589} | {
        name: {"accuracy": accuracy} for name, accuracy in (("hybrid", 0.68123), ("cnn", 0.6749))
    }
    bundle = put(tmp_path, title="Faces", scores=scores)
    assert describe(bundle).startswith("Faces; accuracy 68.1% on 3,589 images of validation (")
    assert "67.5%" in describe(bundle, "cnn")
    assert describe(put(tmp_path)) == f"toy ({tmp_path / SHIPPED})"
