import numpy as np
import pytest

from cnnboost.cnn.architectures import build
from cnnboost.errors import ModelError


def shapes(model, kind):
    return [layer.output.shape[1:] for layer in model.layers if type(layer).__name__ == kind]


def values(model, name):
    return [getattr(layer, name) for layer in model.layers if hasattr(layer, name)]


@pytest.mark.parametrize(
    ("name", "shape", "n_classes", "count"),
    [
        ("digits", (48, 48, 1), 7, 2_380_487),
        ("digits", (8, 8, 1), 10, 86_826),
        ("vgg", (48, 48, 1), 7, 1_199_015),
        ("linear", (48, 48, 1), 7, 16_135),
        ("imperial_mlp", (48, 48, 1), 7, 3_313_007),
        ("imperial_cnn", (48, 48, 1), 7, 2_287_895),
        ("oslo", (48, 48, 1), 7, 121_855),
    ],
)
def test_there_are_as_many_parameters_as_published(name, shape, n_classes, count):
    assert build(name, shape, n_classes).count_params() == count


def test_vgg_is_what_its_docstring_says():
    model = build("vgg", (48, 48, 1), 7)
    maps = [(48, 48, 32), *[(24, 24, 64)] * 2, *[(12, 12, 128)] * 2, *[(6, 6, 256)] * 2]
    assert shapes(model, "Conv2D") == shapes(model, "BatchNormalization") == maps
    assert values(model, "rate") == [0.3, 0.3]


def test_options_reach_vgg():
    options = {"filters": [8, 16], "convolutions": [2, 1], "dense": [], "dropout": 0, "kernel_size": 5}
    model = build("vgg", (16, 12, 3), 3, options)
    assert shapes(model, "Conv2D") == [(16, 12, 8), (16, 12, 8), (8, 6, 16)]
    assert set(values(model, "kernel_size")) == {(5, 5)}
    assert shapes(model, "Dense") == [(3,)]
    assert not shapes(model, "Dropout")


@pytest.mark.parametrize("n_classes", [2, 7])
def test_linear_is_one_softmax_over_the_pixels(n_classes):
    model = build("linear", (48, 48, 1), n_classes, {"l2": 0.01})
    X = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    output = model.get_layer("output")
    weights, bias = output.get_weights()
    wanted = np.exp(X.reshape(3, -1) / 255 @ weights + bias)
    np.testing.assert_allclose(model(X), wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-4)
    assert output.kernel_regularizer.l2 == pytest.approx(0.01)
    assert build("linear", (8, 8, 1), 2).get_layer("output").kernel_regularizer is None


def test_the_networks_of_imperial_are_the_published_ones():
    mlp, cnn = (build(f"imperial_{kind}", (48, 48, 1), 7) for kind in ("mlp", "cnn"))
    for model in (mlp, cnn):
        assert shapes(model, "Dense") == [(1000,), (1000,), (7,)]
        assert values(model, "rate") == [0.5, 0.5]
    assert [function.__name__ for function in values(mlp, "activation")] == ["relu", "relu", "softmax"]
    assert shapes(cnn, "Conv2D") == [(44, 44, 36), (22, 22, 48), (22, 22, 48), (11, 11, 48), (11, 11, 48)]
    assert values(cnn, "kernel_size") == [(5, 5), *[(3, 3)] * 4]
    assert shapes(cnn, "AveragePooling2D") == [(22, 22, 36), (11, 11, 48), (5, 5, 48)]


def test_options_reach_the_cnn_of_imperial():
    first = {"first_filters": 8, "first_kernel_size": 3, "first_padding": "same"}
    more = {"kernel_size": 5, "padding": "same", "pool_size": 3, "dense": [9], "dropout": 0.25}
    model = build("imperial_cnn", (48, 48, 1), 7, {**first, **more, "filters": [10, 12]})
    assert shapes(model, "Conv2D") == [(48, 48, 8), *[(16, 16, 10)] * 2, *[(5, 5, 12)] * 2]
    assert shapes(model, "AveragePooling2D") == [(16, 16, 8), (5, 5, 10), (1, 1, 12)]
    assert shapes(model, "Dense") == [(9,), (7,)]
    assert model.get_layer("dropout1").rate == 0.25


def test_oslo_is_the_published_network():
    model = build("oslo", (48, 48, 1), 7)
    assert shapes(model, "Flatten") == [(1024,)]
    assert shapes(model, "Dense") == [(64,), (7,), (7,)]
    assert model.get_layer("fc1").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert model.get_layer("fc2").kernel_regularizer is None
    assert model.get_layer("output").activation.__name__ == "softmax"


@pytest.mark.parametrize(
    "options",
    [
        {"filters": [32, 64, 64, 64], "dropout": 0.0},
        {"kernel_size": 5, "padding": "same"},
        {"pool_size": 4, "pool_padding": "same"},
        {"dense": [256, 128], "l2": 0.0},
    ],
    ids=str,
)
def test_every_kind_of_point_of_the_studies_of_oslo_can_be_built(options):
    model = build("oslo", (48, 48, 1), 7, options)
    convolutions = [layer for layer in model.layers if layer.name.startswith("conv")]
    assert [layer.filters for layer in convolutions] == options.get("filters", [32, 64, 64])
    assert {layer.padding for layer in convolutions} == {options.get("padding", "valid")}
    assert model.get_layer("dropout").rate == options.get("dropout", 0.5)
    assert shapes(model, "Dense")[:-1] == [(width,) for width in options.get("dense", [64, 7])]


@pytest.mark.parametrize(
    ("name", "shape", "options", "complaint"),
    [
        ("vgg", (48, 48, 1), {"filters": [8, 16], "convolutions": [1]}, "has 1 numbers, filters"),
        ("vgg", (6, 6, 1), {}, "needs larger images"),
        ("oslo", (48, 48, 1), {"pool_size": 3}, "needs larger images .*Computed output size"),
        ("imperial_cnn", (8, 8, 1), {}, "needs larger images .*Computed output size"),
    ],
)
def test_what_cannot_be_built_is_refused(name, shape, options, complaint):
    with pytest.raises(ModelError, match=f"'{name}'.*{complaint}"):
        build(name, shape, 7, options)


@pytest.mark.parametrize(("scaling", "factor"), [("unit", 1 / 255), ("raw", 1.0)])
def test_linear_may_see_raw_pixels(scaling, factor):
    model = build("linear", (8, 8, 1), 7, {"scaling": scaling})
    assert model.get_layer("pixels").scale == pytest.approx(factor)
