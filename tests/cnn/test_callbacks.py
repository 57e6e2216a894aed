import contextlib

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from cnnboost.cnn.callbacks import adopt_averages, averaged, measure_statistics

RNG = np.random.default_rng(0)
BATCHES = [RNG.normal(3, 2, (n, 6, 6, 2)).astype(np.float32) for n in (8, 8, 5)]


def normalised(trainable=True):
    layers = keras.layers
    first = layers.BatchNormalization(name="first", momentum=0.9, trainable=trainable)
    stack = [keras.Input((6, 6, 2)), first, layers.Conv2D(3, 3), layers.BatchNormalization(name="second")]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(2, "softmax")])


def plain():
    layers = keras.layers
    return keras.Sequential([keras.Input((6, 6, 2)), layers.Flatten(), layers.Dense(2, "softmax")])


def trained(model, momentum=0.9, epochs=3):
    keras.utils.set_random_seed(0)
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=momentum, ema_overwrite_frequency=None)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    X, y = np.concatenate(BATCHES), RNG.integers(0, 2, 21)
    for _ in range(epochs):
        model.train_on_batch(X, y)
    return model


def state(model):
    return [convert_to_numpy(variable).copy() for variable in model.weights]


def none_wanted():
    raise AssertionError("a batch was pulled, and nothing is normalised")
    yield


def test_the_averages_come_and_go_and_leave_no_bit_changed_though_something_fails():
    model = trained(normalised())
    raw = state(model)
    averages = [convert_to_numpy(v).copy() for v in model.optimizer._model_variables_moving_average]
    within = []
    with contextlib.suppress(KeyboardInterrupt), averaged(model, iter(BATCHES)):
        for found, wanted in zip(model.trainable_variables, averages, strict=True):
            np.testing.assert_allclose(convert_to_numpy(found), wanted, rtol=1e-6)
        within += state(model)
        raise KeyboardInterrupt
    assert sum((was != is_now).any() for was, is_now in zip(raw, within, strict=True)) >= 8
    for was, is_now in zip(raw, state(model), strict=True):
        np.testing.assert_array_equal(was, is_now)


def test_statistics_are_the_plain_means_over_the_batches():
    model = normalised()
    measure_statistics(model, iter(BATCHES))
    first = model.get_layer("first")
    mean = np.mean([batch.mean(axis=(0, 1, 2)) for batch in BATCHES], axis=0)
    variance = np.mean([batch.var(axis=(0, 1, 2)) for batch in BATCHES], axis=0)
    np.testing.assert_allclose(convert_to_numpy(first.moving_mean), mean, rtol=1e-5)
    np.testing.assert_allclose(convert_to_numpy(first.moving_variance), variance, rtol=1e-5)
    assert first.momentum == 0.9
    # What the deeper layer sees is normalised by its own batch, as it is in training.
    second = keras.Model(model.inputs[0], model.layers[1].output)
    each = [convert_to_numpy(second(batch, training=True)) for batch in BATCHES]
    mean = np.mean([values.mean(axis=(0, 1, 2)) for values in each], axis=0)
    np.testing.assert_allclose(
        convert_to_numpy(model.get_layer("second").moving_mean), mean, rtol=1e-4, atol=1e-5
    )


def test_frozen_layers_keep_their_statistics_and_the_others_their_momentum():
    model = normalised(trainable=False)
    with pytest.raises(ValueError, match="shape"):
        measure_statistics(model, [*BATCHES, np.zeros((1, 3), np.float32)])
    np.testing.assert_array_equal(convert_to_numpy(model.get_layer("first").moving_mean), 0)
    assert (convert_to_numpy(model.get_layer("second").moving_mean) != 0).any()
    assert model.get_layer("second").momentum == 0.99


def test_where_nothing_is_normalised_no_batch_is_pulled():
    model = trained(plain())
    with averaged(model, none_wanted()):
        pass
    adopt_averages(model, none_wanted())
    measure_statistics(model, none_wanted())


def test_before_the_first_step_there_is_nothing_to_adopt():
    model = trained(normalised(), epochs=0)
    before = state(model)
    adopt_averages(model, none_wanted())
    for was, is_now in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(was, is_now)
