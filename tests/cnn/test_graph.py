import keras
import numpy as np
import pytest

from cnnboost.cnn.graph import Walk, float32_model, inference_model, is_half
from cnnboost.errors import ModelError

L = keras.layers


def walk(model):
    image = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    found = Walk(image)
    out = found.model(model, image)
    return found.steps, keras.Model(image, out)


def model_of(*stack, shape=(8, 8, 3), dtype="float32"):
    image = x = keras.Input(shape, dtype=dtype)
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)


def pixels(shape=(2, 8, 8, 3)):
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def random_layers():
    own = {
        "RandomColorJitter": {"brightness_factor": 0.1}, "RandomCrop": {"height": 8, "width": 8},
        "RandomPosterization": {"factor": 4}, "RandomZoom": {"height_factor": 0.2},
        "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2}, "RandomFlip": {},
        "RandomElasticTransform": {}, "RandomErasing": {}, "RandomGaussianBlur": {}, "RandomGrayscale": {},
        "RandomInvert": {}, "RandomPerspective": {}, "RandomShear": {"x_factor": 0.2}, "AugMix": {},
        "CutMix": {}, "MixUp": {}, "RandAugment": {}, "ActivityRegularization": {"l2": 0.1}, "Identity": {},
        "GaussianNoise": {"stddev": 0.5}, "Dropout": {"rate": 0.5}, "SpatialDropout2D": {"rate": 0.5},
        "AlphaDropout": {"rate": 0.5}, "GaussianDropout": {"rate": 0.5},
    }  # fmt: skip
    others = [name for name in dir(L) if name.startswith("Random") and name not in own]
    known = {**own, **{name: {"factor": 0.2} for name in others}}
    return sorted((name, options) for name, options in known.items() if hasattr(L, name))


class TestIdle:
    @pytest.mark.parametrize(("name", "options"), random_layers())
    def test_what_acts_in_training_only_is_left_out(self, name, options):
        model = model_of(getattr(L, name)(**options), L.Conv2D(2, 3))
        steps, walked = walk(model)
        assert [step.idle for step in steps] == [True, False]
        assert steps[1].sources == (-1,)
        np.testing.assert_array_equal(walked(pixels()), model(pixels(), training=False))

    def test_what_acts_in_inference_stays(self):
        model = model_of(
            L.CenterCrop(6, 6), L.Resizing(4, 4), L.Rescaling(2.0), L.AutoContrast(), L.Conv2D(2, 3)
        )
        steps, walked = walk(model)
        assert not any(step.idle for step in steps)
        np.testing.assert_allclose(walked(pixels()), model(pixels(), training=False), rtol=1e-6)

    def test_a_dropout_of_ones_own_that_always_drops_stays(self):
        class Always(L.Dropout):
            def call(self, x, training=False):
                return super().call(x, training=True)

        steps, _ = walk(model_of(Always(0.5), L.Flatten()))
        assert not steps[0].idle

    def test_pipelines_and_stacks_of_them_are_opened(self):
        stack = keras.Sequential(
            [L.RandomFlip(name="flip"), L.Pipeline([L.RandomRotation(0.1), L.Rescaling(2.0)])]
        )
        model = model_of(stack, L.Flatten())
        steps, walked = walk(model)
        assert [(step.kind, step.idle) for step in steps] == [
            ("RandomFlip", True), ("RandomRotation", True), ("Rescaling", False), ("Flatten", False),
        ]  # fmt: skip
        np.testing.assert_array_equal(walked(pixels()), model(pixels(), training=False))

    def test_augmentation_that_the_call_demands_is_left_out_too(self):
        image = keras.Input((8, 8, 3))
        x = L.Dropout(0.5)(L.RandomFlip()(image, training=True), training=True)
        _, walked = walk(keras.Model(image, L.Flatten()(x)))
        np.testing.assert_array_equal(walked(pixels()), pixels().reshape(2, -1))

    def test_integers_that_a_random_layer_makes_floats_are_floats(self):
        model = model_of(L.RandomFlip(), L.Conv2D(2, 3), dtype="uint8")
        steps, walked = walk(model)
        assert [step.kind for step in steps] == ["Cast", "Conv2D"]
        np.testing.assert_allclose(walked(pixels()), model(pixels(), training=False), rtol=1e-5)

    def test_a_crop_that_leaves_dense_layers_without_their_width_is_named(self):
        # Keras states the cropped size and crops in training only: such a model cannot run in inference.
        with pytest.raises(ModelError, match=r"'dense.*inference"):
            walk(model_of(L.RandomCrop(4, 4), L.Flatten(), L.Dense(2)))


class TestNesting:
    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_a_models_input_has_its_own_dtype(self, dtype):
        inner = keras.Sequential([keras.Input((8, 8, 3), dtype=dtype), L.Rescaling(1 / 3, dtype="float32")])
        model = model_of(L.Rescaling(1 / 7), inner, L.Flatten())
        _, walked = walk(model)
        np.testing.assert_allclose(walked(pixels()), model(pixels(), training=False), rtol=1e-6)

    def test_models_called_by_keyword_and_with_several_tensors(self):
        a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
        inner = keras.Model([a, b], [L.Subtract()([a, b]), L.Add()([a, b])])
        image = keras.Input((8, 8, 3))
        first, second = inner(inputs=[image, L.Rescaling(2.0)(image)])
        model = keras.Model(image, L.Flatten()(keras.ops.divide(first, second)))
        _, walked = walk(model)
        np.testing.assert_allclose(walked(pixels()), model(pixels(), training=False), rtol=1e-6)


def test_a_model_for_export_draws_nothing_and_gives_the_same():
    model = model_of(L.RandomFlip(), L.Rescaling(1 / 255), L.Flatten(), L.GaussianNoise(1.0), L.Dense(3))
    found = inference_model(model)
    assert not any("random" in type(layer).__name__.lower() for layer in found.layers)
    np.testing.assert_array_equal(found(pixels(), training=True), model(pixels(), training=False))


def test_constants_are_arrays_whatever_the_call_holds():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Flatten()(image[..., ::-1] - keras.ops.convert_to_tensor([1.0, 2.0, 3.0])))
    steps, walked = walk(model)
    assert isinstance(steps[1].arguments[0][1], np.ndarray)
    np.testing.assert_array_equal(walked(pixels()), model(pixels(), training=False))


HALF = ["mixed_float16", "float16", "mixed_bfloat16", "bfloat16"]


def network(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 3))
        x = L.RandomFlip()(L.Rescaling(1 / 255)(image))
        x = keras.Sequential([L.Conv2D(8, 3, use_bias=False), L.BatchNormalization(), L.ReLU()])(x)
        x = L.Add()([x, L.Conv2D(8, 1)(x) * 0.5])
        x = L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 4)(*[L.Reshape((36, 8))(x)] * 2))
        return keras.Model(image, L.Dense(5, "softmax", dtype="float32")(L.Dense(6, "relu")(x)))
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", [*HALF, "float64"])
def test_the_float32_model_differs_by_last_bits(policy):
    model = network(policy)
    found = float32_model(model)
    assert is_half(model) == (policy in HALF)
    assert {layer.compute_dtype for layer in found._flatten_layers()} == {"float32"}
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.float32)
    own = keras.ops.convert_to_numpy(keras.ops.cast(model(pixels, training=False), "float32"))
    bit = {"float64": 1e-6}.get(policy, 2.0**-8 if "bfloat16" in policy else 2.0**-11)
    np.testing.assert_allclose(found(pixels), own, atol=4 * bit * own.max())


def test_a_float32_model_is_left_as_it_is():
    model = network("float32")
    assert float32_model(model) is model
    assert not is_half(model)
