import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from cnnboost.cnn.optimizers import OPTIMIZERS, build_optimizer, learning_rates
from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError


@pytest.fixture
def model():
    image = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(3)(image))
    return keras.Model(image, keras.layers.Dense(2, "softmax")(x))


def build(model, steps=10, **options):
    return build_optimizer(TrainingOptions(**options), model, steps)


def rates(steps, at, **options):
    given = TrainingOptions(learning_rate=0.1, **options)
    schedule = learning_rates(given, 0.1, steps)
    return [float(schedule(step)) for step in at]


def test_options_reach_the_optimiser(model):
    sgd = build(
        model, optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, ema=0.99
    )
    assert isinstance(sgd, keras.optimizers.SGD)
    assert (sgd.momentum, sgd.nesterov, sgd.weight_decay) == (0.9, True, 5e-4)
    assert (sgd.use_ema, sgd.ema_momentum) == (True, 0.99)
    assert float(sgd.learning_rate) == pytest.approx(0.05)
    plain = build(model, optimizer="adam")
    assert (plain.use_ema, plain.weight_decay, plain.beta_1) == (False, None, 0.9)
    assert build(model, optimizer="rmsprop", momentum=0.5).momentum == 0.5
    assert float(build(model, optimizer="sgd", learning_rate=None).learning_rate) == pytest.approx(0.01)


def test_an_optimiser_that_was_built_is_copied_with_the_options_on_top(model):
    given = keras.optimizers.SGD(0.3, momentum=0.2)
    copy = build(model, optimizer=given, learning_rate=None, momentum=0.9)
    assert (given.momentum, copy.momentum) == (0.2, 0.9)
    assert float(copy.learning_rate) == pytest.approx(0.3)


def test_weight_decay_is_decoupled_and_spares_biases_and_norms(model):
    sgd = build(model, optimizer="sgd", learning_rate=0.5, weight_decay=0.1)
    before = [np.ones(v.shape) for v in model.trainable_variables]
    model.set_weights([np.ones(w.shape) for w in model.get_weights()])
    sgd.build(model.trainable_variables)
    sgd.apply_gradients([(np.zeros(v.shape, np.float32), v) for v in model.trainable_variables])
    for variable, old in zip(model.trainable_variables, before, strict=True):
        factor = 1 - 0.5 * 0.1 if len(variable.shape) == 2 else 1.0
        np.testing.assert_allclose(convert_to_numpy(variable), old * factor, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "adamm"}, "'adamm' is none that Keras has; there are: .*adam, .*rmsprop, sgd"),
        ({"optimizer": "multioptimizer"}, "'multioptimizer' is none that Keras has"),
        ({"optimizer": 3}, "optimizer=3"),
        ({"optimizer": "adam", "momentum": 0.9}, r"momentum=0\.9: the optimiser 'adam' has none"),
        ({"optimizer": "rmsprop", "nesterov": True}, "nesterov=True: the optimiser 'rmsprop' has none"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov=True needs a momentum"),
    ],
)
def test_what_an_optimiser_does_not_have_is_refused(model, options, words):
    with pytest.raises(ParameterError, match=words):
        build(model, **options)


def test_an_optimiser_with_a_schedule_of_its_own(model):
    own = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100))
    assert float(build(model, optimizer=own, learning_rate=None).learning_rate) == pytest.approx(0.1)
    with pytest.raises(ParameterError, match="SGD has a schedule of its own"):
        build(model, optimizer=own, learning_rate=None, schedule="cosine")
    build(model, optimizer=own, learning_rate=0.1, schedule="cosine")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_names_are_those_that_keras_takes(model, name):
    assert type(build(model, optimizer=name)).__name__.lower() == name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decay": 0.01}, {0: 0.1, 1: 0.1 / 1.01, 100: 0.1 / 2}),
        ({"schedule": "step", "step_epochs": 3, "step_factor": 0.5}, {0: 0.1, 29: 0.1, 30: 0.05, 60: 0.025}),
        ({"schedule": "cosine"}, {0: 0.1, 50: 0.05, 100: 0.0}),
        ({"schedule": "cosine", "warmup": 0.1}, {0: 0.0, 5: 0.05, 10: 0.1, 55: 0.05, 100: 0.0}),
        ({"schedule": "one-cycle"}, {0: 0.004, 15: 0.052, 30: 0.1, 65: 0.050005, 100: 1e-5}),
        ({"schedule": "one-cycle", "warmup": 0.1}, {10: 0.1}),
    ],
    ids=str,
)
def test_the_learning_rate_of_each_step(options, expected):
    found = rates(10, expected, epochs=10, **options)
    assert found == pytest.approx(list(expected.values()), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
@pytest.mark.parametrize("epochs", [0, 1])
def test_the_shortest_training_has_a_rate(schedule, epochs):
    assert rates(1, (0,), schedule=schedule, epochs=epochs) == pytest.approx([0.1])
