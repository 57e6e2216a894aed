import keras
import numpy as np
import pytest

from cnnboost.cnn.architectures import build
from cnnboost.cnn.model_file import read_model
from cnnboost.errors import LayerError, ModelError
from cnnboost.features.cut import Cut

L = keras.layers


def functional(*stack, shape=(8, 8, 1), name=None):
    image = x = keras.Input(shape)
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x, name=name)


def names(model):
    return {layer.name: (layer.kind, layer.width) for layer in Cut(model).named}


def run(model, X):
    return [np.asarray(out) for out in keras.tree.flatten(model(X, training=False))]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)


def nested():
    inner = functional(
        L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="norm"), L.ReLU(name="relu"), name="body"
    )
    image = keras.Input((8, 8, 1))
    x = inner(image) * 2.0 + 1.0
    x = L.Dropout(0.9, name="drop")(x, training=True)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    x = L.Dense(6, name="embedding")(x)
    x = L.BatchNormalization(name="bn")(x)
    x = L.Activation("relu", name="act")(x)
    return keras.Model(image, L.Softmax(name="probabilities")(L.Dense(3, name="scores")(x)))


class TestNames:
    def test_dense_layers_before_the_flatten_have_no_number(self):
        model = functional(
            L.GlobalAveragePooling2D(),
            L.Dense(64),
            L.Reshape((8, 8, 1)),
            L.Flatten(),
            L.Dense(5, "relu"),
            L.Dense(2),
        )
        assert [(n, w) for n, (_, w) in names(model).items()] == [
            ("input", 64),
            ("flatten", 64),
            ("fc1", 5),
            ("output", 2),
        ]

    def test_an_activation_used_elsewhere_too_is_not_the_dense_layers(self):
        image = keras.Input((8, 8, 1))
        dense = L.Dense(4, name="dense")(L.Flatten()(image))
        both = L.Concatenate()([L.ReLU()(dense), dense])
        model = keras.Model(image, L.Dense(2, "softmax")(both))
        assert next(c.keras_name for c in Cut(model).named if c.name == "fc1") == "dense"

    def test_sequential_nested_sequential_and_h5(self, tmp_path):
        model = keras.Sequential([
            keras.Input((8, 8, 1)),
            keras.Sequential([L.Conv2D(2, 3, name="conv"), L.Flatten(name="flat")], name="body"),
            L.Dense(4, "relu", name="hidden"), L.Dense(3, "softmax", name="out"),
        ])  # fmt: skip
        expected = {"input": "input", "flatten": "body/flat", "fc1": "hidden", "output": "out"}
        assert {c.name: c.keras_name for c in Cut(model).named} == expected
        model.save(tmp_path / "old.h5")
        assert {c.name: c.keras_name for c in Cut(read_model(tmp_path / "old.h5")).named} == expected

    def test_a_network_of_keras_applications(self):
        model = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=5)
        cut = Cut(model)
        assert {c.name: c.width for c in cut.named} == {"input": 27648, "flatten": 1280, "output": 5}
        assert len(cut.layers) > 150


class TestTrunk:
    def test_it_is_the_full_models_own_activation(self, toy_cnn, toy_images):
        model, cut = toy_cnn.model_, Cut(toy_cnn.model_)
        x = toy_images[0][:9].astype(np.float32)
        for layer in ("flatten", "fc1", "fc2", "output", "conv1"):
            own = keras.Model(model.input, model.get_layer(layer).output)(x, training=False)
            (features,) = run(cut.trunk([layer]), x)
            np.testing.assert_array_equal(features, np.asarray(own).reshape(9, -1))

    def test_every_declared_width_is_the_produced_one(self, X):
        cut = Cut(nested())
        places = cut.layers
        outputs = run(cut.trunk([place.keras_name for place in places]), X)
        assert [out.shape for out in outputs] == [(5, place.width) for place in places]
        np.testing.assert_array_equal(outputs[0], X.reshape(5, -1))

    def test_a_nested_model_whose_graph_demands_dropout_is_in_inference_mode(self, X):
        model = nested()
        np.testing.assert_array_equal(*(run(Cut(model).trunk(["fc1"]), X)[0] for _ in range(2)))
        inner = model.get_layer("body")
        mean = np.asarray(inner(X, training=False)).mean(axis=(1, 2)) * 2 + 1
        np.testing.assert_allclose(run(Cut(model).trunk(["flatten"]), X)[0], mean, rtol=1e-5)

    def test_weights_are_shared(self, X):
        model = nested()
        trunk = Cut(model).trunk(["fc1"])
        before = run(trunk, X)[0]
        model.set_weights([w + 0.1 for w in model.get_weights()])
        assert not np.allclose(before, run(trunk, X)[0])


class TestDigest:
    def test_what_is_above_the_cut_does_not_matter(self):
        model = nested()
        before, output = Cut(model).digest("fc1"), Cut(model).digest("output")
        assert Cut(model).digest("act") == before, "another name of the layer"
        places = [place.keras_name for place in Cut(model).layers]
        assert Cut(model).digest("drop") == Cut(model).digest(places[places.index("drop") - 1])
        head = model.get_layer("scores")
        head.set_weights([w + 1 for w in head.get_weights()])
        assert Cut(model).digest("fc1") == before
        assert Cut(model).digest("output") != output

    def test_every_weight_below_the_cut_matters(self):
        model, digests = nested(), set()
        for weight in range(9):
            weights = model.get_weights()
            weights[weight].flat[0] += 1e-3
            model.set_weights(weights)
            digests.add(Cut(model).digest("fc1"))
        assert len(digests) == 9


class TestUnknown:
    def test_the_layers_there_are_are_listed_with_widths(self):
        with pytest.raises(LayerError) as caught:
            Cut(build("oslo", (48, 48, 1), 7)).find("fc3")
        assert "Did you mean 'fc" in str(caught.value)
        for listed in ("flatten (1024)", "fc1 (64)", "output (7)", "conv1 (67712)"):
            assert listed in str(caught.value)

    def test_a_name_that_stands_twice_needs_its_path(self):
        def body(name):
            return functional(L.Conv2D(2, 3, padding="same", name="conv"), name=name)

        image = keras.Input((8, 8, 1))
        a = body("a")(image)
        b = functional(L.Conv2D(2, 3, name="conv"), shape=(8, 8, 2), name="b")(a)
        model = keras.Model(image, L.Flatten()(b))
        cut = Cut(model)
        with pytest.raises(LayerError, match="a/conv, b/conv"):
            cut.find("conv")
        assert cut.find("a/conv").width == 128
        X = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 1)).astype(np.float32)
        found = run(cut.trunk(["a/conv", "output"]), X)
        own = [model.get_layer("a")(X), model(X)]
        for one, other in zip(found, own, strict=True):
            np.testing.assert_allclose(one, np.reshape(other, (2, -1)), rtol=1e-5)
        assert [layer.name for layer in cut.trunk(["output"]).layers].count("conv") == 2

    def test_a_keras_name_that_means_something_else_by_structure_gets_a_number(self):
        model = functional(
            L.GlobalAveragePooling2D(keepdims=True, name="pool"),
            L.Conv2D(5, 1, name="scores"),
            L.Flatten(name="flatten"),
            L.Softmax(name="fc1"),
        )
        cut = Cut(model)
        assert [(place.name, place.keras_name, place.width) for place in cut.layers[1:]] == [
            ("flatten", "pool", 1), ("scores", "scores", 5), ("flatten@1", "flatten@1", 5),
            ("output", "fc1", 5),
        ]  # fmt: skip
        assert cut.trunk([place.name for place in cut.layers]).output_shape[2:] == [(None, 5)] * 3

    def test_operations_of_a_file_and_of_the_trunk_may_share_their_automatic_names(self, tmp_path):
        image = keras.Input((8, 8, 1))
        keras.Model(image, L.Flatten()(keras.ops.reshape(image, (-1, 4, 16)))).save(tmp_path / "a.keras")
        keras.backend.clear_session()
        cut = Cut(read_model(tmp_path / "a.keras"))
        keras.backend.clear_session()
        names = [place.name for place in cut.layers]
        assert cut.trunk(names).output_shape == [(None, 64)] * 3

    def test_a_layer_without_fixed_width_is_refused(self):
        image = keras.Input((None, None, 1))
        model = keras.Model(image, L.GlobalMaxPooling2D()(L.Conv2D(2, 3, name="conv")(image)))
        with pytest.raises(LayerError, match=r"'conv'.*fixed width"):
            Cut(model).find("conv")

    def test_a_subclassed_model_inside_is_named(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__(name="own")
                self.conv = L.Conv2D(2, 3)

            def call(self, x):
                return self.conv(x)

        image = keras.Input((8, 8, 1))
        with pytest.raises(ModelError, match=r"'own'.*rebuild"):
            Cut(keras.Model(image, L.Flatten()(Own()(image))))


def test_a_cnn_for_images_of_any_size_is_cut_where_widths_are_known():
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    cut = Cut(keras.Model(inputs, keras.layers.Dense(3, name="scores")(x)))
    assert [(layer.name, layer.width) for layer in cut.layers] == [("flatten", 4), ("output", 3)]
    with pytest.raises(LayerError, match="no layer 'input'"):
        cut.find("input")
    assert cut.trunk(["flatten"])(np.zeros((2, 9, 7, 1), np.float32)).shape == (2, 4)
