import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnboost.cnn.model_file import read_model
from cnnboost.errors import ModelError
from cnnboost.features.cut import Cut

L, ops = keras.layers, keras.ops


def digest(build, shape=(4, 4, 2), dtype="float32"):
    image = keras.Input(shape, dtype=dtype)
    return Cut(keras.Model(image, L.Flatten()(build(image)))).digest("output")


# Each is one place in a graph: ways to write it down of which no two give the same for all images.
PLACES = {
    "order": [lambda x: 1 - x, lambda x: x - 1, lambda x: x - 2, lambda x: x + 1],
    "division": [lambda x: 2 / x, lambda x: x / 2, lambda x: 2.5 / x],
    "power": [lambda x: x**2, lambda x: 2**x, lambda x: x**3],
    "comparison": [lambda x: ops.where(x > 1, x, 0.0), lambda x: ops.where(x > 1, 0.0, x)],
    "branch": [lambda x: (x * 2) - (x * 3), lambda x: (x * 3) - (x * 2), lambda x: (x * 2) - (x * 2)],
    "concatenation": [
        lambda x: ops.concatenate([x, x * 2], axis=-1), lambda x: ops.concatenate([x * 2, x], axis=-1),
        lambda x: ops.concatenate([x, x * 2], axis=1), lambda x: L.Concatenate(axis=2)([x, x * 2]),
    ],
    "slice": [
        lambda x: x[:, 1:3], lambda x: x[:, 0:2], lambda x: x[:, :, 1:3], lambda x: x[:, ::2],
        lambda x: x[:, ::-2], lambda x: x[..., 1:], lambda x: x[..., None, :1],
    ],
    "output": [
        lambda x: ops.split(x, 2, axis=1)[0], lambda x: ops.split(x, 2, axis=1)[1],
        lambda x: ops.split(x, 2, axis=2)[0],
    ],
    "axis": [lambda x: ops.mean(x, axis=1), lambda x: ops.mean(x, axis=2), lambda x: ops.max(x, axis=1)],
    "keyword": [
        lambda x: ops.clip(x, 0, 1), lambda x: ops.clip(x, 0, 2), lambda x: ops.clip(x, x_min=1, x_max=2),
    ],
    "array": [
        lambda x: x * np.arange(2000, dtype="float32").reshape(1000, 2)[:1],
        lambda x: x * np.float32([[0, 2]]), lambda x: x * keras.Variable([[1.0, 0.0]]),
        lambda x: x * ops.convert_to_tensor([[3.0, 0.0]]),
    ],
    "long array": [
        lambda x: ops.reshape(x, (-1, 32)) * np.arange(32.0, dtype="float32"),
        lambda x: ops.reshape(x, (-1, 32)) * np.float32([*range(17), 9, *range(18, 32)]),
    ],
    "dtype": [
        lambda x: ops.cast(ops.cast(x, "int32"), "float32"),
        lambda x: ops.cast(ops.cast(x, "float16"), "float32"),
        lambda x: L.Rescaling(1 / 3)(x), lambda x: L.Rescaling(1 / 3, dtype="float16")(x),
        lambda x: L.Rescaling(1 / 3, dtype="mixed_bfloat16")(x),
    ],
    "setting": [
        lambda x: L.LayerNormalization(epsilon=1e-3)(x), lambda x: L.LayerNormalization(epsilon=1e-2)(x),
        lambda x: L.LayerNormalization(axis=1)(x), lambda x: L.Activation("relu")(x),
        lambda x: L.Activation("tanh")(x), lambda x: L.LeakyReLU(0.1)(x), lambda x: L.LeakyReLU(0.2)(x),
    ],
    "layout": [
        lambda x: L.AveragePooling2D(2)(x), lambda x: L.AveragePooling2D(2, data_format="channels_first")(x),
        lambda x: L.AveragePooling2D(2, padding="same", strides=1)(x),
    ],
    "attention": [
        lambda x: attend(x, x * 2, x * 3), lambda x: attend(x, x * 3, x * 2),
        lambda x: attend(x * 2, x, x * 3), lambda x: attend(x, x * 2, x * 3, use_causal_mask=True),
    ],
}  # fmt: skip


def attend(*tensors, **options):
    query, value, key = (ops.reshape(x, (-1, 16, 2)) for x in tensors)
    return L.Attention()([query, value, key], **options)


PAIRS = [(place, i, j) for place, ways in PLACES.items() for i in range(len(ways)) for j in range(i)]


@given(
    st.sampled_from(PAIRS), st.lists(st.sampled_from(["order", "branch", "comparison", "array"]), max_size=2)
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_graphs_that_differ_in_one_place_differ_and_equal_ones_do_not(pair, before):
    place, i, j = pair

    def build(way):
        def stacked(x):
            for name in before:
                x = PLACES[name][0](x)
            return PLACES[place][way](x)

        return stacked

    assert digest(build(i)) != digest(build(j))
    assert digest(build(i)) == digest(build(i))


def test_input_shape_and_dtype_matter():
    def flat(x):
        return ops.cast(x, "float32")

    shapes = [digest(flat, (4, 4, 2)), digest(flat, (2, 8, 2)), digest(flat, (4, 4, 2), "uint8")]
    assert len(set(shapes)) == 3


def test_which_layer_has_which_weights_matters_and_their_dtype():
    def chain(first, second, dtype="float32"):
        image = keras.Input((2, 2, 1))
        x = L.Flatten()(image)
        for values in (first, second):
            layer = L.Dense(4, use_bias=False, dtype=dtype, kernel_initializer="zeros")
            x = layer(x)
            layer.set_weights([values])
        return Cut(keras.Model(image, x)).digest("output")

    a, b = np.eye(4), np.eye(4)[::-1]
    assert len({chain(a, b), chain(b, a), chain(a, a), chain(a, b, "bfloat16")}) == 4
    assert chain(a, b) == chain(a, b)


def test_a_shared_layer_is_as_good_as_two_with_its_weights():
    def twice(shared):
        image = keras.Input((2, 2, 1))
        layers = [L.Dense(4, kernel_initializer="ones") for _ in range(2)]
        x = layers[0](L.Flatten()(image))
        return Cut(keras.Model(image, layers[0 if shared else 1](x))).digest("output")

    assert twice(True) == twice(False)


def test_what_acts_in_training_only_does_not_matter():
    def stack(*layers):
        def build(x):
            for layer in layers:
                x = layer(x)
            return x * 2

        return digest(build)

    plain = stack()
    assert plain == stack(L.RandomFlip(seed=1), L.Dropout(0.5)) == stack(L.GaussianNoise(0.5))
    assert plain == stack(L.Pipeline([L.RandomRotation(0.1)]))
    assert plain != stack(L.CenterCrop(4, 3))


def test_the_words_of_keras_may_mean_something_else_in_a_layer_of_ones_own():
    @keras.saving.register_keras_serializable("test_digest")
    class Own(L.Layer):
        def __init__(self, rate=1.0, seed=0, kernel_initializer="zeros", **kwargs):
            super().__init__(**kwargs)
            self.settings = {"rate": rate, "seed": seed, "kernel_initializer": kernel_initializer}

        def call(self, x):
            return x * self.settings["rate"] + self.settings["seed"]

        def get_config(self):
            return {**super().get_config(), **self.settings}

    found = [Own(), Own(rate=2.0), Own(seed=1), Own(kernel_initializer="ones"), Own(name="other")]
    found = [digest(lambda x, layer=layer: layer(x)) for layer in found]
    assert len(set(found)) == 4
    assert found[0] == found[4]


def test_a_layer_that_cannot_say_what_it_is_made_of_is_named():
    class Silent(L.Layer):
        def __init__(self, table):
            super().__init__()
            self.table = table

        def call(self, x):
            return self.table(x)

    with pytest.raises(ModelError, match=r"'silent.*get_config"):
        digest(lambda x: Silent(ops.relu)(x))


SCRIPT = """
import sys
import keras
L, ops = keras.layers, keras.ops
for _ in range(int(sys.argv[1])):  # automatic names count on
    ops.relu(L.Dense(2)(L.Flatten()(keras.Input((4, 4, 1)))))
keras.utils.set_random_seed(0)
image = keras.Input((4, 4, 1))
a = ops.transpose(L.RandomCrop(4, 4)(image), axes=(0, 2, 1, 3))[:, 1:3]
inner = keras.Sequential([keras.Input((4, 1)), L.Flatten(), L.Dense(3)])
b = L.TimeDistributed(inner)(image)
x = L.Concatenate()([L.Flatten()(a), L.Flatten()(b), L.Flatten()(ops.split(image, 2, axis=1)[1])])
model = keras.Model(image, L.Dense(3)(ops.relu(L.Dense(5)(x / 2.0))))
from cnnboost.features.cut import Cut
model.save(sys.argv[2])
print("digest", Cut(model).digest("output"))
"""


def test_another_process_other_automatic_names_and_a_file_give_the_same(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["", "7", str(tmp_path / "here.keras")])
    exec(SCRIPT, {})
    command = [sys.executable, "-c", SCRIPT, "0", str(tmp_path / "there.keras")]
    subprocess.run(command, timeout=200, check=True)
    printed = re.findall("digest (.*)", capfd.readouterr().out)
    assert len(printed) == 2
    read = [Cut(read_model(path)).digest("output") for path in tmp_path.glob("*.keras")]
    assert len({*printed, *read}) == 1
