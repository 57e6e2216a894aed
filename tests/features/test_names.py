import keras
import pytest

from cnnboost.errors import LayerError
from cnnboost.features.cut import Cut

L, ops = keras.layers, keras.ops


def places(build, shape=(8, 8, 3)):
    image = keras.Input(shape)
    cut = Cut(keras.Model(image, build(image)))
    return {place.name: place.keras_name for place in cut.named if place.name != "input"}, cut


def conv(x):
    return L.Conv2D(4, 3, activation="relu")(x)


def squeezed(x):
    scale = L.GlobalAveragePooling2D(name="squeeze")(x)
    scale = L.Dense(4, "sigmoid", name="excite")(L.Dense(2, "relu", name="reduce")(scale))
    return x * L.Reshape((1, 1, 4))(scale)


class TestFlatten:
    @pytest.mark.parametrize(
        ("build", "name"),
        [
            (lambda x: L.GlobalAveragePooling1D(name="p")(L.Reshape((64, 3))(x)), "p"),
            (lambda x: L.GlobalMaxPooling3D(name="p")(L.Reshape((8, 8, 3, 1))(x)), "p"),
            (lambda x: L.Flatten(name="p")(L.AdaptiveAveragePooling2D(1)(x)), "p"),
            (lambda x: L.Reshape((-1,), name="p")(x), "p"),
            (lambda x: ops.reshape(x, (-1, 192)), "reshape"),
            (lambda x: ops.mean(x, axis=(1, 2)), "mean"),
            (lambda x: L.GlobalAveragePooling2D(name="p")(squeezed(conv(x))), "p"),
            (lambda x: L.Flatten(name="p")(L.MaxPooling2D(8)(x)), "p"),
            (lambda x: L.Flatten(name="p")(L.Conv2D(4, 1)(L.Conv2D(4, 1)(L.MaxPooling2D(8)(x)))), "p"),
            (lambda x: L.MultiHeadAttention(1, 2)(*[L.Reshape((64, 3))(x)] * 2)[:, 0], "get_item"),
        ],
    )  # fmt: skip
    def test_it_is_the_last_place_where_maps_become_a_vector(self, build, name):
        found, _ = places(lambda image: L.Dense(2, name="o")(L.Dense(5, "relu", name="d")(build(image))))
        assert found.pop("flatten").rstrip("_0123456789") == name
        assert found == {"fc1": "d", "output": "o"}

    def test_a_classifier_of_convolutions_after_a_global_pooling(self):
        def head(image):
            x = L.GlobalAveragePooling2D(keepdims=True, name="pool")(conv(image))
            x = L.Activation("hard_silu", name="act")(L.Conv2D(9, 1)(x))
            return L.Softmax(name="soft")(L.Flatten()(L.Conv2D(5, 1)(L.Dropout(0.1)(x))))

        assert places(head)[0] == {"flatten": "pool", "fc1": "act", "output": "soft"}

    def test_branches_that_are_joined_have_no_single_one(self):
        def two(image):
            x = L.Concatenate()([L.Flatten(name="a")(image), L.Flatten(name="b")(conv(image))])
            return L.Dense(2, name="o")(L.Dense(6, "relu", name="d")(x))

        found, cut = places(two)
        assert found == {"fc1": "d", "output": "o"}
        with pytest.raises(LayerError, match=r"'flatten': there is no single `flatten`: a, b.* a \(192\)"):
            cut.find("flatten")

    def test_feature_maps_that_are_given_back_are_flattened_nowhere(self):
        found, cut = places(lambda image: L.Conv2D(3, 1, name="o")(squeezed(conv(image))))
        assert found == {"output": "o"}
        with pytest.raises(LayerError, match="nothing between its feature maps and its output"):
            cut.find("fc1")


class TestDense:
    @pytest.mark.parametrize(
        ("activation", "kind"),
        [
            (ops.relu, "Relu"), (ops.gelu, "Gelu"), (ops.tanh, "Tanh"), (keras.activations.relu, "ReLU"),
            (keras.activations.silu, "Silu"), (lambda x: x * ops.sigmoid(x), "Multiply"),
            (lambda x: ops.where(x > 0, x, 0.1 * x), "Where"), (lambda x: ops.maximum(x, 0), "Maximum"),
            (lambda x: L.ReLU()(L.Dropout(0.5)(L.BatchNormalization()(x))), "ReLU"),
            (lambda x: ops.relu(L.LayerNormalization()(x) * 2.0), "Relu"),
        ],
    )  # fmt: skip
    def test_fc1_is_after_its_activation(self, activation, kind):
        _, cut = places(lambda image: L.Dense(2)(activation(L.Dense(5)(L.Flatten()(image)))))
        assert (cut.find("fc1").kind, cut.find("fc1").width) == (kind, 5)

    def test_residual_blocks_are_numbered_in_order(self):
        def block(image):
            x = L.Dense(8, "relu", name="a")(L.Flatten()(image))
            return L.Dense(2, name="o")(L.ReLU()(x + L.Dense(8, name="c")(L.Dense(6, "relu", name="b")(x))))

        found, _ = places(block)
        assert [found[name] for name in ("fc1", "fc2", "fc3", "output")] == ["a", "b", "c", "o"]

    def test_side_by_side_they_have_no_number(self):
        def beside(image):
            x = L.Flatten(name="flat")(image)
            return L.Dense(2, name="o")(L.Dense(6, "relu", name="a")(x) + L.Dense(6, "relu", name="b")(x))

        found, cut = places(beside)
        assert found == {"flatten": "flat", "output": "o"}
        with pytest.raises(LayerError, match="side by side"):
            cut.find("fc1")

    @pytest.mark.parametrize(
        "end", [L.Softmax(), lambda x: ops.softmax(x / 2.0), lambda x: L.Softmax()(L.Reshape((2,))(x))]
    )
    def test_the_last_is_output_after_its_softmax(self, end):
        found, cut = places(lambda image: end(L.Dense(2)(L.Dense(4, "relu", name="d")(L.Flatten()(image)))))
        assert list(found) == ["flatten", "fc1", "output"]
        assert "oftmax" in cut.find("output").kind
        assert found["fc1"] == "d"

    def test_inside_nested_models(self):
        head = keras.Sequential([
            L.Dense(5), keras.Sequential([L.ReLU(name="r"), L.Dense(2, name="o")], name="in")
        ], name="head")  # fmt: skip
        found, _ = places(lambda image: head(L.Flatten(name="flat")(image)))
        assert found == {"flatten": "flat", "fc1": "head/in/r", "output": "head/in/o"}


def test_several_outputs_have_no_structural_names_and_keep_their_keras_names():
    def two(image):
        return [
            L.Dense(2, name="a")(L.Flatten(name="fa")(image)),
            L.Dense(3, name="b")(L.Flatten()(conv(image))),
        ]

    found, cut = places(two)
    assert found == {}
    for name in ("flatten", "fc1", "output"):
        with pytest.raises(LayerError, match=r"2 outputs \(a, b\).* fa \(192\)"):
            cut.find(name)
    assert cut.find("a").width == 2


def test_a_layer_that_is_called_twice_and_a_call_with_two_outputs_are_told_apart():
    def build(image):
        relu = L.ReLU(name="relu")
        x, scores = L.MultiHeadAttention(1, 2, name="mha")(
            *[L.Reshape((64, 3))(image)] * 2, return_attention_scores=True
        )
        return L.Dense(2)(relu(L.Dense(5)(relu(L.Flatten()(ops.matmul(scores[:, 0], x))))))

    _, cut = places(build)
    assert (cut.find("relu@1").width, cut.find("relu@2").width) == (192, 5)
    assert (cut.find("mha[0]").width, cut.find("mha[1]").width) == (192, 4096)
    for name, words in (("relu", r"relu@1, relu@2"), ("mha", r"mha\[0\], mha\[1\]")):
        with pytest.raises(LayerError, match=words):
            cut.find(name)
