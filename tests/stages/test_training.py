import errno
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from filelock import FileLock

from cnnboost import stages
from cnnboost.config import load_recipe
from cnnboost.errors import StoreError
from cnnboost.files import read_json
from tests.waiting import wait_until


def test_the_record_says_how_it_was_made(job):
    metadata = stages.train(job).metadata
    assert metadata["classes"] == [str(i) for i in range(10)]
    assert metadata["fit_seconds"] > 0
    assert [len(values) for values in metadata["history"].values()] == [2] * 6
    assert set(metadata["versions"]) >= {"keras", "xgboost", "numpy"}


def test_a_kill_before_the_record_is_written_loses_no_epoch(job, change, monkeypatch, caplog):
    from cnnboost.cnn import CNNClassifier

    other = change(job, cnn={"seed": 9})

    def killed(self, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CNNClassifier, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.train(other)
    with caplog.at_level(logging.INFO, "cnnboost"):
        assert not stages.train(other).cached
    assert "continues after epoch 2 of 2" in caplog.text
    assert not (job.models_dir / "checkpoint").exists()


def test_short_epochs_are_not_all_told_of(caplog, monkeypatch):
    from cnnboost.stages import training

    monkeypatch.setattr(training, "_PAUSE", 1e6)
    done = []
    callback = training._epoch_report(lambda *of: done.append(of), 50)
    with caplog.at_level(logging.INFO, "cnnboost"):
        for epoch in range(50):
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5})
    assert [record.message[:11] for record in caplog.records] == ["epoch 1 of ", "epoch 50 of"]
    assert done == [(epoch, 50) for epoch in range(1, 51)]


@pytest.mark.parametrize("digit", ["fit_seconds", "made_from", "parameters", "seed", "model_sha256"])
def test_a_digit_that_was_altered_is_found(job, digit):
    path = job.models_dir / "history.json"
    before, after = path.read_text().split(f'"{digit}"')
    place = next(i for i, sign in enumerate(after) if sign.isdigit())
    path.write_text(f'{before}"{digit}"{after[:place]}{9 - int(after[place])}{after[place + 1 :]}')
    with pytest.raises(StoreError, match=r"history\.json was altered.*cnnboost train -r toy --force"):
        stages.train(job)
    if digit == "made_from":  # the remedy helps
        assert not stages.train(replace(job, force=True)).cached
        assert stages.train(job).cached


def test_a_key_that_was_lost_is_named(job):
    path = job.models_dir / "history.json"
    metadata = json.loads(path.read_text())
    for key in metadata:
        path.write_text(json.dumps({name: value for name, value in metadata.items() if name != key}))
        with pytest.raises(StoreError, match=r"history\.json"):
            stages.train(job)


def test_a_record_of_an_earlier_version_is_taken(job):
    path = job.models_dir / "history.json"
    path.write_text(json.dumps({**read_json(path), "format": 1}))
    assert stages.train(job).cached


def test_what_may_only_be_read_is_enough(job, monkeypatch):
    stages.train(job)

    def refused(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    # The lock alone: root may write everywhere, and not every machine lets a test mount.
    monkeypatch.setattr(FileLock, "acquire", refused)
    assert stages.train(job).cached


def test_two_processes_train_once(recipe_file, tmp_path):
    command = [sys.executable, "-m", "cnnboost", "train", "-r", str(recipe_file)]
    other = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    job = stages.Job(recipe=load_recipe(recipe_file), models=tmp_path / "models")
    assert job.images  # read already, so that nothing is left to do but to wait
    wait_until(lambda: list(job.models_dir.glob("*.lock")), process=other)
    cached = stages.train(job).cached
    _, said = other.communicate(timeout=200)
    assert other.returncode == 0, said
    assert ("epoch 2 of 2" in said) == cached != ("up to date" in said)


def test_nothing_is_chosen_on_the_split_that_is_scored(job, change, face_folder):
    from cnnboost.stages.training import estimator

    stopping = change(job, cnn={"early_stopping": 2})
    assert job.scored_split == "validation"
    assert estimator(job).validation_fraction == 0
    assert estimator(stopping).validation_fraction == job.recipe.cnn.validation_fraction
    tested = replace(change(stopping, data={"source": None, "size": 48}), data=face_folder)
    assert tested.scored_split == "test"
    assert estimator(tested).validation_fraction == 0
