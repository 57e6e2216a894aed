import keras
import numpy as np
import pytest

from cnnboost import CNNFeatures, HybridClassifier
from cnnboost.cnn.classifier import CNNClassifier
from cnnboost.cnn.interface import check_model, output_kind
from cnnboost.errors import ModelError

L = keras.layers
GREY = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


def stack(*first, shape, **options):
    return keras.Sequential(
        [keras.Input(shape, **options), *first, L.Dense(5, "relu"), L.Dense(3, "softmax")]
    )


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (stack(L.Flatten(), shape=(28, 28)), GREY),
        (stack(shape=(784,)), GREY),
        (stack(shape=(768,)), COLOUR),
        (stack(L.LSTM(4), shape=(28, 28)), GREY),
    ],
    ids=["without channels", "flat grey", "flat colour", "rows in turn"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_images_in_another_form_are_taken(model, X, nested):
    if nested:
        image = keras.Input(model.input_shape[1:])
        model = keras.Model(image, model(image))
    expected = np.asarray(model(X.reshape(len(X), *model.input_shape[1:]).astype(np.float32) / 255))
    np.testing.assert_allclose(CNNClassifier.from_model(model).predict_proba(X), expected, atol=1e-6)
    assert CNNFeatures(model, "fc1").fit_transform(X).shape == (4, 5)


@pytest.mark.parametrize("form", ["dict", "dict of outputs"])
def test_one_input_in_a_structure_is_one_input(form):
    image = keras.Input((28, 28, 1), name="image")
    output = L.Dense(3, "softmax")(L.Flatten()(image))
    model = keras.Model(
        {"image": image} if form == "dict" else [image],
        {"p": output} if form == "dict of outputs" else [output],
    )
    expected = np.asarray(keras.Model(image, output)(GREY[..., None] / np.float32(255)))
    np.testing.assert_allclose(CNNClassifier.from_model(model).predict_proba(GREY), expected, atol=1e-6)


def test_whole_numbers_are_raw_pixels():
    image = keras.Input((28, 28, 1), dtype="int32")
    output = L.Dense(3, "softmax")(L.Flatten()(keras.ops.cast(image, "float32") / 255))
    model = keras.Model(image, output)
    cnn = CNNClassifier.from_model(model)
    assert cnn.pixels_ == "raw"
    np.testing.assert_allclose(cnn.predict_proba(GREY), np.asarray(model(GREY[..., None])), atol=1e-6)
    with pytest.raises(ModelError, match="takes whole numbers"):
        CNNClassifier.from_model(model, pixels="unit")


def test_a_fixed_batch_is_not_a_hindrance():
    model = stack(L.Conv2D(2, 3), L.Flatten(), shape=None, batch_shape=(2, 28, 28, 1))
    expected = np.concatenate(
        [np.asarray(model(part / np.float32(255))) for part in np.split(GREY[..., None], 2)]
    )
    np.testing.assert_allclose(CNNClassifier.from_model(model).predict_proba(GREY), expected, atol=1e-6)


def two_inputs():
    image, number = keras.Input((28, 28, 1)), keras.Input((4,))
    return keras.Model([image, number], L.Dense(3)(L.Concatenate()([L.Flatten()(image), number])))


class Subclass(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (keras.Sequential([L.Flatten(), L.Dense(3)]), r"never built.*keras\.Input.*model\.build"),
        (Subclass(), r"subclass of keras\.Model \(Subclass\).*cannot be walked"),
        (stack(L.Flatten(), shape=(3, 28, 28)), r"channels first.*Permute\(\(3, 1, 2\)\)"),
        (stack(shape=(13,)), "not images"),
        (stack(L.Flatten(), shape=(5, 28, 28, 1)), "not images"),
        (stack(L.Embedding(9, 2), L.Flatten(), shape=(784,)), "not images"),
        (two_inputs(), "2 inputs"),
    ],
    ids=["unbuilt", "subclass", "channels first", "table", "video", "tokens", "two inputs"],
)
def test_other_models_are_refused_by_name(model, match):
    with pytest.raises(ModelError, match=match):
        check_model(model, "the model")
    for estimator in (CNNFeatures(model, "output"), HybridClassifier(model, layer="output")):
        with pytest.raises(ModelError, match=match):
            estimator.fit(GREY, [0, 1, 0, 1])


def test_the_permute_that_is_advised_works():
    model = stack(L.Flatten(), shape=(3, 16, 16))
    wrapped = keras.Sequential([keras.Input((16, 16, 3)), L.Permute((3, 1, 2)), model])
    expected = np.asarray(model(COLOUR.transpose(0, 3, 1, 2) / np.float32(255)))
    np.testing.assert_allclose(CNNClassifier.from_model(wrapped).predict_proba(COLOUR), expected, atol=1e-6)


def scores(*stack):
    return keras.Sequential([keras.Input((8, 8, 1)), *stack])


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        ([L.Dense(3, activation="softmax")], "softmax"),
        ([L.Dense(3), L.Softmax()], "softmax"),
        ([L.Dense(3), L.Activation("softmax")], "softmax"),
        ([L.Dense(3)], "logits"),
        ([L.Dense(1, activation="sigmoid")], "sigmoid"),
        ([keras.Sequential([L.Dense(3, activation="softmax")])], "softmax"),
    ],
)
def test_what_an_output_is(stack, kind):
    assert output_kind(scores(L.Flatten(), *stack)) == kind


@pytest.mark.parametrize(
    "stack",
    [
        [L.Conv2D(3, 3)],
        [L.Flatten(), L.Dense(3, activation="relu")],
        [L.Flatten(), L.Dense(3, activation="sigmoid")],
        [L.Flatten(), L.Dense(1)],
    ],
)
def test_an_output_without_probabilities_is_refused(stack):
    with pytest.raises(ModelError, match="class"):
        output_kind(scores(*stack))
