"""A training in stages, averaged and in bfloat16: that a killed one ends as if nothing had happened."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from cnnboost import CNNClassifier
from cnnboost.cnn.resizing import shrink

STAGED = {
    "epochs": 6,
    "batch_size": 100,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "schedule": "one-cycle",
    "ema": 0.9,
    "precision": "bfloat16",
    # Two epochs each at 4, 6 and 8 pixels.
    "progressive_resizing": [(4, 0.34), (6, 0.33)],
    "augment": {"rotation": 5, "crop": 0.1},
    "validation_fraction": 0.3,
}


class Stop(Exception):
    pass


def pooled(input_shape, n_classes):
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(6, 3, padding="same")]
    stack += [layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()]
    return keras.Sequential([*stack, layers.Dropout(0.2), layers.Dense(n_classes, "softmax")])


def at_end_of(epoch, act):
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda done, logs: done + 1 == epoch and act())


def stop():
    raise Stop


def same_weights(found, expected):
    for mine, its in zip(found.model_.get_weights(), expected.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.fixture(scope="module")
def undisturbed(toy_images):
    return CNNClassifier(pooled, **STAGED).fit(*toy_images)


@pytest.mark.parametrize("epochs", [1, 2, 5], ids=["within a stage", "at its border", "in the last"])
def test_a_killed_training_in_stages_ends_exactly_as_an_undisturbed_one(
    epochs, undisturbed, toy_images, tmp_path
):
    options = {**STAGED, "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(Stop):
        CNNClassifier(pooled, callbacks=[at_end_of(epochs, stop)], **options).fit(*toy_images)
    seen = []
    epoch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda number, logs: seen.append(number))
    continued = CNNClassifier(pooled, callbacks=[epoch], **options).fit(*toy_images)
    assert seen == list(range(epochs, 6))
    same_weights(continued, undisturbed)
    for name, values in undisturbed.history_.items():
        if name != "seconds":
            assert continued.history_[name] == values


def test_other_stages_are_another_run(toy_images, tmp_path, caplog):
    options = {**STAGED, "epochs": 2, "checkpoint": tmp_path / "checkpoint"}
    CNNClassifier(pooled, **options).fit(*toy_images)
    with caplog.at_level("INFO", "cnnboost"):
        CNNClassifier(pooled, **{**options, "progressive_resizing": [(6, 0.5)]}).fit(*toy_images)
    assert "continues" not in caplog.text


def test_stages_leave_the_learning_rates_alone(undisturbed, toy_images):
    whole = CNNClassifier(pooled, **{**STAGED, "progressive_resizing": (), "precision": "float32"})
    rates = whole.fit(*toy_images).history_["learning_rate"]
    assert undisturbed.history_["learning_rate"] == rates
    assert len(set(rates)) == 6


def test_each_stage_is_trained_and_scored_at_its_size(toy_images):
    X, y = toy_images
    scored = []

    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            size = (4, 6, 8)[epoch // 2]
            part = shrink(X[400:], (size, size)).astype(np.float32)
            scored.append(float(self.model.evaluate(part, y[400:], verbose=0, return_dict=True)["loss"]))

    options = {**STAGED, "ema": None, "validation_fraction": 0, "callbacks": [Score()]}
    cnn = CNNClassifier(pooled, **options).fit(X[:400], y[:400], validation_data=(X[400:], y[400:]))
    assert cnn.history_["val_loss"] == pytest.approx(scored, rel=1e-5)


class Worse(keras.callbacks.Callback):
    """Makes the model surer of one class in each epoch, so that the loss can only grow."""

    def on_epoch_begin(self, epoch, logs=None):
        bias = np.zeros(10, np.float32)
        bias[0] = 10 * epoch
        self.model.layers[-1].bias.assign(bias)


WORSE = {
    "epochs": 12,
    "batch_size": 200,
    "learning_rate": 1e-9,
    "early_stopping": 2,
    "reduce_lr": 2,
    "min_learning_rate": 0,
    # Three epochs each of 4 and 6 pixels, then the images as they are.
    "progressive_resizing": [(4, 0.25), (6, 0.25)],
    "validation_fraction": 0.3,
}


@pytest.fixture(scope="module")
def worse(toy_images):
    return CNNClassifier(pooled, callbacks=[Worse()], **WORSE).fit(*toy_images)


@pytest.mark.parametrize("folder", [True, False], ids=["checkpoint", "memory"])
def test_only_epochs_of_full_images_are_compared_and_kept(folder, worse, toy_images, tmp_path):
    cnn = worse
    if folder:
        folder = tmp_path / "checkpoint"
        cnn = CNNClassifier(pooled, callbacks=[Worse()], checkpoint=folder, **WORSE).fit(*toy_images)
    losses = cnn.history_["val_loss"]
    assert losses == sorted(losses)
    # The seventh is the first of full images; two more that are worse.
    assert len(losses) == 9
    assert convert_to_numpy(cnn.model_.layers[-1].bias).max() == pytest.approx(60, abs=1)
    # Each stage has a best epoch of its own, and its rate falls after two worse ones.
    halvings = np.rint(np.log2(1e-9 / np.array(cnn.history_["learning_rate"])))
    assert halvings.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("epochs", [2, 8])
def test_a_killed_training_counts_on_where_it_was(epochs, worse, toy_images, tmp_path):
    options = {**WORSE, "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(Stop):
        CNNClassifier(pooled, callbacks=[Worse(), at_end_of(epochs, stop)], **options).fit(*toy_images)
    continued = CNNClassifier(pooled, callbacks=[Worse()], **options).fit(*toy_images)
    same_weights(continued, worse)
    for name in ("val_loss", "learning_rate"):
        assert continued.history_[name] == worse.history_[name]


def test_a_training_that_a_callback_ends_early_keeps_its_last_epoch(toy_images, tmp_path):
    class Enough(Worse):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    for folder in (None, tmp_path / "checkpoint"):
        cnn = CNNClassifier(pooled, callbacks=[Enough()], checkpoint=folder, **WORSE).fit(*toy_images)
        assert len(cnn.history_["loss"]) == 3
        assert convert_to_numpy(cnn.model_.layers[-1].bias).max() == pytest.approx(20, abs=1)


def test_a_callback_that_stops_the_training_stops_all_stages(toy_images):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 0

    cnn = CNNClassifier(pooled, callbacks=[Enough()], **STAGED).fit(*toy_images)
    assert len(cnn.history_["loss"]) == 1


def test_steps_that_run_together_end_where_single_ones_do(toy_images, caplog):
    options = {**STAGED, "epochs": 3, "precision": "float32", "batch_size": 64}
    one = CNNClassifier(pooled, **options).fit(*toy_images)
    # 420 images, 7 steps: seven run together, or none.
    with caplog.at_level("INFO", "cnnboost"):
        uneven = CNNClassifier(pooled, steps_per_execution=3, **options).fit(*toy_images)
    assert "steps_per_execution=3 does not divide the 7 steps of an epoch; 1 run at a time" in caplog.text
    assert uneven.history_["learning_rate"] == one.history_["learning_rate"]
    same_weights(uneven, one)
    together = CNNClassifier(pooled, steps_per_execution=7, **options).fit(*toy_images)
    assert together.history_["learning_rate"] == one.history_["learning_rate"]
    for mine, its in zip(together.model_.get_weights(), one.model_.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("epochs", [1, 3])
def test_validation_sees_averages_with_statistics_of_their_own(epochs, toy_images):
    X, y = toy_images
    raw = []

    class Follow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raw[:] = [convert_to_numpy(v).copy() for v in self.model.get_layer("normal").weights]

    def network(input_shape, n_classes):
        layers = keras.layers
        stack = [keras.Input(input_shape), layers.Conv2D(8, 3), layers.BatchNormalization(name="normal")]
        return keras.Sequential([*stack, layers.ReLU(), layers.Flatten(), layers.Dense(n_classes, "softmax")])

    cnn = CNNClassifier(network, epochs=epochs, ema=0.98, learning_rate=0.02, callbacks=[Follow()])
    cnn.fit(X[:400], y[:400], validation_data=(X[400:], y[400:]))

    def loss():
        proba = cnn.predict_proba(X[400:])[np.arange(200), y[400:]]
        return -np.log(np.maximum(proba, 1e-7)).mean()

    assert cnn.history_["val_loss"][-1] == pytest.approx(loss(), rel=1e-3)
    normal = cnn.model_.get_layer("normal")
    normal.moving_mean.assign(raw[2])
    normal.moving_variance.assign(raw[3])
    # With the statistics of the last steps the same averages recognise something else.
    assert cnn.history_["val_loss"][-1] != pytest.approx(loss(), rel=1e-2)
