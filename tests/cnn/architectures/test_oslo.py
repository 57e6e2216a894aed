import itertools
import re

import pytest

from cnnboost.cnn.architectures import build
from cnnboost.errors import ModelError


def test_oslo_is_the_published_network():
    model = build("oslo", (48, 48, 1), 7)
    kinds = [(type(layer).__name__, layer.output.shape[1:]) for layer in model.layers]
    assert model.count_params() == 121_855
    assert ("Flatten", (1024,)) in kinds
    assert [shape for kind, shape in kinds if kind == "Dense"] == [(64,), (7,), (7,)]
    assert model.get_layer("fc1").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert model.get_layer("output").activation.__name__ == "softmax"


def test_options_reach_the_builder():
    model = build("oslo", (48, 48, 1), 7, {"filters": [8, 16, 16], "dense": [32], "padding": "same"})
    assert model.get_layer("conv3").filters == 16
    assert [layer.name for layer in model.layers if layer.name.startswith("fc")] == ["fc1"]
    assert build("oslo", (48, 48, 1), 7, {"dropout": 0.0}).get_layer("dropout").rate == 0


STUDIES = [
    *(
        {"filters": [32, 64, 64, 64][:n], "dropout": d}
        for n, d in itertools.product((1, 2, 3, 4), (0.0, 0.5))
    ),
    *({"filters": [n, 2 * n, 2 * n]} for n in (8, 16, 32, 64)),
    *({"kernel_size": n, "padding": p} for n, p in itertools.product((3, 4, 5), ("valid", "same"))),
    *({"dropout": d} for d in (0.3, 0.7)),
    *({"pool_size": n, "pool_padding": "same"} for n in (2, 3, 4)),
    *({"dense": [first, second]} for first, second in itertools.product((64, 256), (7, 128))),
]


@pytest.mark.parametrize("options", STUDIES, ids=str)
def test_every_point_of_its_studies_can_be_built(options):
    model = build("oslo", (48, 48, 1), 7, options)
    n = len(options.get("filters", [32, 64, 64]))
    assert [layer.name for layer in model.layers if layer.name.startswith("conv")] == [
        f"conv{i}" for i in range(1, n + 1)
    ]


@pytest.mark.parametrize(
    ("shape", "options", "layer"),
    [
        ((48, 48, 1), {"pool_size": 3}, "pool3 needs 3x3 pixels or more and is given 2x2"),
        ((48, 48, 1), {"pool_size": 4}, "conv3 needs 3x3 pixels or more and is given 2x2"),
        ((48, 48, 1), {"filters": [8] * 5}, "conv5 needs 3x3 pixels or more and is given 1x1"),
        (
            (48, 48, 1),
            {"kernel_size": 5, "filters": [8] * 4},
            "conv4 needs 5x5 pixels or more and is given 2x2",
        ),
        (
            (8, 8, 1),
            {"padding": "same", "filters": [8] * 4},
            "pool4 needs 2x2 pixels or more and is given 1x1",
        ),
        ((8, 20, 1), {}, "pool2 needs 2x2 pixels or more and is given 1x7"),
    ],
)
def test_a_layer_without_room_is_named_and_what_would_do_does(shape, options, layer):
    with pytest.raises(ModelError) as caught:
        build("oslo", shape, 7, options)
    message = str(caught.value)
    assert layer in message
    remedies = message.split("what would do: ")[1].split(", or ")
    assert remedies
    for remedy in remedies:
        if fewer := re.fullmatch(r"filters with (\d) or fewer entries", remedy):
            change = {"filters": [8] * int(fewer[1])}
        else:
            key, value = remedy.split("=")
            change = {key: int(value) if value.isdigit() else value.strip("'")}
        build("oslo", shape, 7, {**options, **change})


def test_images_that_no_single_change_fits_are_too_small():
    with pytest.raises(ModelError, match=r"conv1 needs 3x3 .* given 1x1; larger images would do"):
        build("oslo", (1, 1, 1), 7)
