import pytest

from cnnboost.cnn.architectures import build
from cnnboost.errors import ModelError


def shapes(model, *kinds):
    return [layer.output.shape[1:] for layer in model.layers if type(layer).__name__ in kinds]


def test_the_feed_forward_network_is_the_published_one():
    model = build("imperial_mlp", (48, 48, 1), 7)
    assert model.count_params() == 3_313_007
    assert shapes(model, "Dense") == [(1000,), (1000,), (7,)]
    assert [layer.activation.__name__ for layer in model.layers if hasattr(layer, "units")] == [
        "relu",
        "relu",
        "softmax",
    ]
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.5, 0.5]


def test_the_cnn_is_the_published_one():
    model = build("imperial_cnn", (48, 48, 1), 7)
    assert model.count_params() == 2_287_895
    assert shapes(model, "Conv2D") == [(44, 44, 36), (22, 22, 48), (22, 22, 48), (11, 11, 48), (11, 11, 48)]
    assert [layer.kernel_size for layer in model.layers if hasattr(layer, "kernel_size")] == [
        (5, 5),
        *[(3, 3)] * 4,
    ]
    assert shapes(model, "AveragePooling2D") == [(22, 22, 36), (11, 11, 48), (5, 5, 48)]
    assert shapes(model, "Dense") == [(1000,), (1000,), (7,)]
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.5, 0.5]


def test_its_options_reach_the_builder():
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


def test_a_layer_without_room_is_named():
    with pytest.raises(
        ModelError, match=r"'imperial_cnn'.*pool3 needs 2x2 pixels .*given 1x1; a smaller pool"
    ):
        build("imperial_cnn", (8, 8, 1), 10)
