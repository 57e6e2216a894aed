"""What every registered architecture keeps to: pixels in, probabilities out, cut, saved, exported."""

import numpy as np
import pytest

from cnnboost.cnn.architectures import ARCHITECTURES, build
from cnnboost.cnn.interface import output_kind
from cnnboost.cnn.model_file import read_model, write_model
from cnnboost.cnn.preprocessing import pixels_of
from cnnboost.deploy.graph import cnn_graph
from cnnboost.features.cut import Cut

# Small where an architecture can be; one without an entry is built as it is.
SMALL = {
    "digits": {"filters": [4], "dense": [8, 6]},
    "efficientnetv2": {
        "width_coefficient": 0.3,
        "depth_coefficient": 0.2,
        "top_filters": 16,
        "drop_stages": [5, 6],
    },
    "imperial_cnn": {"first_filters": 4, "filters": [4, 4], "dense": [8, 6]},
    "imperial_mlp": {"dense": [8, 6]},
    "vgg19": {"weights": "none"},
}


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def model(request):
    import keras

    keras.utils.set_random_seed(0)
    return build(request.param, (48, 48, 1), 7, SMALL.get(request.param))


@pytest.fixture(scope="module")
def images():
    X = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), dtype=np.uint8)
    X[1] = 200  # one colour
    return X


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_colour_images_become_probabilities(name):
    model = build(name, (48, 48, 3), 5, SMALL.get(name))
    proba = np.asarray(model(np.full((2, 48, 48, 3), 255, np.uint8), training=False))
    assert proba.shape == (2, 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_the_model_says_that_it_takes_raw_pixels(model):
    assert pixels_of(model) == "raw"
    assert output_kind(model) == "softmax"


def test_it_can_be_cut_at_every_layer_of_the_line(model, images):
    cut = Cut(model)
    names = [layer.name for layer in cut.named]
    fully = [f"fc{i}" for i in range(1, len(names) - 2)]
    assert names == ["input", "flatten", *fully, "output"]
    # The names in a summary are those of the cut.
    assert [layer.keras_name for layer in cut.named] == names
    features = cut.trunk(names)(images.astype(np.float32), training=False)
    for layer, got in zip(cut.named, features, strict=True):
        assert np.asarray(got).shape == (5, layer.width)
        assert np.isfinite(np.asarray(got)).all()
    np.testing.assert_array_equal(np.asarray(features[-1]), np.asarray(model(images, training=False)))


def test_it_survives_its_file(model, images, tmp_path):
    path = write_model(model, tmp_path / "cnn.keras")
    back = read_model(path)
    path.unlink()
    np.testing.assert_array_equal(
        np.asarray(back(images, training=False)), np.asarray(model(images, training=False))
    )
    assert [layer.name for layer in back.layers] == [layer.name for layer in model.layers]
    assert Cut(back).digest("output") == Cut(model).digest("output")
    assert pixels_of(back) == "raw"


@pytest.mark.parametrize(
    "model",
    # TensorFlow's converter takes 4 GB for the 80 MB of VGG19.
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "vgg19")) for name in sorted(ARCHITECTURES)],
    indirect=True,
)
def test_its_onnx_graph_agrees(model, images):
    import onnxruntime

    graph = cnn_graph(model, pixels="raw", kind="softmax", shape=(48, 48, 1))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    got = session.run(["probabilities"], {"image": images})[0]
    np.testing.assert_allclose(got, np.asarray(model(images, training=False)), rtol=0, atol=1e-5)
