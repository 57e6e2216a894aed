import pytest

from cnnboost.cnn.architectures import build
from cnnboost.errors import ModelError
from cnnboost.features.cut import Cut


def shapes(model, kind):
    return [layer.output.shape[1:] for layer in model.layers if type(layer).__name__ == kind]


@pytest.mark.parametrize(
    ("shape", "n_classes", "count"), [((48, 48, 1), 7, 2_380_487), ((8, 8, 1), 10, 86_826)]
)
def test_digits_has_as_many_parameters_as_its_docstring_says(shape, n_classes, count):
    assert build("digits", shape, n_classes).count_params() == count


def test_vgg_is_what_its_docstring_says():
    model = build("vgg", (48, 48, 1), 7)
    assert model.count_params() == 1_199_015
    maps = [(48, 48, 32), *[(24, 24, 64)] * 2, *[(12, 12, 128)] * 2, *[(6, 6, 256)] * 2]
    assert shapes(model, "Conv2D") == shapes(model, "BatchNormalization") == maps
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.3, 0.3]
    widths = [(layer.name, layer.width) for layer in Cut(model).named]
    assert widths == [("input", 2304), ("flatten", 256), ("fc1", 128), ("output", 7)]


def test_options_reach_vgg():
    options = {"filters": [8, 16], "convolutions": [2, 1], "dense": [], "dropout": 0, "kernel_size": 5}
    model = build("vgg", (16, 12, 3), 3, options)
    assert shapes(model, "Conv2D") == [(16, 12, 8), (16, 12, 8), (8, 6, 16)]
    assert {layer.kernel_size for layer in model.layers if hasattr(layer, "kernel_size")} == {(5, 5)}
    assert shapes(model, "Dense") == [(3,)]
    assert not shapes(model, "Dropout")


@pytest.mark.parametrize(
    ("shape", "options", "complaint"),
    [
        ((48, 48, 1), {"filters": [8, 16], "convolutions": [1]}, "has 1 numbers, filters"),
        ((6, 6, 1), {}, "needs larger images"),
    ],
)
def test_what_vgg_cannot_be_is_refused(shape, options, complaint):
    with pytest.raises(ModelError, match=complaint):
        build("vgg", shape, 7, options)
