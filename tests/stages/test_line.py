import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from filelock import FileLock
from sklearn.pipeline import make_pipeline

from cnnboost import BoostClassifier, CNNFeatures, stages
from cnnboost.config import load_recipe
from cnnboost.errors import DataError, DeviceError, LayerError, ModelError, ParameterError, StoreError
from cnnboost.files import read_json
from cnnboost.stages.extraction import export_plain

SETS = """
import io, sys
from pathlib import Path
import numpy as np
from cnnboost.files import write_bytes
from cnnboost.locks import alone_in

out, value = Path(sys.argv[1]), int(sys.argv[2])
content = io.BytesIO()
np.save(content, np.full(1000, value))
for _ in range(40):
    with alone_in(out):
        for i in range(5):
            write_bytes(out / f"{i}.npy", content.getbuffer())
"""


def times(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


class TestTraining:
    def test_what_is_up_to_date_is_skipped(self, job, caplog):
        before = times(job.models)
        with caplog.at_level(logging.INFO, "cnnboost"):
            trained = stages.train(job)
        assert trained.cached
        assert "up to date" in caplog.text
        assert times(job.models) == before

    def test_the_record_says_how_it_was_made(self, job):
        metadata = stages.train(job).metadata
        assert metadata["classes"] == [str(i) for i in range(10)]
        assert metadata["fit_seconds"] > 0
        assert [len(values) for values in metadata["history"].values()] == [2] * 6
        assert set(metadata["versions"]) >= {"keras", "xgboost", "numpy"}

    def test_a_kill_before_the_record_is_written_loses_no_epoch(self, job, change, monkeypatch, caplog):
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

    @pytest.mark.parametrize("digit", ["fit_seconds", "made_from", "parameters", "seed", "model_sha256"])
    def test_a_digit_that_was_altered_is_found(self, job, digit):
        path = job.models_dir / "history.json"
        before, after = path.read_text().split(f'"{digit}"')
        place = next(i for i, sign in enumerate(after) if sign.isdigit())
        path.write_text(f'{before}"{digit}"{after[:place]}{9 - int(after[place])}{after[place + 1 :]}')
        with pytest.raises(StoreError, match=r"history\.json was altered.*cnnboost train -r toy --force"):
            stages.train(job)
        assert not stages.train(replace(job, force=True)).cached
        assert stages.train(job).cached

    def test_a_key_that_was_lost_is_named(self, job):
        path = job.models_dir / "history.json"
        metadata = json.loads(path.read_text())
        for key in metadata:
            path.write_text(json.dumps({name: value for name, value in metadata.items() if name != key}))
            with pytest.raises(StoreError, match=r"history\.json"):
                stages.train(job)

    def test_a_record_of_an_earlier_version_is_taken(self, job):
        path = job.models_dir / "history.json"
        path.write_text(json.dumps({**read_json(path), "format": 1}))
        assert stages.train(job).cached

    def test_what_may_only_be_read_is_enough(self, job, monkeypatch):
        stages.train(job)

        def refused(self, *args, **kwargs):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        # The lock alone: root may write everywhere, and not every machine lets a test mount.
        monkeypatch.setattr(FileLock, "acquire", refused)
        assert stages.train(job).cached

    def test_two_processes_train_once(self, recipe_file, tmp_path):
        command = [sys.executable, "-m", "cnnboost", "train", "-r", str(recipe_file)]
        both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate(timeout=200)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert sum("epoch 2 of 2" in text for text in said) == 1
        assert sum("up to date" in text for text in said) == 1

    def test_another_network_is_another_training_another_head_is_not(self, job, change):
        assert stages.train(change(job, boost={"n_estimators": 9}, evaluate={"seed": 3})).cached
        assert not stages.train(change(job, cnn={"epochs": 1})).cached

    def test_force_trains_anew(self, job):
        assert not stages.train(replace(job, force=True)).cached

    def test_other_labels_are_another_training(self, job, change):
        assert not stages.train(change(job, data={"binary": "3"})).cached

    def test_an_altered_model_is_trained_anew(self, job, caplog):
        path = job.models_dir / "cnn.keras"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        trained = stages.train(job)
        assert not trained.cached
        assert "altered" in caplog.text

    def test_nothing_is_chosen_on_the_split_that_is_scored(self, job, change, face_folder):
        from cnnboost.stages.training import estimator

        stopping = change(job, cnn={"early_stopping": 2})
        assert job.scored_split == "validation"
        assert estimator(job).validation_fraction == 0
        assert estimator(stopping).validation_fraction == job.recipe.cnn.validation_fraction
        tested = replace(change(stopping, data={"source": None, "size": 48}), data=face_folder)
        assert tested.scored_split == "test"
        assert estimator(tested).validation_fraction == 0


class TestExtraction:
    def test_all_layers_and_splits_then_nothing_more_to_do(self, job):
        first = stages.extract(job)
        assert {name: list(part.stored) for name, part in first.items()} == {
            "train": ["fc1", "fc2", "output"],
            "validation": ["fc1", "fc2", "output"],
        }
        assert not any(s.cached for part in first.values() for s in part.stored.values())
        again = stages.extract(job)
        assert all(s.cached for part in again.values() for s in part.stored.values())

    def test_features_are_the_transformers(self, job):
        trained = stages.train(job)
        stored = stages.extract(job, ["fc1"], ["train"])["train"].stored["fc1"]
        own = CNNFeatures(trained.model, "fc1").fit_transform(job.images.train.X)
        np.testing.assert_allclose(stored.X, own, atol=1e-5)

    def test_only_what_is_missing_is_computed(self, job):
        stages.extract(job, ["fc1"], ["train"])
        part = stages.extract(job, ["fc1", "fc2"], ["train"])["train"]
        assert (part.stored["fc1"].cached, part.stored["fc2"].cached) == (True, False)

    def test_force_redoes_this_arrow_alone(self, job):
        stages.extract(job, ["fc1"], ["train"])
        before = times(job.models_dir / "features"), (job.models_dir / "cnn.keras").stat().st_mtime_ns
        stages.extract(replace(job, force=True), ["fc1"], ["train"])
        assert times(job.models_dir / "features") != before[0]
        assert (job.models_dir / "cnn.keras").stat().st_mtime_ns == before[1]

    def test_plain_files(self, job, tmp_path):
        extracted = stages.extract(job, ["fc1"])
        paths = export_plain(extracted, tmp_path / "out")
        assert sorted(p.name for p in paths) == [
            "train-fc1.npy", "train-labels.npy", "validation-fc1.npy", "validation-labels.npy"
        ]  # fmt: skip
        np.testing.assert_array_equal(
            np.load(tmp_path / "out/train-fc1.npy"), extracted["train"].stored["fc1"].X
        )
        labels = np.load(tmp_path / "out/train-labels.npy", allow_pickle=False)
        assert labels.tolist() == job.images.train.labels.tolist()
        assert len(list((tmp_path / "out").iterdir())) == 4

    def test_two_sets_of_plain_files_do_not_mix(self, job, change, tmp_path):
        """Two processes write different sets again and again; what is there at any time is one of them."""
        out = tmp_path / "out"
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", SETS, str(out), str(value)], stderr=subprocess.PIPE, text=True
            )
            for value in (1, 2)
        ]
        for writer in writers:
            assert writer.communicate(timeout=120)[1] == ""
        assert len({int(np.load(path)[0]) for path in out.glob("*.npy")}) == 1
        assert sorted(path.name for path in out.iterdir()) == [f"{i}.npy" for i in range(5)]

    def test_plain_files_whose_names_would_be_one_are_kept_apart(self, job, tmp_path):
        layers, image = keras.layers, keras.Input((8, 8, 1))
        inner = keras.Input((8, 8, 1))
        body = keras.Model(inner, layers.Conv2D(2, 3, name="conv")(inner), name="body")
        x = layers.Conv2D(3, 3, name="body.conv")(body(image))
        x = layers.Dense(4, name="labels")(layers.Flatten(name="Labels")(x))
        model = keras.Model(image, layers.Dense(10, "softmax", name="q>1")(x))
        model.save(tmp_path / "own.keras")
        names = ["labels", "Labels", "body/conv", "body.conv", "q>1"]
        extracted = stages.extract(replace(job, model=tmp_path / "own.keras"), names, ["train"])
        paths = export_plain(extracted, tmp_path / "out")
        assert len({path.name.casefold() for path in paths}) == len(list((tmp_path / "out").iterdir())) == 6
        for path, name in zip(paths, names, strict=False):
            np.testing.assert_array_equal(np.load(path), extracted["train"].stored[name].X)
        labels = np.load(tmp_path / "out/train-labels.npy", allow_pickle=False)
        assert labels.tolist() == job.images.train.labels.tolist()

    def test_unknown_layers_and_splits(self, job):
        with pytest.raises(LayerError, match=r"'fc7'.*fc1 \(16\)"):
            stages.extract(job, ["fc7"])
        with pytest.raises(DataError, match=r"'test'.*train, validation"):
            stages.extract(job, ["fc1"], ["test"])

    def test_a_model_of_ones_own(self, job, toy_file, caplog):
        given = replace(job, model=toy_file)
        with caplog.at_level(logging.INFO, "cnnboost"):
            stored = stages.extract(given, ["fc1"], ["train"])["train"].stored["fc1"]
        assert stored.X.shape[1] == 64
        assert "0..255" in caplog.text
        assert [layer["name"] for layer in stages.layers_of(given)][-1] == "output"

    def test_a_given_model_brings_its_own_size(self, job, face_folder, tmp_path):
        image = keras.Input((20, 20, 3))
        keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(tmp_path / "mean.keras")
        given = replace(job, model=tmp_path / "mean.keras", data=face_folder, pixels="raw")
        stored = stages.extract(given, ["flatten"], ["train"])["train"].stored["flatten"]
        assert given.images.shape[1:] == (20, 20, 3)
        mean = given.images.train.X.reshape(36, -1, 3).mean(axis=1)
        np.testing.assert_allclose(stored.X, mean, rtol=1e-4)

    def test_images_that_do_not_fit(self, job, change, toy_file):
        trained = stages.train(job)
        with pytest.raises(ModelError, match=r"8x8x1.*9x9x1"):
            stages.extract(change(job, data={"size": 9}), ["fc1"], trained=trained)


class TestBoosting:
    def test_plain_is_the_pipeline(self, job):
        head = stages.fit_boost(job, "fc2")
        trained, train = stages.train(job), job.images.train
        own = make_pipeline(CNNFeatures(trained.model, "fc2"), BoostClassifier(n_estimators=4, max_depth=2))
        X = stages.extract(job, ["fc2"], ["validation"])["validation"].stored["fc2"].X
        expected = own.fit(train.X, train.labels).predict_proba(job.images.validation.X)
        agree = head.boost.predict_proba(X).argmax(axis=1) == expected.argmax(axis=1)
        assert agree.mean() > 0.99
        assert head.boost.classes_.tolist() == own.classes_.tolist()

    def test_up_to_date_altered_and_forced(self, job, change, caplog):
        first = stages.fit_boost(job)
        assert (first.layer, first.cached) == ("fc1", False)
        assert first.details["fit_seconds"] > 0
        again = stages.fit_boost(job)
        assert again.cached
        assert again.details == first.details
        assert not stages.fit_boost(change(job, boost={"max_depth": 3})).cached
        stages.fit_boost(job)
        first.path.write_bytes(first.path.read_bytes()[:-3] + b"abc")
        assert not stages.fit_boost(job).cached
        assert first.path.name in caplog.text
        cnn = (job.models_dir / "cnn.keras").stat().st_mtime_ns
        assert not stages.fit_boost(replace(job, force=True)).cached
        assert (job.models_dir / "cnn.keras").stat().st_mtime_ns == cnn

    def test_a_head_follows_its_cnn(self, job, change):
        stages.fit_boost(job)
        assert not stages.fit_boost(change(job, cnn={"seed": 5, "epochs": 1})).cached

    def test_what_is_not_there(self, job):
        with pytest.raises(ParameterError, match=r"'stacked'.*plain"):
            stages.fit_hybrid(job, mode="stacked")
        with pytest.raises(DeviceError, match="'tpu'"):
            stages.fit_boost(job, device="tpu")


class TestEvaluation:
    def test_the_document(self, job):
        evaluated = stages.evaluate(job)
        metrics = read_json(evaluated.path)
        assert metrics == json.loads(json.dumps(evaluated.metrics))
        assert set(metrics) == {
            "format", "recipe", "title", "split", "images", "images_left_out", "data_digest", "classes",
            "tta", "cnn", "heads", "published", "recipe_facts", "machine", "versions",
        }  # fmt: skip
        assert metrics["split"] == "validation"
        assert [row["layer"] for row in metrics["heads"]] == ["fc1", "fc2", "output"]
        n = len(job.images.validation)
        for row in (metrics["cnn"], *metrics["heads"]):
            assert row["scores"]["n"] == n
            low, high = row["scores"]["accuracy"]["interval"]
            assert low < row["scores"]["accuracy"]["value"] < high
        assert all(0 <= row["against_cnn"]["p_value"] <= 1 for row in metrics["heads"])
        assert sorted(p.name for p in evaluated.figures) == [
            "class-accuracy.png", "confusion-cnn.png", "confusion-fc1.png", "confusion-fc2.png",
            "confusion-output.png", "history.png", "roc.png",
        ]  # fmt: skip

    def test_scores_are_those_of_the_cnn(self, job):
        metrics = stages.evaluate(job, ["fc1"]).metrics
        cnn, held = stages.train(job).cnn, job.images.validation
        assert metrics["cnn"]["scores"]["accuracy"]["value"] == pytest.approx(
            np.mean(cnn.predict(held.X) == held.labels)
        )
        train = job.images.train
        assert metrics["cnn"]["train_accuracy"] == pytest.approx(
            np.mean(cnn.predict(train.X) == train.labels)
        )

    def test_a_test_split_is_scored_where_there_is_one(self, job, change, face_folder):
        faces = change(job, data={"source": None, "size": 48}, cut={"layers": ("fc1",)})
        metrics = stages.evaluate(replace(faces, data=face_folder)).metrics
        assert metrics["split"] == "test"
        assert metrics["images"] == {"train": 36, "validation": 30, "test": 18}
        assert metrics["heads"][0]["scores"]["accuracy"]["value"] > 0.5

    def test_a_given_model_of_other_classes_is_scored_by_its_trees(self, job, toy_file, change):
        found = stages.evaluate(replace(change(job, data={"binary": "3"}), model=toy_file), ["fc1"]).metrics
        assert (found["cnn"], found["heads"][0]["against_cnn"]) == (None, None)
        assert "10 classes apart, 2 were named" in found["no_softmax"]
        assert stages.evaluate(replace(job, model=toy_file), ["fc1"]).metrics["cnn"]["fit_seconds"] is None


def test_inspection(job, face_folder):
    shutil.copy(face_folder / "train/sad/Training_0.png", face_folder / "train/happy/Training_99.png")
    try:
        found = stages.inspect(replace(job, data=face_folder))
    finally:
        (face_folder / "train/happy/Training_99.png").unlink()
    audit = read_json(found.path)
    assert audit["source"] == face_folder.name
    assert audit["duplicates"]["exact"]["contradicting_groups"] == 1
    assert audit["counts"]["train"]["happy"] == 13
    assert all(path.is_file() for path in found.figures)


@pytest.mark.parametrize("name", ["digits", "oslo"])
def test_every_recipe_runs_on_a_few_images(name, face_folder, tmp_path):
    recipe = load_recipe(name)
    data = None if recipe.data.source else face_folder
    job = stages.smoke(stages.Job(recipe=recipe, data=data, models=tmp_path / "m", reports=tmp_path / "r"))
    metrics = stages.evaluate(job).metrics
    assert metrics["recipe"] == f"{name}-smoke"
    assert [row["layer"] for row in metrics["heads"]] == list(recipe.cut.layers)
    assert metrics["images"]["train"] <= stages.smoke.__globals__["SMOKE_IMAGES"] * len(metrics["classes"])
    assert metrics["cnn"]["epochs"] == 1


@pytest.mark.fer2013
def test_fer2013_is_audited_as_it_is_known(fer2013, tmp_path):
    job = stages.Job(recipe=load_recipe("oslo"), data=fer2013, models=tmp_path, reports=tmp_path)
    audit = stages.inspect(job).audit
    exact = audit["duplicates"]["exact"]
    assert (exact["groups"], exact["surplus"]) == (1273, 1532)
    assert (exact["contradicting_groups"], exact["groups_across_splits"]) == (47, 270)
    assert len(audit["constant"]) == 12
    assert sum(audit["counts"]["train"].values()) == 28709


@pytest.mark.fer2013
def test_fer2013_walks_the_line(fer2013, tmp_path):
    job = stages.Job(recipe=load_recipe("oslo"), data=fer2013, models=tmp_path, reports=tmp_path)
    metrics = stages.evaluate(stages.smoke(job), ["fc1"]).metrics
    assert metrics["images"] == {"train": 24 * 7, "validation": 24 * 7}
    assert metrics["published"]["cnn"] == 0.569


def test_bad_images_are_left_out_and_listed(job, face_folder, tmp_path, change):
    shutil.copytree(face_folder, tmp_path / "faces")
    (tmp_path / "faces/train/sad/Training_3.png").write_bytes(b"")
    faces = replace(change(job, data={"source": None, "size": 48}), data=tmp_path / "faces")
    with pytest.raises(DataError, match=r"Training_3\.png"):
        _ = faces.images
    skipping = replace(faces, on_bad="skip")
    assert len(skipping.images.train) == 35
    table = (job.reports_dir / "bad_inputs.csv").read_text().splitlines()
    assert table[0] == "place,reason"
    assert "Training_3.png" in table[1]
    assert len(table) == 2


def test_a_source_is_needed(job, change, monkeypatch):
    free = change(job, data={"source": None})
    with pytest.raises(DataError, match="CNNBOOST_DATA"):
        _ = free.images
    monkeypatch.setenv("CNNBOOST_DATA", "digits")
    assert len(free.images) == 1797
