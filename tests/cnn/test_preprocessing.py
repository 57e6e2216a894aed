"""The scale of pixels that a model expects follows from what it does to them before its first weights."""

import keras
import numpy as np
import pytest

from cnnboost import CNNClassifier, CNNFeatures
from cnnboost.cnn.architectures import build
from cnnboost.cnn.preprocessing import find_scales, pixels_of, resolve_pixels
from cnnboost.errors import ModelError, ParameterError

L, ops = keras.layers, keras.ops
MEANS = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATIONS = np.array([0.229, 0.224, 0.225], np.float32)


def network(prepare, shape=(8, 8, 3), **options):
    image = keras.Input(shape, **options)
    x = L.Flatten()(L.Conv2D(2, 3)(prepare(image)))
    return keras.Model(image, L.Dense(3, activation="softmax")(x))


def sequential(*stack):
    return keras.Sequential([keras.Input((8, 8, 3)), *stack])


def normalised(mean, variance):
    return lambda x: L.Normalization(mean=[mean] * 3, variance=[variance] * 3)(x)


def batch_norm(mean, variance):
    layer = L.BatchNormalization()
    layer.build((None, 8, 8, 3))
    layer.moving_mean.assign(np.full(3, mean))
    layer.moving_variance.assign(np.full(3, variance))
    return layer


def between_its_extremes(x):
    low, high = (f(x, axis=(1, 2, 3), keepdims=True) for f in (ops.min, ops.max))
    return (x - low) / (high - low)


WRITTEN = {
    "after augmentation": (lambda i: L.Rescaling(1 / 255)(L.RandomFlip()(i)), "raw"),
    "nested": (lambda i: sequential(L.Resizing(8, 8), L.Rescaling(1 / 255))(i), "raw"),
    "operators": (lambda i: i / 127.5 - 1, "raw"),
    "a product": (lambda i: i * (1 / 255), "raw"),
    "a merging layer": (lambda i: L.Multiply()([i, np.full((1, 1, 1, 3), 1 / 255, np.float32)]), "raw"),
    "BGR less means": (lambda i: i[..., ::-1] - np.array([103.9, 116.8, 123.7], np.float32), "raw"),
    "unit, then means": (lambda i: (i / 255 - MEANS) / DEVIATIONS, "raw"),
    "means of raw pixels": (normalised(120, 4000), "raw"),
    "padded before": (lambda i: L.Rescaling(1 / 255)(L.ZeroPadding2D(3)(i)), "raw"),
    "padded after": (lambda i: L.ZeroPadding2D(9)(L.Rescaling(1 / 127.5, -1)(i)), "raw"),
    "cropped after": (lambda i: L.RandomCrop(6, 6)(L.Rescaling(1 / 255)(i)), "raw"),
    "noise, dropout, crop": (
        lambda i: L.Rescaling(1 / 255)(
            L.GaussianNoise(0.1)(L.Dropout(0.1)(L.CenterCrop(6, 6)(L.RandomZoom(0.1)(i))))
        ),
        "raw",
    ),
    "two halves": (lambda i: L.Concatenate()([i / 255, i / 255]), "raw"),
    "resized by an operation": (lambda i: ops.image.resize(ops.cast(i, "float32"), (16, 16)) / 255, "raw"),
    "clipped to bytes": (lambda i: ops.clip(i, 0, 255), "raw"),
    "a mark": (lambda i: L.Rescaling(1.0)(i), "raw"),
    "statistics of raw pixels": (lambda i: batch_norm(48, 3000)(i), "raw"),
    "statistics after scaling": (lambda i: batch_norm(0.45, 0.07)(i / 255), "raw"),
    "one path as it is": (lambda i: L.Add()([L.Conv2D(3, 1)(i / 255), i]), "raw"),
    "two paths": (lambda i: L.Concatenate()([L.Conv2D(2, 1)(i / 255), L.Conv2D(2, 1)(i / 127.5 - 1)]), "raw"),
    "to bytes": (lambda i: L.Rescaling(255.0)(i), "unit"),
    "to bytes and back": (lambda i: L.Rescaling(1 / 255)(L.Rescaling(255.0)(i)), "unit"),
    "to bytes for a network that normalises": (
        lambda i: normalised(0.485, 0.05)(L.Rescaling(1 / 255)(L.Rescaling(255.0)(i))),
        "unit",
    ),
    "to symmetric": (lambda i: L.Rescaling(2.0, offset=-1)(i), "unit"),
    "means of unit pixels": (normalised(0.5, 0.08), "unit"),
    "means by channel": (lambda i: (i - MEANS) / DEVIATIONS, "unit"),
    "statistics of unit pixels": (lambda i: batch_norm(0.45, 0.07)(i), "unit"),
    "from symmetric": (lambda i: (i + 1) / 2, "symmetric"),
    "means of symmetric pixels": (normalised(0.01, 0.3), "symmetric"),
    "statistics of symmetric pixels": (lambda i: batch_norm(-0.1, 0.3)(i), "symmetric"),
    "nothing": (lambda i: i, None),
    "moved only": (lambda i: ops.cast(L.ZeroPadding2D(1)(L.Identity()(i)), "float32"), None),
    "means that were never measured": (normalised(0, 1), None),
    "statistics that were never measured": (lambda i: L.BatchNormalization()(i), None),
    "statistics of a short training": (lambda i: batch_norm(0.2, 0.63)(i), None),
    "extremes": (between_its_extremes, None),
    "its own deviation": (lambda i: i / (ops.std(i, axis=(1, 2, 3), keepdims=True) + 1e-6), None),
    "attention": (lambda i: L.Multiply()([i, L.Conv2D(3, 1, activation="sigmoid")(i)]), None),
    "code": (lambda i: L.Lambda(lambda x: x / 255)(i), None),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_the_scale_is_found_however_it_is_written(written):
    prepare, scale = WRITTEN[written]
    assert pixels_of(network(prepare)) == scale


@pytest.mark.parametrize(
    ("deviation", "mean", "scale"),
    [
        (255, 0, "raw"),
        (127.5, 127.5, "raw"),
        (64, 120, "raw"),
        (0.5, 0.5, "unit"),
        (0.229, 0.485, "unit"),
        (2, -1, "symmetric"),
    ],
)
def test_the_scale_follows_from_mean_and_deviation(deviation, mean, scale):
    assert pixels_of(network(lambda i: (L.RandomFlip()(i) - mean) / deviation)) == scale
    assert pixels_of(network(normalised(mean, deviation**2))) == scale


def test_paths_that_disagree_are_not_guessed():
    model = network(
        lambda i: L.Concatenate()(
            [L.Conv2D(2, 1)(L.Rescaling(1 / 255, name="bytes")(i)), L.Conv2D(2, 1)(i * 2 - 1)]
        )
    )
    assert pixels_of(model) is None
    with pytest.raises(ModelError, match=r"here: .*'bytes' expects raw.*expects unit.*--pixels"):
        resolve_pixels(model, None, "here")
    assert resolve_pixels(model, "unit") == "unit"


def test_integers_are_raw_pixels():
    assert pixels_of(network(lambda i: ops.cast(i, "float32"), dtype="uint8")) == "raw"


def test_images_of_any_size():
    image = keras.Input((None, None, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(L.Rescaling(1 / 255)(L.CenterCrop(96, 96)(image))))
    assert pixels_of(keras.Model(image, x)) == "raw"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_changes_nothing(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for written in ("operators", "BGR less means", "means by channel", "to symmetric", "nothing"):
            prepare, scale = WRITTEN[written]
            assert pixels_of(network(prepare)) == scale, written
    finally:
        keras.config.set_dtype_policy(before)


def test_a_model_with_code_of_its_own_says_nothing():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2)

        def call(self, x):
            return self.dense(L.Flatten()(x / 255))

    image = keras.Input((8, 8, 1))
    assert find_scales(keras.Model(image, Own()(image))) == {}
    assert find_scales(keras.Model(image, Own()(L.Rescaling(1 / 255, name="before")(image)))) == {
        "raw": "before"
    }


@pytest.mark.parametrize("scaling", ["imagenet", "raw"])
def test_our_own_vgg19_takes_raw_pixels(scaling):
    model = build("vgg19", (48, 48, 1), 7, {"weights": "none", "scaling": scaling})
    assert pixels_of(model) == "raw"


def test_what_is_found_is_what_is_fed():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    model = network(lambda i: L.Rescaling(1 / 255)(L.RandomFlip()(i)))
    inner = network(lambda i: i)
    inner.set_weights(model.get_weights()[-len(inner.get_weights()) :])
    assert CNNFeatures(model, layer="output").fit(X).pixels_ == "raw"
    found, fed = (CNNClassifier.from_model(m).predict_proba(X) for m in (model, inner))
    np.testing.assert_allclose(found, fed, atol=1e-6)  # Rescaling inside, or 0..1 from outside


@pytest.mark.parametrize("pixels", ["caffe", "torch"])
def test_scales_by_channel_need_three_channels(pixels):
    model = network(lambda i: i, shape=(8, 8, 1))
    with pytest.raises(ParameterError, match=f"'{pixels}'.*3 channels.*1"):
        CNNClassifier.from_model(model, pixels=pixels)
    with pytest.raises(ParameterError, match="3 channels"):
        CNNFeatures(model, layer="flatten", pixels=pixels).fit(np.zeros((2, 8, 8, 1), np.uint8))
