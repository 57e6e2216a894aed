import itertools

import numpy as np
import pytest

from cnnboost.cnn.architectures import build
from cnnboost.errors import ModelError


def shapes(model, kind):
    return [layer.output.shape[1:] for layer in model.layers if type(layer).__name__ == kind]


def values(model, name):
    return [getattr(layer, name) for layer in model.layers if hasattr(layer, name)]


def pixels_and_weights(n_classes):
    model = build("linear", (48, 48, 1), n_classes)
    X = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    return X.reshape(3, -1) / 255, *model.get_layer("output").get_weights(), np.asarray(model(X))


def test_linear_is_one_softmax_over_the_pixels():
    X, weights, bias, proba = pixels_and_weights(7)
    assert weights.size + bias.size == 16_135
    wanted = np.exp(X @ weights + bias)
    np.testing.assert_allclose(proba, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-4)


def test_linear_with_two_classes_is_a_logistic_regression():
    X, weights, bias, proba = pixels_and_weights(2)
    score = X @ (weights[:, 1] - weights[:, 0]) + bias[1] - bias[0]
    np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-score)), rtol=1e-4)


@pytest.mark.parametrize(("l2", "penalty"), [(0.0, None), (0.01, 0.01)])
def test_the_penalty_of_linear_is_an_option(l2, penalty):
    regularizer = build("linear", (8, 8, 1), 7, {"l2": l2}).get_layer("output").kernel_regularizer
    assert getattr(regularizer, "l2", None) == (penalty and pytest.approx(penalty))


def test_the_feed_forward_network_of_imperial_is_the_published_one():
    model = build("imperial_mlp", (48, 48, 1), 7)
    assert model.count_params() == 3_313_007
    assert shapes(model, "Dense") == [(1000,), (1000,), (7,)]
    assert [function.__name__ for function in values(model, "activation")] == ["relu", "relu", "softmax"]
    assert values(model, "rate") == [0.5, 0.5]


def test_the_cnn_of_imperial_is_the_published_one():
    model = build("imperial_cnn", (48, 48, 1), 7)
    assert model.count_params() == 2_287_895
    assert shapes(model, "Conv2D") == [(44, 44, 36), (22, 22, 48), (22, 22, 48), (11, 11, 48), (11, 11, 48)]
    assert values(model, "kernel_size") == [(5, 5), *[(3, 3)] * 4]
    assert shapes(model, "AveragePooling2D") == [(22, 22, 36), (11, 11, 48), (5, 5, 48)]
    assert shapes(model, "Dense") == [(1000,), (1000,), (7,)]
    assert values(model, "rate") == [0.5, 0.5]


def test_options_reach_the_cnn_of_imperial():
    options = {
        "first_filters": 8,
        "first_kernel_size": 3,
        "first_padding": "same",
        "filters": [10, 12],
        "kernel_size": 5,
        "padding": "same",
        "pool_size": 3,
        "dense": [9],
        "dropout": 0.25,
    }
    model = build("imperial_cnn", (48, 48, 1), 7, options)
    assert shapes(model, "Conv2D") == [(48, 48, 8), *[(16, 16, 10)] * 2, *[(5, 5, 12)] * 2]
    assert shapes(model, "AveragePooling2D") == [(16, 16, 8), (5, 5, 10), (1, 1, 12)]
    assert shapes(model, "Dense") == [(9,), (7,)]
    assert model.get_layer("dropout1").rate == 0.25


def test_oslo_is_the_published_network():
    model = build("oslo", (48, 48, 1), 7)
    assert model.count_params() == 121_855
    assert shapes(model, "Flatten") == [(1024,)]
    assert shapes(model, "Dense") == [(64,), (7,), (7,)]
    assert model.get_layer("fc1").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert model.get_layer("output").activation.__name__ == "softmax"


OSLO_STUDIES = [
    *({"filters": [32, 64, 64, 64][:n], "dropout": d} for n, d in itertools.product((1, 4), (0.0, 0.5))),
    *({"kernel_size": n, "padding": p} for n, p in itertools.product((3, 4, 5), ("valid", "same"))),
    *({"pool_size": n, "pool_padding": "same"} for n in (2, 3, 4)),
    {"dense": [256, 128]},
]


@pytest.mark.parametrize("options", OSLO_STUDIES, ids=str)
def test_every_kind_of_point_of_the_studies_of_oslo_can_be_built(options):
    model = build("oslo", (48, 48, 1), 7, options)
    convolutions = [layer for layer in model.layers if layer.name.startswith("conv")]
    assert [layer.filters for layer in convolutions] == options.get("filters", [32, 64, 64])
    assert model.get_layer("dropout").rate == options.get("dropout", 0.5)
    assert shapes(model, "Dense")[:-1] == [(width,) for width in options.get("dense", [64, 7])]


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("oslo", (48, 48, 1), {"pool_size": 3}),
        ("oslo", (48, 48, 1), {"filters": [8] * 5}),
        ("oslo", (8, 8, 1), {"padding": "same", "filters": [8] * 4}),
        ("imperial_cnn", (8, 8, 1), {}),
    ],
)
def test_images_without_room_for_a_layer_are_refused(name, shape, options):
    with pytest.raises(ModelError, match=f"'{name}'.*needs larger images .*Computed output size"):
        build(name, shape, 7, options)
