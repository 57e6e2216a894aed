"""Small networks, and what the tests of a training do to it."""

import keras
import numpy as np


class Stop(Exception):
    """Ends a training as a kill does: nothing is caught, nothing is cleaned up."""


def stop_after(epochs):
    def end(epoch, logs):
        if epoch + 1 == epochs:
            raise Stop

    return keras.callbacks.LambdaCallback(on_epoch_end=end)


def small(input_shape, n_classes):
    """Build a network with everything that has a state: dropout, and averages of batches."""
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten()]
    stack += [layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2), layers.Dense(16, "relu")]
    return keras.Sequential([*stack, layers.Dropout(0.2), layers.Dense(n_classes, "softmax")])


def pooled(input_shape=(8, 8, 1), n_classes=10):
    """Build a network whose weights do not depend on the size of the images."""
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Rescaling(1 / 255), layers.Conv2D(6, 3, padding="same")]
    stack += [layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()]
    return keras.Sequential([*stack, layers.Dropout(0.2), layers.Dense(n_classes, "softmax")])


def same_training(found, expected):
    """Assert that two classifiers have the same weights and history, to the last bit."""
    for mine, its in zip(found.model_.get_weights(), expected.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert found.history_.keys() == expected.history_.keys()
    for name in expected.history_.keys() - {"seconds"}:
        assert found.history_[name] == expected.history_[name]


def losses_of(cnn, X, y):
    """Return the mean cross-entropy of a classifier on images whose labels are 0, 1, 2, ..."""
    proba = cnn.predict_proba(X)[np.arange(len(y)), y]
    return -np.log(np.maximum(proba, 1e-7)).mean()
