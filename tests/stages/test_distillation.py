from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from cnnboost import CNNClassifier, stages
from cnnboost.cnn.teacher import read_teacher
from cnnboost.config import load_recipe
from cnnboost.errors import DataError, ModelError, ParameterError
from cnnboost.hybrid.calibration import log_probabilities
from cnnboost.stages.distillation import distill
from cnnboost.stages.training import estimator


def logs(soft_targets, job):
    return read_teacher(soft_targets.path, job.images.train.X, job.images.classes)


def test_the_recipes_own_network_teaches_its_training_images(job):
    soft_targets = distill(job)
    assert (soft_targets.path, soft_targets.cached) == (job.models_dir / "teacher.npz", False)
    assert soft_targets.images == len(job.images.train)
    found = logs(soft_targets, job)
    proba = stages.train(job).cnn.predict_proba(job.images.train.X)
    np.testing.assert_allclose(found, log_probabilities(proba), atol=1e-4)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
    assert not list(job.models_dir.glob(".teacher*")), "nothing half done is left"


def test_what_is_up_to_date_stays_and_what_changed_does_not(job, change):
    before = distill(job).path.stat().st_mtime_ns
    again = distill(job)
    assert again.cached
    assert again.path.stat().st_mtime_ns == before
    assert not distill(job, tta="flip").cached
    assert not distill(job).cached
    assert not distill(replace(job, force=True)).cached
    other = change(job, data={"seed": 1})
    assert not distill(other, [job.models_dir / "cnn.keras"]).cached
    (job.models_dir / "teacher.npz").write_bytes(b"half")
    assert not distill(job).cached


def test_views_and_networks_are_averaged_as_log_probabilities(job, several_models, tmp_path):
    first, second = stages.train(job).path, several_models / "toy" / "repeats" / "1" / "cnn.keras"
    soft_targets = distill(job, [first, second], tta="flip", out=tmp_path / "both.npz")
    assert soft_targets.networks == (first, second)
    X = job.images.train.X
    each = [
        log_probabilities(CNNClassifier.load(path).predict_proba(view))
        for path in (first, second)
        for view in (X, X[:, :, ::-1])
    ]
    expected = log_softmax(np.mean(each, axis=0, dtype=np.float64), axis=1)
    np.testing.assert_allclose(logs(soft_targets, job), expected, atol=1e-4)


def test_a_teacher_may_take_images_of_another_size(job, change, tmp_path):
    large = change(job, data={"size": 12}, cnn={"epochs": 1})
    model = stages.train(replace(large, models=tmp_path / "large")).path
    soft_targets = distill(job, [model])
    assert logs(soft_targets, job).shape == (len(job.images.train), 10)
    with pytest.raises(DataError, match="other images"):
        read_teacher(soft_targets.path, large.images.train.X, job.images.classes)


def test_a_student_is_made_from_what_its_teacher_says(job, change, tmp_path):
    path = distill(job, out=tmp_path / "teacher.npz").path
    plain = stages.train(job)
    student = change(job, cnn={"teacher": str(path), "teacher_weight": 0.9})
    student = replace(student, recipe=student.recipe.model_copy(update={"name": "student"}))
    first = stages.train(student)
    assert not first.cached
    assert stages.train(student).cached
    assert first.metadata["history"]["val_accuracy"]
    assert first.metadata["made_from"] != plain.metadata["made_from"]
    # Where the file lies is nothing to the student; what it says is.
    moved = path.rename(tmp_path / "moved.npz")
    assert stages.train(change(student, cnn={"teacher": str(moved)})).cached
    distill(job, tta="flip", out=moved)
    assert not stages.train(change(student, cnn={"teacher": str(moved)})).cached


def test_a_student_that_is_trained_needs_its_teacher_no_more(job, change, tmp_path):
    path = distill(job, out=tmp_path / "teacher.npz").path
    student = change(job, cnn={"teacher": str(path), "teacher_weight": 0.8, "epochs": 1})
    stages.train(student)
    path.unlink()
    assert stages.train(student).cached
    with pytest.raises(DataError, match="no such file"):
        stages.train(replace(student, force=True))


def test_without_a_teacher_the_digest_is_what_it_was(job):
    # The keys of a teacher have defaults, and defaults are no part of a digest.
    assert stages.train(job).cached
    assert "teacher" not in str(job.recipe.model_dump(include={"cnn"}, exclude_defaults=True))


def test_what_cannot_teach_is_refused_by_name(job, change, tmp_path):
    with pytest.raises(ParameterError, match=r"out='teacher\.npy': the file of a teacher ends in \.npz"):
        distill(job, out="teacher.npy")
    with pytest.raises(ParameterError, match="tta='five' must be one of"):
        distill(job, tta="five")
    with pytest.raises(ModelError, match="no such file"):
        distill(job, [tmp_path / "cnn.keras"])
    few = change(job, data={"drop": ("9",)})
    with pytest.raises(ModelError, match="tells 10 classes apart, 9 were named"):
        distill(few, [stages.train(job).path])
    own = change(job, cnn={"teacher": str(job.models_dir / "teacher.npz")})
    with pytest.raises(ParameterError, match="own CNN follows; name another file"):
        distill(own)


def test_a_student_of_other_images_is_refused(job, change, tmp_path):
    path = distill(job, out=tmp_path / "teacher.npz").path
    with pytest.raises(DataError, match="other images"):
        stages.train(change(job, data={"seed": 1}, cnn={"teacher": str(path)}))
    with pytest.raises(DataError, match="no such file"):
        stages.train(change(job, cnn={"teacher": str(tmp_path / "none.npz")}))


def test_a_few_images_are_trained_without_the_teacher(job, change, tmp_path, caplog):
    path = distill(job, out=tmp_path / "teacher.npz").path
    small = stages.smoke(change(job, cnn={"teacher": str(path)}))
    with caplog.at_level("INFO", "cnnboost"):
        assert not stages.train(small).cached
    assert "trained without the teacher" in caplog.text


KEYS = """
[data]
source = "digits"
size = 8
channels = 1

[cnn]
architecture = "vgg"
epochs = 4
options = { filters = [4, 8], convolutions = [1, 1], dense = [8] }
progressive_resizing = [[4, 0.5], [6, 0.25]]
precision = "bfloat16"
steps_per_execution = 2
teacher = "teacher.npz"
teacher_weight = 0.5
teacher_temperature = 4

[cnn.augment]
crop = 0.1
"""


def test_a_recipe_states_how_it_is_trained_and_set_overrides_it(tmp_path):
    (tmp_path / "small.toml").write_text(KEYS)
    given = load_recipe(tmp_path / "small.toml")
    cnn = estimator(stages.Job(recipe=given))
    assert cnn.progressive_resizing == ((4, 0.5), (6, 0.25))
    assert (cnn.precision, cnn.steps_per_execution, cnn.augment) == ("bfloat16", 2, {"crop": 0.1})
    assert (cnn.teacher, cnn.teacher_weight, cnn.teacher_temperature) == ("teacher.npz", 0.5, 4.0)
    overrides = ["cnn.progressive_resizing=[[5, 0.5]]", "cnn.precision=float32", "cnn.steps_per_execution=1"]
    changed = load_recipe(tmp_path / "small.toml", [*overrides, "cnn.teacher=other.npz"])
    cnn = estimator(stages.Job(recipe=changed))
    assert cnn.progressive_resizing == ((5, 0.5),)
    assert (cnn.precision, cnn.steps_per_execution, cnn.teacher) == ("float32", 1, "other.npz")
    assert changed.digest("cnn") != given.digest("cnn")


def test_a_smoke_test_trains_one_epoch_whatever_the_stages(tmp_path):
    (tmp_path / "small.toml").write_text(KEYS)
    job = stages.Job(recipe=load_recipe(tmp_path / "small.toml"), models=tmp_path / "models")
    trained = stages.train(stages.smoke(job))
    assert len(trained.history["loss"]) == 1
    assert trained.model.input_shape == (None, 8, 8, 1)
