import keras
import numpy as np
import pytest

from cnnboost import CNNClassifier
from cnnboost.cnn.architectures import build
from cnnboost.cnn.options import TrainingOptions
from cnnboost.cnn.training_model import make_training_model
from cnnboost.errors import ParameterError
from tests.cnn.toys import pooled

STAGES = [(4, 0.5)]


def flat(input_shape=(8, 8, 1), n_classes=10):
    layers = keras.layers
    stack = [keras.Input(input_shape), layers.Conv2D(4, 3), layers.Flatten()]
    return keras.Sequential([*stack, layers.Dense(n_classes, "softmax")])


class OfItsOwn(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2, "softmax")

    def call(self, x):
        return self.dense(keras.ops.mean(x, axis=(1, 2)))


def nested(input_shape=(8, 8, 1), n_classes=10):
    layers, image = keras.layers, keras.Input(input_shape)
    inside = keras.Sequential(
        [keras.Input(input_shape), layers.Conv2D(4, 3), layers.Flatten()], name="inside"
    )
    head = keras.Sequential(
        [keras.Input((144,)), layers.Dense(8, "relu"), layers.Dense(n_classes, name="last")]
    )
    return keras.Model(image, layers.Softmax()(head(inside(image))))


class Silent(keras.layers.Layer):
    """Says nothing about itself; Keras refuses to guess what made it where that is no plain value."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def call(self, x):
        return self.change(x)


def silent(input_shape=(8, 8, 1), n_classes=10):
    layers = keras.layers
    stack = [keras.Input(input_shape), Silent(lambda x: 2 * x), layers.GlobalAveragePooling2D()]
    return keras.Sequential([*stack, layers.Dense(n_classes, "softmax")])


def kinds(model):
    """Return the layers by kind, those of networks inside among them."""
    return {type(layer).__name__: layer for layer in model._flatten_layers()}


def state(model):
    return [np.array(weights) for weights in model.get_weights()]


@pytest.mark.parametrize("options", [{"progressive_resizing": STAGES}, {"precision": "bfloat16"}], ids=str)
def test_it_has_the_weights_and_gives_what_the_network_gives(options, toy_images):
    model, X = pooled(), toy_images[0][:20]
    assert make_training_model(model, TrainingOptions()) is model
    before = state(model), model.to_json()
    twin = make_training_model(model, TrainingOptions(**options))
    assert twin is not model
    for mine, its in zip(state(model), state(twin), strict=True):
        np.testing.assert_array_equal(mine, its)
    close = 2e-2 if "precision" in options else 1e-6
    np.testing.assert_allclose(twin(X), model(X), atol=close)
    # Training it changes nothing of the network.
    twin.compile("sgd", "sparse_categorical_crossentropy")
    twin.fit(X, toy_images[1][:20], verbose=0)
    assert any((mine != its).any() for mine, its in zip(state(model), state(twin), strict=True))
    for mine, was in zip(state(model), before[0], strict=True):
        np.testing.assert_array_equal(mine, was)
    assert model.to_json() == before[1]
    assert model.input_shape == (None, 8, 8, 1)


def test_bfloat16_computes_and_float32_is_kept_and_from_the_last_weights_on():
    layers = keras.layers
    stack = [keras.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(10)]
    model = keras.Sequential([*stack, layers.Activation("softmax")])
    by_kind = kinds(make_training_model(model, TrainingOptions(precision="bfloat16")))
    assert by_kind["Conv2D"].compute_dtype == "bfloat16"
    assert [by_kind[name].compute_dtype for name in ("Dense", "Activation")] == ["float32"] * 2
    assert {weights.dtype for weights in by_kind["Conv2D"].weights} == {"float32"}


def test_the_architecture_that_the_message_names_can_be_resized():
    model = build("vgg", (16, 16, 1), 3, {"filters": [4, 8], "convolutions": [1, 1], "dense": [6]})
    twin = make_training_model(model, TrainingOptions(progressive_resizing=STAGES, precision="bfloat16"))
    assert twin(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 3)


def test_weights_that_depend_on_the_size_are_refused_by_name():
    with pytest.raises(ParameterError, match="need a network that ends in global pooling, such as 'vgg'"):
        make_training_model(flat(), TrainingOptions(progressive_resizing=STAGES))
    assert make_training_model(flat(), TrainingOptions(precision="bfloat16")).output_shape == (None, 10)


def test_a_model_that_is_not_a_graph_of_layers_is_refused():
    model = OfItsOwn()
    model(np.zeros((1, 8, 8, 1), np.float32))
    image = keras.Input((8, 8, 1))
    for strange in (model, keras.Model(image, keras.layers.Softmax()(model(image)))):
        with pytest.raises(ParameterError, match=r"precision='bfloat16' needs .* is a class of its own"):
            make_training_model(strange, TrainingOptions(precision="bfloat16"))


def test_networks_inside_compute_in_bfloat16_too(toy_images):
    keras.utils.set_random_seed(0)
    model, X = nested(), toy_images[0][:20] / np.float32(255)
    twin = make_training_model(model, TrainingOptions(precision="bfloat16"))
    inner = {layer.name: layer.compute_dtype for layer in twin._flatten_layers() if layer.weights}
    assert inner.pop("last") == "float32"
    assert kinds(twin)["Softmax"].compute_dtype == "float32"
    assert kinds(twin)["Conv2D"].compute_dtype == "bfloat16"
    assert list(inner.values()).count("bfloat16") == 2, "the convolution and the other dense layer"
    np.testing.assert_allclose(twin(X), model(X), rtol=0.05, atol=0.02)
    assert {layer.compute_dtype for layer in kinds(model).values()} == {"float32"}


def test_networks_inside_are_of_one_size(toy_images):
    with pytest.raises(ParameterError, match=r"without networks inside; 'inside' takes images of one size"):
        CNNClassifier(nested, progressive_resizing=STAGES, epochs=2).fit(*toy_images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "bfloat16"}, r"cannot be trained with precision='bfloat16': [^.]*Silent"),
        (
            {"progressive_resizing": STAGES, "precision": "bfloat16"},
            "with progressive_resizing and precision='bfloat16': .* global pooling",
        ),
    ],
    ids=["precision", "both"],
)
def test_a_layer_that_cannot_be_copied_is_named(options, words, toy_images):
    with pytest.raises(ParameterError, match=words) as refused:
        CNNClassifier(silent, epochs=2, **options).fit(*toy_images)
    assert ("pooling" in str(refused.value)) == ("progressive_resizing" in options)


@pytest.mark.parametrize("options", [{"progressive_resizing": STAGES}, {"precision": "bfloat16"}], ids=str)
def test_what_a_layer_has_measured_goes_with_it(options, toy_images):
    layers, X = keras.layers, toy_images[0][:50].astype(np.float32)
    normal = layers.Normalization()
    normal.adapt(X)
    stack = [keras.Input((8, 8, 1)), normal, layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*stack, layers.Dense(10, "softmax")])
    its = make_training_model(model, TrainingOptions(**options)).layers[0]
    np.testing.assert_allclose(
        np.asarray(its(X), np.float32), np.asarray(normal(X)), atol=0.05 if "precision" in options else 1e-5
    )


@pytest.mark.parametrize("options", [{"progressive_resizing": STAGES}, {"precision": "bfloat16"}], ids=str)
def test_what_is_kept_takes_and_gives_float32_at_full_size(options, toy_images, tmp_path):
    cnn = CNNClassifier(pooled, epochs=2, learning_rate=0.01, **options).fit(*toy_images)
    assert cnn.input_shape_ == (8, 8, 1)
    assert {layer.compute_dtype for layer in cnn.model_.layers} == {"float32"}
    again = CNNClassifier.load(cnn.save(tmp_path / "cnn.keras"))
    np.testing.assert_array_equal(again.predict_proba(toy_images[0]), cnn.predict_proba(toy_images[0]))
    untrained = CNNClassifier(pooled, epochs=0).fit(*toy_images)
    assert (untrained.model_.get_weights()[0] != cnn.model_.get_weights()[0]).any()
