import keras
from keras import layers

from cnnboost.cnn.architectures import build
from cnnboost.features.cut import Cut
from cnnboost.timing.clock import Block, Timing
from cnnboost.timing.limits import PRODUCT_SIZE, count_operations, product_rates


class TestOperations:
    def test_oslo_by_hand(self):
        convolutions = 2 * (3 * 3 * 1 * 32 * 46**2 + 3 * 3 * 32 * 64 * 21**2 + 3 * 3 * 64 * 64 * 8**2)
        fc1 = 2 * 1024 * 64
        cnn = build("oslo", (48, 48, 1), 7)
        operations = count_operations(cnn, (48, 48, 1))
        assert operations.flop == convolutions + fc1 + 2 * 64 * 7 + 2 * 7 * 7
        assert operations.uncounted == ()
        trunk = Cut(cnn).trunk(["fc1"])
        assert count_operations(trunk, (48, 48, 1)).flop == convolutions + fc1
        assert count_operations(Cut(cnn).trunk(["flatten"]), (48, 48, 1)).flop == convolutions

    def test_other_convolutions_by_hand(self):
        image = keras.Input((12, 12, 3))
        x = layers.SeparableConv2D(5, 3)(image)  # 10x10
        x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)  # 8x8x10
        x = layers.BatchNormalization()(x)
        x = layers.Conv2DTranspose(4, 2, strides=2)(x)  # from 8x8
        x = layers.Conv2D(6, 3, strides=2, groups=2)(x)  # 7x7
        model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
        separable = 2 * (3 * 3 * 3 + 3 * 5) * 10 * 10
        depthwise = 2 * (3 * 3 * 5 * 2) * 8 * 8
        scaled = 2 * 8 * 8 * 10
        transposed = 2 * (2 * 2 * 4 * 10) * 8 * 8
        grouped = 2 * (3 * 3 * 2 * 6) * 7 * 7
        operations = count_operations(model, (12, 12, 3))
        assert operations.flop == separable + depthwise + scaled + transposed + grouped + 2 * 6 * 2
        assert operations.uncounted == ()

    def test_nested_shared_and_of_any_size(self):
        image = keras.Input((None, None, 3))
        shared = layers.Dense(3)
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(image))
        inner = keras.Model(image, shared(shared(x)))
        outer = keras.Sequential([keras.Input((6, 6, 3)), inner, layers.Dense(2)])
        expected = 2 * 9 * 36 + 2 * (2 * 9)
        assert count_operations(inner, (6, 6, 3)).flop == expected
        assert count_operations(outer, (6, 6, 3)).flop == expected + 2 * 6

    def test_layers_that_are_not_known_are_named(self):
        image = keras.Input((4, 4, 1))
        rows = layers.Reshape((4, 4))(image)
        x = layers.Dense(5)(layers.Flatten()(layers.Dot(axes=1, name="product")([rows, rows])))
        x = layers.EinsumDense("ab,bc->ac", 4, name="sum")(layers.LayerNormalization(name="norm")(x))
        operations = count_operations(keras.Model(image, x), (4, 4, 1))
        assert operations.uncounted == ("product (Dot)", "norm (LayerNormalization)", "sum (EinsumDense)")
        assert operations.flop == 2 * 16 * 5


def test_rates_are_those_of_the_quickest_call():
    timing = Timing((Block([0.5, 0.25], 1.0), Block([4.0, 0.5], 1.0)))
    assert product_rates({"product/numpy": timing}) == {"numpy": 2 * PRODUCT_SIZE**3 / 0.25}
