import numpy as np
import pytest

from cnnboost.cnn.architectures import build


def blocks(model):
    """Return the filters that each stage gives, and how many blocks it has."""
    found = {}
    for layer in model.layers:
        if layer.name.endswith(("_project_norm",)):
            stage = int(layer.name[5])
            found.setdefault(stage, []).append(layer.output.shape[-1])
    return {stage: (filters[0], len(filters)) for stage, filters in found.items()}


@pytest.fixture(scope="module")
def whole():
    return build("efficientnetv2", (48, 48, 3), 7)


@pytest.mark.slow
def test_it_is_the_network_of_keras_value_for_value(whole):
    import keras

    keras.utils.set_random_seed(0)
    theirs = keras.applications.EfficientNetV2S(include_top=False, weights=None, input_shape=(48, 48, 3))
    ours = keras.Model(whole.input, whole.get_layer("stage7_silu").output)
    assert ours.count_params() == theirs.count_params() == 20_331_360
    # Random statistics, so that no normalisation is the identity that an untrained one is.
    rng = np.random.default_rng(0)
    for weight in theirs.weights:
        if "moving" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    ours.set_weights(theirs.get_weights())
    X = rng.integers(0, 256, (2, 48, 48, 3)).astype(np.float32)
    wanted = np.asarray(theirs(X, training=False))
    assert wanted.std() > 0
    np.testing.assert_allclose(
        np.asarray(ours(X, training=False)), wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max()
    )


def test_the_stages_are_those_of_the_table(whole):
    assert blocks(whole) == {1: (24, 2), 2: (48, 4), 3: (64, 4), 4: (128, 6), 5: (160, 9), 6: (256, 15)}
    sides = {n: whole.get_layer(f"stage{n}_block1_project_norm").output.shape[1] for n in range(1, 7)}
    assert sides == {1: 24, 2: 12, 3: 6, 4: 3, 5: 3, 6: 2}


def test_parameters_at_the_size_of_fer2013(whole):
    assert whole.count_params() == 20_339_895 + 2 * 9 * 24  # two more channels for 24 filters of 3x3
    few = build("efficientnetv2", (48, 48, 1), 7, {"drop_stages": [5, 6]})
    assert few.count_params() == 2_016_175


@pytest.mark.parametrize(
    ("coefficient", "stages"),
    [(0.2, {1: (8, 1), 3: (16, 1), 4: (24, 2)}), (1.4, {1: (32, 3), 3: (88, 6), 4: (176, 9)})],
)
def test_coefficients_round_as_published(coefficient, stages):
    options = {"width_coefficient": coefficient, "depth_coefficient": coefficient}
    more = {"drop_stages": [2, 5, 6], "top_filters": 16}
    model = build("efficientnetv2", (48, 48, 1), 7, {**options, **more})
    assert blocks(model) == stages
    assert model.get_layer("flatten").output.shape == (None, 16)


def test_dropout_and_stochastic_depth_are_options():
    small = {"width_coefficient": 0.2, "drop_stages": [4, 5, 6]}
    without = build("efficientnetv2", (48, 48, 1), 7, {**small, "dropout": 0.45})
    assert without.get_layer("dropout").rate == 0.45
    assert not [layer for layer in without.layers if layer.name.endswith("_skip")]
    model = build("efficientnetv2", (48, 48, 1), 7, {**small, "stochastic_depth": 0.5})
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_skip")]
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] < 0.5
    # A whole image keeps or loses the branch.
    skip = [layer for layer in model.layers if layer.name.endswith("_skip")][-1]
    kept = np.asarray(skip(np.ones((64, *skip.output.shape[1:]), np.float32), training=True)).reshape(64, -1)
    assert (kept == kept[:, :1]).all()
    assert 0 < (kept[:, 0] > 0).sum() < 64


def test_any_size_will_do():
    model = build("efficientnetv2", (8, 11, 2), 7, {"width_coefficient": 0.2, "depth_coefficient": 0.2})
    assert np.isfinite(np.asarray(model(np.zeros((1, 8, 11, 2), np.uint8), training=False))).all()
