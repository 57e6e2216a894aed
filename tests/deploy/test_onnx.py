"""A fitted estimator becomes one file, or an error that says why not."""

from __future__ import annotations

import keras
import numpy as np
import onnxruntime
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cnnboost import BoostClassifier, CNNClassifier, CNNFeatures, HybridClassifier, Predictor
from cnnboost.deploy.onnx import export_onnx
from cnnboost.errors import DataError, ModelError, StoreError


@pytest.fixture(scope="module")
def hybrid(toy_cnn, toy_images):
    head = BoostClassifier(n_estimators=4, max_depth=2, n_jobs=1)
    return make_pipeline(CNNFeatures(FrozenEstimator(toy_cnn), layer="fc1"), head).fit(*toy_images)


def same(path, estimator, X):
    """See that a file gives what an estimator gives; return its metadata."""
    predictor = Predictor.load(path)
    np.testing.assert_allclose(predictor.predict_proba(X), estimator.predict_proba(X), atol=2e-6)
    np.testing.assert_array_equal(predictor.predict(X), estimator.predict(X))
    labels, _ = onnxruntime.InferenceSession(path).run(None, {"image": X})
    np.testing.assert_array_equal(estimator.classes_[labels], estimator.predict(X))
    return predictor.details


COMMON = {
    "format": 1,
    "recipe": None,
    "classes": list(range(10)),
    "pixels": "raw",
    "input": {"height": 8, "width": 8, "channels": 1},
    "native": {},
}


def test_a_pipeline(hybrid, toy_images, tmp_path):
    X = toy_images[0]
    path = export_onnx(hybrid, tmp_path / "hybrid.onnx", X)
    own = {"kind": "hybrid", "layer": "fc1", "mode": "plain", "rounds": 4}
    assert same(path, hybrid, X) == {**COMMON, **own}


@pytest.mark.parametrize("tta", ["none", "ten-crop"])
def test_a_cnn_keeps_its_views(toy_cnn, toy_images, tmp_path, tta):
    cnn = CNNClassifier.from_model(toy_cnn.model_, classes=toy_cnn.classes_, pixels=toy_cnn.pixels_)
    X = toy_images[0][:64]
    path = export_onnx(FrozenEstimator(cnn.set_params(tta=tta)), tmp_path / "cnn.onnx", X)
    own = {"kind": "cnn", "layer": None, "mode": None, "rounds": None, "tta": tta}
    assert same(path, cnn, X) == {**COMMON, **own}
    other = np.abs(cnn.predict_proba(X) - toy_cnn.predict_proba(X)).max()
    assert (other > 1e-3) == (tta != "none")


def test_a_hybrid_keeps_its_mode_and_views(toy_cnn, toy_images, tmp_path):
    X = toy_images[0]
    boost = BoostClassifier(n_estimators=3, max_depth=2, n_jobs=1)
    better = HybridClassifier(
        toy_cnn, ["fc1", "output"], mode="blend", boost=boost, tta="flip", norm=True
    ).fit(*toy_images)
    assert same(export_onnx(better, tmp_path / "better.onnx", X), better, X) == {
        **COMMON,
        "kind": "hybrid",
        "layer": "fc1+output",
        "layers": ["fc1", "output"],
        "mode": "blend",
        "rounds": better.head_.boost.n_estimators_,
        "tta": "flip",
        "networks": 1,
        "temperature": better.head_.temperature,
        "weight": better.head_.weight,
        "norm": True,
    }


def test_a_bagged_hybrid_is_one_graph_of_all_its_networks_and_heads(toy_bag, toy_images, tmp_path):
    X = toy_images[0]
    details = same(export_onnx(toy_bag, tmp_path / "bag.onnx", X), toy_bag, X)
    rounds = [member.head_.boost.n_estimators_ for member in toy_bag.members_]
    assert (details["networks"], details["rounds"]) == (2, sum(rounds))
    assert [head["rounds"] for head in details["heads"]] == rounds
    chosen = [member.head_.temperature for member in toy_bag.members_]
    assert [head["temperature"] for head in details["heads"]] == chosen
    assert "temperature" not in details


@pytest.mark.parametrize(
    "estimator",
    [
        CNNClassifier("digits"),
        HybridClassifier("cnn.keras"),
        make_pipeline(CNNFeatures("cnn.keras"), BoostClassifier()),
    ],
    ids=["cnn", "hybrid", "pipeline"],
)
def test_what_is_not_fitted_is_refused(estimator, toy_images, tmp_path):
    with pytest.raises(NotFittedError):
        export_onnx(estimator, tmp_path / "hybrid.onnx", toy_images[0])
    assert not list(tmp_path.iterdir())


def test_other_estimators_are_refused(toy_cnn, toy_images, tmp_path):
    X, y = toy_images
    line = make_pipeline(
        CNNFeatures(FrozenEstimator(toy_cnn)), StandardScaler(), BoostClassifier(n_estimators=2, n_jobs=1)
    )
    with pytest.raises(ModelError, match="give a CNNClassifier, a HybridClassifier, or a pipeline"):
        export_onnx(line.fit(X, y), tmp_path / "hybrid.onnx", X)


@pytest.mark.parametrize(
    "images", [np.zeros((4, 8, 8)), np.zeros((0, 8, 8, 1), np.uint8), np.zeros((4, 8, 8, 1), np.float32)]
)
def test_images_that_cannot_be_compared_on_are_refused(hybrid, images, tmp_path):
    with pytest.raises(DataError, match="must be uint8"):
        export_onnx(hybrid, tmp_path / "hybrid.onnx", images)


def test_a_graph_that_differs_is_not_written(hybrid, toy_images, tmp_path, monkeypatch):
    # Other probabilities than the graph's, as from a converter that got something wrong.
    original = BoostClassifier.predict_proba
    monkeypatch.setattr(BoostClassifier, "predict_proba", lambda self, X: np.roll(original(self, X), 1, 1))
    with pytest.raises(ModelError, match=r"labels of .* not written"):
        export_onnx(hybrid, tmp_path / "hybrid.onnx", toy_images[0])
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(hybrid, toy_images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"hybrid\.onnx cannot be written"):
        export_onnx(hybrid, tmp_path / "file" / "hybrid.onnx", toy_images[0])


@pytest.mark.parametrize(("pixels", "int8"), [("caffe", False), ("torch", True)])
def test_scales_by_channel_are_in_the_graph(toy_images, tmp_path, pixels, int8):
    X, y = toy_images[0][:300], toy_images[1][:300]
    X = np.concatenate([X, X // 2, 255 - X], axis=3)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [layers.Conv2D(8, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Dense(10, activation="softmax")])
    features = CNNFeatures(model, layer="flatten", pixels=pixels)
    hybrid = make_pipeline(features, BoostClassifier(n_estimators=3, max_depth=2, n_jobs=1)).fit(X, y)
    path = export_onnx(hybrid, tmp_path / "hybrid.onnx", X, int8=int8)
    predictor = Predictor.load(path)
    assert predictor.details["pixels"] == pixels
    assert (predictor.predict(X) == hybrid.predict(X)).mean() >= (0.95 if int8 else 0.999)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "bfloat16", "float64"])
def test_augmentation_and_precisions_inside_the_network(policy, toy_images, tmp_path):
    X, y = toy_images
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = keras.Sequential([layers.RandomFlip(), layers.Pipeline([layers.RandomRotation(0.1)])])(image)
    x = layers.RandomZoom(0.1)(layers.Rescaling(1 / 255)(x), training=True)
    x = layers.Flatten()(layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x))))
    x = layers.Dropout(0.5)(keras.ops.gelu(layers.Dense(12)(x)), training=True)
    keras.Model(image, layers.Dense(10, "softmax")(x)).save(tmp_path / "cnn.keras")
    keras.config.set_dtype_policy(before)
    cnn = CNNClassifier.load(tmp_path / "cnn.keras", pixels="raw")
    trees = make_pipeline(
        CNNFeatures(tmp_path / "cnn.keras", "fc1", pixels="raw"), BoostClassifier(n_estimators=3, max_depth=2)
    ).fit(X, y)
    for estimator in (cnn, trees):
        path = export_onnx(estimator, tmp_path / "out.onnx", X)
        labels, probabilities = onnxruntime.InferenceSession(path).run(None, {"image": X})
        expected = estimator.predict_proba(X)
        assert expected.dtype == np.float32
        assert (labels == expected.argmax(axis=1)).mean() >= 0.95
        assert np.median(np.abs(probabilities - expected)) < (1e-3 if policy != "float32" else 1e-6)
