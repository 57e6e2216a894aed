"""A network of one dense layer: its training in NumPy is the one through Keras, up to rounding."""

import keras
import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.cnn.architectures import build
from cnnboost.cnn.batches import Batches
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.softmax_regression import SoftmaxRegression
from cnnboost.errors import TrainingError
from tests.cnn.toys import Stop, same_training, stop_after

# Batches of 70 do not divide the images.
SGD = {"epochs": 3, "batch_size": 70, "optimizer": "sgd", "learning_rate": 0.1}
AT_ONCE = {"steps_per_execution": 1000}


def around_zero(input_shape, n_classes):
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 127.5, -1.0), layers.Flatten()]
    return keras.Sequential([*stack, layers.Dense(n_classes, "softmax")])


def unscaled(input_shape, n_classes):
    layers = keras.layers
    return keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(n_classes, "softmax")])


@pytest.mark.parametrize(
    ("network", "more"),
    [
        ("linear", {"class_weight": "balanced", "reduce_lr": 1, "monitor": "loss"}),
        ("linear", {"balance": True, "schedule": "step", "step_epochs": 2, "step_factor": 0.5}),
        (around_zero, {"learning_rate": 0.01}),
        (unscaled, {"learning_rate": 1e-6}),
    ],
    ids=["weights", "schedule", "offset", "raw"],
)
def test_it_is_the_training_through_keras(network, more, toy_images, monkeypatch):
    X, y = toy_images
    held = {"validation_data": (X[450:], y[450:])}
    slow = CNNClassifier(network, **{**SGD, **more}).fit(X[:450], y[:450], **held)
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", None)  # not asked
        fast = CNNClassifier(network, **{**SGD, **AT_ONCE, **more}).fit(X[:450], y[:450], **held)
    assert list(fast.history_) == list(slow.history_)
    for name in slow.history_.keys() - {"seconds"}:
        assert fast.history_[name] == pytest.approx(slow.history_[name], rel=1e-4)
    for found, expected in zip(fast.model_.get_weights(), slow.model_.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert int(fast.model_.optimizer.iterations) == int(slow.model_.optimizer.iterations)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_killed_training_ends_exactly_as_an_undisturbed_one(epochs, toy_images, tmp_path, monkeypatch):
    monkeypatch.setattr("cnnboost.cnn.callbacks._SHARE", 1)
    options = {**SGD, **AT_ONCE, "epochs": 6, "early_stopping": 2, "validation_fraction": 0.3}
    folder = {"checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(Stop):
        CNNClassifier("linear", callbacks=[stop_after(epochs)], **folder, **options).fit(*toy_images)
    continued = CNNClassifier("linear", **folder, **options).fit(*toy_images)
    same_training(continued, CNNClassifier("linear", **options).fit(*toy_images))


def test_callbacks_see_what_keras_tells_them_where_all_steps_run_at_once(toy_images):
    def told(**options):
        seen = []

        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                seen.append(("begin", self.params["steps"], self.params["epochs"]))

            def on_train_batch_end(self, batch, logs=None):
                seen.append(("steps", batch, sorted(logs)))

            def on_epoch_end(self, epoch, logs=None):
                seen.append(("epoch", epoch, sorted(logs), self.model.stop_training))
                self.model.stop_training = epoch == 1

            def on_train_end(self, logs=None):
                seen.append(("end", sorted(logs)))

        options = {**SGD, **AT_ONCE, "epochs": 4, "validation_fraction": 0.3, **options}
        cnn = CNNClassifier("linear", callbacks=[Watch()], **options).fit(*toy_images)
        return seen, len(cnn.history_["loss"])

    # A momentum is what Keras itself is left to train with.
    assert told() == told(momentum=0.1)
    assert told()[1] == 2


def test_a_loss_that_is_not_finite_is_told(toy_images):
    cnn = CNNClassifier("linear", **{**SGD, **AT_ONCE, "learning_rate": 1e9})
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) after epoch 1; lower the learning rate"):
        cnn.fit(*toy_images, sample_weight=np.full(600, 1e30))


class TestWhatIsLeftToKeras:
    X, y = np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 2

    def found(self, model=None, optimizer=None, targets=None, pixels="raw", **options):
        model = model or build("linear", (4, 4, 1), 2)
        model.compile(optimizer or keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        options = TrainingOptions(**{"batch_size": 8, "steps_per_execution": 3, **options})
        feed = Batches(self.X, self.y, self.y if targets is None else targets, options, None, pixels)
        return SoftmaxRegression.of(model, feed, options)

    def test_the_plain_case_is_not(self):
        assert self.found() is not None

    @pytest.mark.parametrize(
        "options",
        [
            {"steps_per_execution": 2},
            {"loss": "focal"},
            {"label_smoothing": 0.1},
            {"augment": {"flip": 0.5}},
            {"mixup": 0.1},
            {"progressive_resizing": [(2, 0.5)]},
            {"precision": "bfloat16"},
            {"monitor": "accuracy"},
            {"decay": 0.1},
            {"pixels": "unit"},
            {"targets": np.eye(2)[y]},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_options_that_change_more_than_the_order(self, options):
        assert self.found(**options) is None

    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda of: of.Adam(0.1),
            lambda of: of.SGD(0.1, momentum=0.9),
            lambda of: of.SGD(0.1, clipnorm=1.0),
            lambda of: of.SGD(0.1, use_ema=True),
            lambda of: of.SGD(of.schedules.CosineDecay(0.1, 10)),
        ],
        ids=["adam", "momentum", "clipnorm", "ema", "cosine"],
    )
    def test_other_optimisers(self, optimizer):
        assert self.found(optimizer=optimizer(keras.optimizers)) is None

    @pytest.mark.parametrize(
        "stack",
        [
            lambda of: [of.Flatten(), of.Dense(4, "relu"), of.Dense(2, "softmax")],
            lambda of: [of.Flatten(), of.Dropout(0.5), of.Dense(2, "softmax")],
            lambda of: [of.Flatten(), of.Dense(2)],
            lambda of: [of.Flatten(), of.Dense(2, "softmax", use_bias=False)],
            lambda of: [of.Flatten(), of.Dense(2, "softmax", kernel_regularizer="l2")],
            lambda of: [of.Flatten(), of.Dense(2, "softmax", bias_constraint="non_neg")],
            lambda of: [of.Flatten(), of.Dense(2, "softmax", trainable=False)],
            lambda of: [of.Rescaling([0.5]), of.Flatten(), of.Dense(2, "softmax")],
        ],
        ids=["hidden", "dropout", "logits", "bias", "l2", "constraint", "frozen", "channels"],
    )
    def test_other_networks(self, stack):
        model = keras.Sequential([keras.Input((4, 4, 1)), *stack(keras.layers)])
        assert self.found(model) is None
