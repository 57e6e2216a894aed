"""Training with every option on: that it is as written, that it learns, that a killed one ends the same."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from cnnboost import CNNClassifier
from cnnboost.cnn.averaging import averaged

EVERYTHING = {
    "epochs": 4,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "schedule": "one-cycle",
    "label_smoothing": 0.05,
    "augment": {"rotation": 10, "shift": 0.1, "erasing": 0.2},
    "mixup": 0.1,
    "balance": True,
    "ema": 0.9,
}
CASES = {
    "everything": EVERYTHING,
    "stopping": {
        "epochs": 6,
        "learning_rate": 0.02,
        "early_stopping": 1,
        "validation_fraction": 0.3,
        "ema": 0.5,
        "augment": {"rotation": 10},
        "loss": "focal",
        "class_weight": "balanced",
    },
    "step": {"epochs": 4, "schedule": "step", "step_epochs": 1, "ema": 0.9},
    "decay": {"epochs": 4, "optimizer": "sgd", "learning_rate": 0.05, "decay": 0.01},
}


class Stop(Exception):
    pass


def small(input_shape, n_classes):
    """Build a network with everything that has a state: dropout, and averages of batches."""
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten()]
    stack += [layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2), layers.Dense(16, "relu")]
    return keras.Sequential([*stack, layers.Dropout(0.2), layers.Dense(n_classes, "softmax")])


def stop_after(epochs):
    def end(epoch, logs):
        if epoch + 1 == epochs:
            raise Stop

    return keras.callbacks.LambdaCallback(on_epoch_end=end)


@pytest.fixture(scope="module")
def undisturbed(toy_images):
    done = {}

    def fit(case):
        if case not in done:
            done[case] = CNNClassifier(small, **CASES[case]).fit(*toy_images)
        return done[case]

    return fit


@pytest.mark.parametrize("case", list(CASES))
def test_a_killed_training_ends_exactly_as_an_undisturbed_one(
    case, undisturbed, toy_images, tmp_path, caplog
):
    options = {**CASES[case], "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(Stop):
        CNNClassifier(small, callbacks=[stop_after(2)], **options).fit(*toy_images)
    with caplog.at_level("INFO", "cnnboost"):
        continued = CNNClassifier(small, **options).fit(*toy_images)
    assert "continues after epoch 2" in caplog.text
    expected = undisturbed(case)
    for found, wanted in zip(continued.model_.get_weights(), expected.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for name, values in expected.history_.items():
        if name != "seconds":
            assert continued.history_[name] == values
    # Asked once more, the finished training gives the same without a step.
    again = CNNClassifier(small, **options).fit(*toy_images)
    for found, wanted in zip(again.model_.get_weights(), expected.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_another_length_of_a_planned_schedule_is_another_run(toy_images, tmp_path, caplog):
    options = {"schedule": "cosine", "checkpoint": tmp_path / "checkpoint"}
    CNNClassifier(small, epochs=1, **options).fit(*toy_images)
    with caplog.at_level("INFO", "cnnboost"):
        longer = CNNClassifier(small, epochs=2, **options).fit(*toy_images)
    assert "continues" not in caplog.text
    assert len(longer.history_["loss"]) == 2


def test_the_history_has_the_rate_of_each_epoch(undisturbed):
    assert undisturbed("step").history_["learning_rate"] == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7], rel=1e-4)
    assert undisturbed("everything").history_["learning_rate"][-1] == pytest.approx(5e-6, rel=1e-3)
    steps = [10, 20, 30, 40]
    expected = [0.05 / (1 + 0.01 * step) for step in steps]
    assert undisturbed("decay").history_["learning_rate"] == pytest.approx(expected, rel=1e-5)


def test_averages_are_what_validation_scores_and_what_is_kept(toy_images):
    X, y = toy_images
    followed = []

    class Follow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            followed.append([convert_to_numpy(v).copy() for v in self.model.trainable_variables])

    cnn = CNNClassifier(small, epochs=2, ema=0.8, learning_rate=0.01, callbacks=[Follow()])
    cnn.fit(X[:400], y[:400], validation_data=(X[400:], y[400:]))
    average = followed[0]
    for weights in followed[1:]:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, weights, strict=True)]
    for found, expected in zip(cnn.model_.trainable_variables, average, strict=True):
        np.testing.assert_allclose(convert_to_numpy(found), expected, rtol=1e-4, atol=1e-6)
    proba = cnn.predict_proba(X[400:])[np.arange(200), y[400:]]
    assert cnn.history_["val_loss"][-1] == pytest.approx(-np.log(proba).mean(), rel=1e-4)


def test_averages_leave_the_training_itself_alone(toy_images):
    X, y = toy_images
    options = {"epochs": 2, "learning_rate": 0.01, "augment": {"rotation": 5}}
    plain = CNNClassifier(small, **options).fit(X[:400], y[:400])
    watched = CNNClassifier(small, ema=0.9, **options).fit(
        X[:400], y[:400], validation_data=(X[400:], y[400:])
    )
    assert watched.history_["loss"] == plain.history_["loss"]
    kept = [convert_to_numpy(v).copy() for v in watched.model_.trainable_variables]
    with averaged(watched.model_):
        pass
    for variable, value in zip(watched.model_.trainable_variables, kept, strict=True):
        np.testing.assert_array_equal(convert_to_numpy(variable), value)


@pytest.mark.parametrize("folder", [True, False], ids=["checkpoint", "memory"])
def test_the_best_epoch_is_that_of_the_averages(toy_images, tmp_path, folder):
    X, y = toy_images
    # The rate is far too high: the loss goes up again before the patience is used up.
    cnn = CNNClassifier(
        small,
        epochs=12,
        learning_rate=0.2,
        ema=0.5,
        early_stopping=2,
        checkpoint=tmp_path / "checkpoint" if folder else None,
    )
    cnn.fit(X[:400], y[:400], validation_data=(X[400:], y[400:]))
    losses = cnn.history_["val_loss"]
    assert int(np.argmin(losses)) == len(losses) - 3
    proba = cnn.predict_proba(X[400:])[np.arange(200), y[400:]]
    assert min(losses) == pytest.approx(-np.log(np.maximum(proba, 1e-7)).mean(), rel=1e-3)


def test_epochs_of_zero_keep_the_initial_weights(toy_images):
    cnn = CNNClassifier(small, **{**EVERYTHING, "epochs": 0}).fit(*toy_images)
    assert cnn.history_ == {}
    assert cnn.predict_proba(toy_images[0]).shape == (600, 10)


@pytest.mark.parametrize(
    "options",
    [
        {"augment": {"rotation": 5, "shift": 0.05}},
        {"loss": "focal", "class_weight": "balanced"},
        {"label_smoothing": 0.1},
        {"mixup": 0.2},
        {"balance": True},
        {
            "optimizer": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "learning_rate": 0.05,
            "schedule": "one-cycle",
        },
    ],
    ids=lambda options: next(iter(options)),
)
def test_it_learns(toy_images, options):
    cnn = CNNClassifier("digits", **{"epochs": 5, "batch_size": 32, "learning_rate": 2e-3, **options})
    assert cnn.fit(*toy_images).score(*toy_images) > 0.8


def test_balancing_finds_a_rare_class(toy_images):
    X, y = toy_images
    rare = np.flatnonzero(y == 1)
    rows = np.concatenate([np.flatnonzero(y == 8), rare[:4]])
    options = {"epochs": 4, "batch_size": 16, "classes": [1, 8], "augment": {"shift": 0.05}}
    plain = CNNClassifier(small, **options).fit(X[rows], y[rows])
    even = CNNClassifier(small, balance=True, **options).fit(X[rows], y[rows])
    assert even.predict_proba(X[rare])[:, 0].mean() > plain.predict_proba(X[rare])[:, 0].mean() + 0.1


def test_class_weights_mean_the_same_under_the_focal_loss(toy_images):
    X, y = toy_images[0], toy_images[1] % 2
    fast = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}
    crossentropy = CNNClassifier(small, class_weight={0: 1.0, 1: 5.0}, **fast).fit(X, y)
    focal = CNNClassifier(small, class_weight={0: 1.0, 1: 5.0}, loss="focal", focal_gamma=0.0, **fast).fit(
        X, y
    )
    assert focal.history_["loss"] == pytest.approx(crossentropy.history_["loss"], rel=1e-3)
    plain = CNNClassifier(small, loss="focal", **fast).fit(X, y)
    weighted = CNNClassifier(small, loss="focal", class_weight={0: 1.0, 1: 5.0}, **fast).fit(X, y)
    assert weighted.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
