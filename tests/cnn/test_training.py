"""Training with every option: that it is as written, and that it learns."""

import gc
import os
import subprocess
import sys
import textwrap
import weakref

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from cnnboost import CNNClassifier
from cnnboost.cnn.batches import shrink
from cnnboost.cnn.teacher import write_teacher
from cnnboost.errors import DataError, ParameterError
from tests.cnn.toys import losses_of, pooled, same_training, small

STAGED = {
    "epochs": 3,
    "batch_size": 64,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "schedule": "one-cycle",
    # One epoch each at 4, 6 and 8 pixels.
    "progressive_resizing": [(4, 0.34), (6, 0.33)],
    "augment": {"rotation": 5, "crop": 0.1},
    "validation_fraction": 0.3,
}
FAST = {"epochs": 4, "batch_size": 32, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def parts(toy_images):
    """Return 400 images to train on and 200 to score, with their labels."""
    X, y = toy_images
    return (X[:400], y[:400]), (X[400:], y[400:])


def test_the_history_has_the_rate_at_the_end_of_each_epoch(toy_images):
    cnn = CNNClassifier(small, epochs=2, optimizer="sgd", learning_rate=0.05, decay=0.01)
    rates = cnn.fit(*toy_images).history_["learning_rate"]
    assert rates == pytest.approx([0.05 / 1.1, 0.05 / 1.2], rel=1e-4)


def test_averages_are_what_validation_scores_and_what_is_kept(parts):
    followed = []

    class Follow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            followed.append([convert_to_numpy(v).copy() for v in self.model.trainable_variables])

    cnn = CNNClassifier(small, epochs=2, ema=0.8, learning_rate=0.01, callbacks=[Follow()])
    cnn.fit(*parts[0], validation_data=parts[1])
    average = followed[0]
    for weights in followed[1:]:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, weights, strict=True)]
    for found, expected in zip(cnn.model_.trainable_variables, average, strict=True):
        np.testing.assert_allclose(convert_to_numpy(found), expected, rtol=1e-4, atol=1e-6)
    assert cnn.history_["val_loss"][-1] == pytest.approx(losses_of(cnn, *parts[1]), rel=1e-4)


def test_averages_leave_the_training_itself_alone(parts):
    options = {"epochs": 2, "learning_rate": 0.01, "augment": {"rotation": 5}}
    plain = CNNClassifier(small, **options).fit(*parts[0])
    watched = CNNClassifier(small, ema=0.9, **options).fit(*parts[0], validation_data=parts[1])
    assert watched.history_["loss"] == plain.history_["loss"]


def test_validation_sees_averages_with_statistics_of_their_own(parts):
    raw = []

    class Follow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raw[:] = [convert_to_numpy(v).copy() for v in self.model.get_layer("normal").weights]

    def network(input_shape, n_classes):
        layers = keras.layers
        stack = [keras.Input(input_shape), layers.Conv2D(8, 3), layers.BatchNormalization(name="normal")]
        return keras.Sequential([*stack, layers.ReLU(), layers.Flatten(), layers.Dense(n_classes, "softmax")])

    cnn = CNNClassifier(network, epochs=3, ema=0.98, learning_rate=0.02, callbacks=[Follow()])
    cnn.fit(*parts[0], validation_data=parts[1])
    assert cnn.history_["val_loss"][-1] == pytest.approx(losses_of(cnn, *parts[1]), rel=1e-3)
    normal = cnn.model_.get_layer("normal")
    normal.moving_mean.assign(raw[2])
    normal.moving_variance.assign(raw[3])
    # With the statistics of the last steps the same averages recognise something else.
    assert cnn.history_["val_loss"][-1] != pytest.approx(losses_of(cnn, *parts[1]), rel=1e-2)


@pytest.mark.parametrize("folder", [True, False], ids=["checkpoint", "memory"])
def test_the_best_epoch_is_that_of_the_averages(parts, tmp_path, folder):
    # The rate is far too high: the loss goes up again before the patience is used up.
    options = {"epochs": 12, "learning_rate": 0.2, "ema": 0.5, "early_stopping": 2}
    cnn = CNNClassifier(small, checkpoint=tmp_path / "checkpoint" if folder else None, **options)
    losses = cnn.fit(*parts[0], validation_data=parts[1]).history_["val_loss"]
    assert int(np.argmin(losses)) == len(losses) - 3
    assert min(losses) == pytest.approx(losses_of(cnn, *parts[1]), rel=1e-3)


def test_what_is_trained_keeps_no_images(toy_images):
    X, y = toy_images[0].copy(), toy_images[1]
    images = weakref.ref(X)
    cnn = CNNClassifier("linear", epochs=1, batch_size=200).fit(X, y)
    del X
    gc.collect()
    assert images() is None
    assert len(cnn.history_["loss"]) == 1


def test_epochs_of_zero_keep_the_initial_weights(toy_images):
    cnn = CNNClassifier(small, epochs=0, ema=0.9, schedule="one-cycle", mixup=0.1).fit(*toy_images)
    assert cnn.history_ == {}
    assert cnn.predict_proba(toy_images[0]).shape == (600, 10)


def test_each_stage_is_trained_and_scored_at_its_size(parts):
    scored = []

    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            size = (4, 6, 8)[epoch]
            part = shrink(parts[1][0], (size, size)).astype(np.float32)
            scored.append(float(self.model.evaluate(part, parts[1][1], verbose=0, return_dict=True)["loss"]))

    cnn = CNNClassifier(pooled, callbacks=[Score()], **{**STAGED, "validation_fraction": 0})
    cnn.fit(*parts[0], validation_data=parts[1])
    assert cnn.history_["val_loss"] == pytest.approx(scored, rel=1e-5)
    # The schedule runs on through the stages: up during the first 30 %, then down.
    assert cnn.history_["learning_rate"] == pytest.approx([0.0989, 0.0448, 1e-5], rel=0.01)


def test_steps_that_run_together_end_where_single_ones_do(parts, caplog):
    # 400 images, 7 steps: seven run together, or none. One epoch each at 4 and 8 pixels.
    two = {"epochs": 2, "progressive_resizing": [(4, 0.5)]}
    options = {**STAGED, **two, "ema": 0.9, "validation_fraction": 0}
    one = CNNClassifier(pooled, **options).fit(*parts[0])
    with caplog.at_level("INFO", "cnnboost"):
        uneven = CNNClassifier(pooled, steps_per_execution=3, **options).fit(*parts[0])
    assert "steps_per_execution=3 does not divide the 7 steps of an epoch; 1 run at a time" in caplog.text
    same_training(uneven, one)
    together = CNNClassifier(pooled, steps_per_execution=7, **options).fit(*parts[0])
    assert together.history_["learning_rate"] == one.history_["learning_rate"]
    for mine, its in zip(together.model_.get_weights(), one.model_.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-7)


# A rate that is too high: the loss on the validation images goes up and down.
RESTLESS = {"epochs": 11, "batch_size": 100, "learning_rate": 0.2}


@pytest.fixture(scope="module")
def every(parts):
    """Return a training that was validated after every epoch."""
    return CNNClassifier(small, **RESTLESS).fit(*parts[0], validation_data=parts[1])


class TestValidationFreq:
    @pytest.mark.parametrize("every_so_many", [3, 20])
    def test_the_epochs_are_those_that_it_divides(self, every_so_many, every, parts):
        cnn = CNNClassifier(small, validation_freq=every_so_many, **RESTLESS)
        found = cnn.fit(*parts[0], validation_data=parts[1]).history_
        assert found["loss"] == every.history_["loss"]
        scored = list(range(every_so_many, 12, every_so_many))
        assert found.get("val_epoch", []) == scored
        assert found.get("val_loss", []) == [every.history_["val_loss"][epoch - 1] for epoch in scored]
        assert "val_epoch" not in every.history_

    @pytest.mark.parametrize("folder", [True, False], ids=["checkpoint", "memory"])
    def test_stopping_counts_scored_epochs_and_keeps_the_best_of_them(
        self, folder, every, parts, tmp_path, recwarn
    ):
        options = {**RESTLESS, "validation_freq": 2, "early_stopping": 1, "reduce_lr": 99}
        cnn = CNNClassifier(small, checkpoint=tmp_path / "checkpoint" if folder else None, **options)
        found = cnn.fit(*parts[0], validation_data=parts[1]).history_
        scored = every.history_["val_loss"][1::2]
        worse = next(i for i in range(1, 5) if scored[i] >= min(scored[:i]))
        assert found["val_loss"] == scored[: worse + 1]
        assert len(found["loss"]) == len(found["learning_rate"]) == 2 * (worse + 1)
        assert losses_of(cnn, *parts[1]) == pytest.approx(min(found["val_loss"]), rel=1e-3)
        assert not [warning for warning in recwarn if "not available" in str(warning.message)]

    def test_one_that_scores_nothing_is_refused_where_scores_are_watched(self, parts):
        cnn = CNNClassifier(small, epochs=4, validation_freq=5, early_stopping=1)
        with pytest.raises(ParameterError, match="validation_freq=5: of 4 epochs none is scored"):
            cnn.fit(*parts[0], validation_data=parts[1])
        for bad in (0, 1.5, "often"):
            with pytest.raises(ParameterError, match="validation_freq"):
                cnn.set_params(validation_freq=bad).fit(*parts[0])


@pytest.fixture(scope="module")
def contrary(toy_images, tmp_path_factory):
    """Return a teacher that takes every digit for the next one."""
    X, y = toy_images
    logs = np.where(np.eye(10)[(y + 1) % 10] > 0, -0.01, -7.0)
    return write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.npz", logs, X, np.arange(10))


class TestTeacher:
    @pytest.mark.parametrize(
        "more",
        [
            {"augment": {"rotation": 5}, "balance": True, "ema": 0.9},
            {"mixup": 0.1, "class_weight": "balanced", "validation_fraction": 0.3},
        ],
        ids=lambda more: next(iter(more)),
    )
    def test_the_student_follows_the_teacher_of_each_image(self, more, contrary, toy_images):
        X, y = toy_images
        follows = {"teacher": contrary, "teacher_weight": 1.0, "teacher_temperature": 1.0}
        cnn = CNNClassifier("digits", **follows, **FAST, **more).fit(X, y)
        assert np.mean(cnn.predict(X) == (y + 1) % 10) > 0.75
        # What is reported is the accuracy on the labels, which this teacher has led astray.
        assert cnn.history_["accuracy"][-1] < 0.2
        if "validation_fraction" in more:
            assert cnn.history_["val_accuracy"][-1] < 0.2
            assert cnn.history_["val_loss"][-1] > 2 > cnn.history_["loss"][-1]

    def test_validation_has_the_usual_loss(self, contrary, toy_images):
        X, y = toy_images
        held = X[:100].astype(float) * 0.9, y[:100]
        cnn = CNNClassifier("digits", teacher=contrary, **FAST).fit(X, y, validation_data=held)
        assert cnn.history_["val_loss"][-1] == pytest.approx(losses_of(cnn, *held), rel=1e-3)

    def test_the_teacher_of_other_images_is_refused_before_the_training(self, contrary, toy_images):
        X, y = toy_images
        with pytest.raises(DataError, match="asked about 600 images; these 500 are other images"):
            CNNClassifier("digits", teacher=contrary, **FAST).fit(X[:500], y[:500])
        with pytest.raises(DataError, match="other classes"):
            CNNClassifier("digits", teacher=contrary, **FAST).fit(X, y % 5)


UNDER_JAX = """
    import sys
    from pathlib import Path

    import keras
    import numpy as np
    from sklearn.datasets import load_digits

    from cnnboost import CNNClassifier
    from cnnboost.cnn.teacher import write_teacher

    assert keras.backend.backend() == "jax"
    folder = Path(sys.argv[1])
    X, y = load_digits(return_X_y=True)
    X, y = np.rint(X[:600] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), y[:600]

    def pooled(input_shape, n_classes):
        layers = keras.layers
        stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(32, 3, padding="same")]
        stack += [layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(32, 3, padding="same")]
        stack += [layers.ReLU(), layers.GlobalMaxPooling2D(), layers.Dropout(0.1)]
        return keras.Sequential([*stack, layers.Dense(n_classes, "softmax")])

    options = {
        "epochs": 6,
        "batch_size": 30,
        "learning_rate": 0.01,
        "schedule": "one-cycle",
        "ema": 0.9,
        "progressive_resizing": [(6, 0.34)],
        "precision": "bfloat16",
        "steps_per_execution": 7,
        "validation_fraction": 0.3,
        "augment": {"crop": 0.05},
        "teacher": write_teacher(folder / "t.npz", np.log(np.eye(10)[y] * 0.9 + 0.01), X, np.arange(10)),
    }
    cnn = CNNClassifier(pooled, **options).fit(X, y)
    cnn.save(folder / "cnn.keras")
    np.savez(folder / "found.npz", proba=cnn.predict_proba(X), **cnn.history_)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_that_was_trained_under_jax_gives_the_same_under_tensorflow(toy_images, tmp_path):
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(UNDER_JAX), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    X, y = toy_images
    cnn = CNNClassifier.load(tmp_path / "cnn.keras")
    np.testing.assert_allclose(cnn.predict_proba(X), found["proba"], atol=1e-5)
    assert cnn.score(X, y) > 0.8
    assert len(found["val_loss"]) == 6
    assert found["val_loss"][-1] < found["val_loss"][0]
