import keras
import numpy as np
import pytest

from cnnboost.cnn.precision import float32_model, is_half

L = keras.layers
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
