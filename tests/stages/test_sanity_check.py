import json
import logging
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnboost import CNNClassifier, stages
from cnnboost.errors import ParameterError
from cnnboost.files import read_json
from cnnboost.images import load_images
from cnnboost.stages.sanity_check import _chosen, dead_units, symptoms, symptoms_of_failure


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", size=8, channels=1, validation_fraction=0.3).train


def test_a_network_that_can_learn(job, change):
    able = change(job, cnn={"learning_rate": 1e-2})
    before = files(job.models)
    found = stages.overfit(able, 50)
    assert found.document["learnt"]
    assert found.document["accuracy"] == 1.0
    assert found.document["symptoms"] == []
    assert found.document["history"]["accuracy"][-1] == 1.0
    assert max(found.document["history"]["accuracy"][:-1]) < 1.0, "it stops as soon as all is known"
    assert found.document["steps"] == found.document["epochs"] < found.document["steps_at_most"] == 2000
    assert sum(found.document["classes"].values()) == 50
    assert found.path == job.reports_dir / "overfit.json"
    assert read_json(found.path) == json.loads(json.dumps(found.document))
    assert files(job.models) == before


def test_one_that_cannot(job, change):
    found = stages.overfit(change(job, cnn={"learning_rate": 1e-9}), 50, steps=4)
    assert not found.document["learnt"]
    assert found.document["accuracy"] < 0.5
    assert (found.document["epochs"], found.document["steps"], found.document["steps_at_most"]) == (4, 4, 4)
    assert "raise cnn.learning_rate (1e-09)" in found.document["symptoms"][0]


def test_one_that_breaks_off(job, change):
    found = stages.overfit(change(job, cnn={"learning_rate": 1e9, "batch_size": 5}), 20, steps=20)
    assert not found.document["learnt"]
    assert found.document["accuracy"] is None
    assert "loss is" in found.document["failure"]
    assert "(1e+09)" in " ".join(found.document["symptoms"])
    read_json(found.path)


def test_a_step_too_far_in_the_last_batch_is_seen(job, change):
    # One step an epoch: the loss of training is finite still, that of the changed weights is not.
    found = stages.overfit(change(job, cnn={"learning_rate": 1e9}), 20, steps=1)
    assert "after epoch 1" in found.document["failure"]
    assert found.document["history"] == {"loss": [], "accuracy": []}


def test_what_changes_images_or_steps_is_switched_off_and_said(job, change, caplog):
    changed = change(
        job,
        cnn={
            "augment": {"flip": 0.5, "rotation": 90.0},
            "early_stopping": 0,
            "schedule": "step",
            "step_epochs": 1,
            "mixup": 1.0,
            "learning_rate": 1e-2,
            "label_smoothing": 0.1,
        },
    )
    with caplog.at_level(logging.INFO, "cnnboost"):
        found = stages.overfit(changed, 30)
    assert found.document["learnt"]
    off = " ".join(found.document["switched_off"])
    assert all(name in off for name in ("augment=", "mixup=1.0", "early_stopping=0", "schedule='step'"))
    assert "label_smoothing" not in off
    assert "step_epochs" not in off
    assert f"switched off: {', '.join(found.document['switched_off'])}" in caplog.text


def test_what_the_recipe_leaves_out_is_not_named(job, caplog):
    with caplog.at_level(logging.INFO, "cnnboost"):
        found = stages.overfit(job, 20, steps=1)
    assert found.document["switched_off"] == []
    assert "switched off: nothing" in caplog.text


def test_the_same_seed_is_the_same_course(job, change):
    first, again, other = (
        stages.overfit(change(job, cnn={"seed": seed}), 20, steps=3).document["history"] for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(("n", "words"), [(9, "at least 10"), (0, "at least 10"), (1259, "only 1258")])
def test_impossible_numbers(job, n, words):
    with pytest.raises(ParameterError, match=f"overfit={n}.*{words}"):
        stages.overfit(job, n)


def test_no_step_is_not_a_check(job):
    with pytest.raises(ParameterError, match="steps=0"):
        stages.overfit(job, 20, steps=0)


def test_two_classes(job, change):
    found = stages.overfit(change(job, data={"binary": "3"}, cnn={"learning_rate": 1e-2}), 20)
    assert found.document["learnt"]
    assert found.document["classes"]["3"] == 2


def test_faces_in_a_folder(job, change, face_folder):
    faces = change(job, data={"source": None, "size": 48}, cnn={"learning_rate": 1e-2})
    assert stages.overfit(replace(faces, data=face_folder), 12).document["learnt"]


class TestChosen:
    @given(n=st.integers(10, 400), seed=st.integers(0, 5))
    def test_each_class_by_its_share_and_no_image_twice(self, digits, n, seed):
        rows = _chosen(digits, n, seed)
        assert len(set(rows.tolist())) == n
        counts = np.bincount(digits.y[rows], minlength=10)
        shares = np.bincount(digits.y, minlength=10) / len(digits)
        assert counts.min() >= 1
        assert np.abs(counts - n * shares).max() <= 2
        np.testing.assert_array_equal(rows, _chosen(digits, n, seed))

    def test_the_seed_decides(self, digits):
        assert set(_chosen(digits, 50, 0).tolist()) != set(_chosen(digits, 50, 1).tolist())

    def test_pixels_that_carry_two_labels_are_taken_once(self, tmp_path):
        rng = np.random.default_rng(0)
        X = rng.integers(0, 255, (12, 8, 8, 1), dtype=np.uint8)
        X[6:] = X[:6]
        np.savez(tmp_path / "twice.npz", X=X, y=np.array(["a"] * 6 + ["b"] * 6))
        train = load_images(tmp_path / "twice.npz", validation_fraction=0).train
        rows = _chosen(train, 6, 0)
        assert len({train.part(row, row + 1).tobytes() for row in rows.tolist()}) == 6
        with pytest.raises(ParameterError, match="only 6 different"):
            _chosen(train, 7, 0)


def network(shape, n_classes, bias=0.0, rescale=True):
    import keras

    image = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(image) if rescale else image
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(x)
    bias = keras.initializers.Constant(bias)
    x = keras.layers.Dense(6, bias_initializer=bias, name="hidden")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Dropout(0.4)(x)
    return keras.Model(image, keras.layers.Dense(n_classes, activation="softmax")(x))


@pytest.fixture(scope="module")
def fitted(toy_images):
    @cache
    def fit(**options):
        cnn = CNNClassifier(network, model_options=options, epochs=1, learning_rate=1e-9)
        return cnn.fit(toy_images[0][:40], toy_images[1][:40].astype(str))

    return fit


@pytest.fixture
def said(toy_images):
    def said(cnn, loss):
        seen = {"loss": loss, "accuracy": [0.1] * len(loss)}
        return symptoms(cnn, toy_images[0][:40], toy_images[1][:40].astype(str), seen)

    return said


def test_dead_units_are_counted_by_layer(fitted, toy_images):
    dead = dead_units(fitted(bias=-1e3), toy_images[0][:130])
    assert list(dead) == ["conv", "relu"]
    assert dead["relu"] == 1.0
    assert dead["conv"] < 0.8
    assert dead_units(fitted(bias=1e3), toy_images[0][:130])["relu"] == 0.0


def test_dead_relus_and_one_class_are_named(fitted, said):
    text = " | ".join(said(fitted(bias=-1e3), [2.3, 2.3]))
    assert "100% of the units of relu" in text
    assert "for 100.0% of the images" in text
    assert "dropout of up to 0.4" in text
    assert "Rescaling" not in text
    assert "raise" not in text, "a higher learning rate would kill more units"


def test_pixels_that_nobody_scales_are_named(fitted, said):
    assert any("begin the network with a Rescaling" in line for line in said(fitted(rescale=False), [2, 1]))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ([2.3, 2.29], "hardly moved: raise"),
        ([1.3, 2.0], "rose: lower"),
        ([9.0, 9.0], "guessing would give 2.303: lower"),
        ([2.3, 1.0], "still falls: allow more steps"),
        ([2.3, *[1.0] * 30], "has settled"),
    ],
)
def test_the_course_of_the_loss(fitted, said, loss, words):
    assert words in said(fitted(), loss)[0]
    assert "1e-09" in said(fitted(), loss)[0]


def test_a_training_that_broke_off():
    told = symptoms_of_failure(CNNClassifier(learning_rate=None), "the loss is nan after epoch 1")
    assert told[0] == "the loss is nan after epoch 1"
    assert "the optimiser has its own" in told[1]


def test_a_network_without_relus(toy_images):
    import keras

    def linear(shape, n_classes):
        image = keras.Input(shape)
        flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
        return keras.Model(image, keras.layers.Dense(n_classes, activation="softmax")(flat))

    cnn = CNNClassifier(linear, epochs=1).fit(toy_images[0][:40], toy_images[1][:40])
    assert dead_units(cnn, toy_images[0][:40]) == {}
    assert np.isfinite(cnn.predict_proba(toy_images[0][:2])).all()
