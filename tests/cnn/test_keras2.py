import base64
import importlib
import inspect
import marshal
import zipfile

import keras
import numpy as np
import pytest

from cnnboost.cnn import keras2
from cnnboost.cnn.model_file import read_model
from cnnboost.errors import ModelError
from tests.cnn.old_files import functional, image_input, layer, sequential, write_h5, write_keras

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (2, 6, 6, 3)).astype(np.float32)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a functional model of some layers after the images."""

    def written(*layers, weights=(), shape=(6, 6, 3), **more):
        config = functional([image_input(shape), *layers])
        return write_h5(tmp_path / "old.h5", config, weights, **more)

    return written


def dense(inputs=108, units=3):
    return [RNG.normal(size=(inputs, units)), RNG.normal(size=units)]


def answer(path, X=IMAGES):
    return np.asarray(read_model(path)(X))


def op(function, node, name="op"):
    return layer("TFOpLambda", name, node, function=function)


def after(name, kind="Flatten", **config):
    """Return a layer that is called on the output of another."""
    return layer(kind, "next", [[name, 0, 0, {}]], **config)


class TestSequential:
    WEIGHTS = RNG.normal(size=(3, 3, 3, 2)), RNG.normal(size=2), *dense(32)

    def stack(self, **first):
        return [
            {"class_name": "Conv2D", "config": {"name": "c", "filters": 2, "kernel_size": [3, 3], **first}},
            {"class_name": "Flatten", "config": {"name": "f", "data_format": "channels_last"}},
            {"class_name": "Dense", "config": {"name": "d", "units": 3, "activation": "softmax_v2"}},
        ]

    @pytest.mark.parametrize("form", ["list", "without input", "built later", "with input"])
    def test_every_form_of_its_input(self, tmp_path, form):
        stack = self.stack(batch_input_shape=[None, 6, 6, 3])
        config = sequential(*stack)
        if form == "list":  # Keras before 2.2.3
            config = {"class_name": "Sequential", "config": stack}
        elif form == "built later":
            config = sequential(*self.stack(), build_input_shape=[None, 6, 6, 3])
        elif form == "with input":
            config = sequential(image_input(), *stack)
        kernel, bias, *head = self.WEIGHTS
        path = write_h5(tmp_path / "old.h5", config, [("c", [kernel, bias]), ("d", head)])
        new = [keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
        network = keras.Sequential([keras.Input((6, 6, 3)), *new])
        network.set_weights(self.WEIGHTS)
        np.testing.assert_allclose(answer(path), network(IMAGES), atol=1e-6)

    def test_one_that_says_no_shape_is_refused(self, tmp_path):
        path = write_h5(tmp_path / "old.h5", sequential(*self.stack()))
        with pytest.raises(ModelError, match="does not say what shape its images have"):
            read_model(path)


@pytest.mark.parametrize(
    ("kind", "arguments", "weights"),
    [
        (
            "DepthwiseConv2D",
            {"kernel_size": [3, 3], "groups": 1},
            [RNG.normal(size=(3, 3, 3, 1)), np.ones(3)],
        ),
        ("BatchNormalization", {"axis": [3], "dtype": "float32"}, RNG.uniform(0.5, 1, (4, 3))),
        ("SpatialDropout2D", {"rate": 0.5, "trainable": True, "noise_shape": None}, []),
        (
            "Activation",
            {"activation": "relu", "dtype": {"class_name": "Policy", "config": {"name": "float32"}}},
            [],
        ),
        ("Rescaling", {"scale": 0.1, "offset": 0.0, "batch_input_shape": [None, 6, 6, 3]}, []),
    ],
)
def test_arguments_that_keras_3_lacks_are_left_out(written, kind, arguments, weights):
    called = layer(kind, "x", [["image", 0, 0, {}]], **arguments)
    path = written(
        called, after("x", "GlobalAveragePooling2D"), weights={"x": weights} if len(weights) else ()
    )
    known = {k: v for k, v in arguments.items() if k in ("kernel_size", "rate", "activation", "scale")}
    model = keras.Sequential([keras.Input((6, 6, 3)), getattr(keras.layers, kind)(**known)])
    model.set_weights(list(weights))
    np.testing.assert_allclose(answer(path), np.mean(model(IMAGES), axis=(1, 2)), rtol=1e-5)


def test_a_recurrent_layer_without_time_major(written):
    arguments = {"units": 2, "time_major": False, "implementation": 2, "reset_after": True}
    reshaped = layer("Reshape", "r", [["image", 0, 0, {}]], target_shape=[6, 18])
    weights = [RNG.normal(size=shape) / 99 for shape in ((18, 6), (2, 6), (2, 6))]
    path = written(reshaped, after("r", "GRU", **arguments), weights={"next": weights})
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Reshape((6, 18)), keras.layers.GRU(2)])
    model.set_weights(weights)
    np.testing.assert_allclose(answer(path), model(IMAGES), atol=1e-6)


OPERATIONS = {
    "mobilenet": ("math.truediv", ["image", 0, 0, {"y": 127.5, "name": None}], lambda x: x / 127.5),
    "less": ("math.subtract", ["_CONSTANT_VALUE", -1, 1.0, {"y": ["image", 0, 0]}], lambda x: 1 - x),
    "sum": ("__operators__.add", ["image", 0, 0, {"y": ["image", 0, 0], "name": None}], lambda x: 2 * x),
    "means": (
        "nn.bias_add",
        ["image", 0, 0, {"bias": [-1.5, 2.0, 3.0], "data_format": "NHWC"}],
        lambda x: x + np.array([-1.5, 2, 3]),
    ),
    "power": ("math.pow", ["image", 0, 0, {"y": 2}], lambda x: x**2),
    "clip": (
        "clip_by_value",
        ["image", 0, 0, {"clip_value_min": 9.0, "clip_value_max": 90.0}],
        lambda x: x.clip(9, 90),
    ),
    "reverse": ("reverse", ["image", 0, 0, {"axis": [-1], "name": None}], lambda x: x[..., ::-1]),
    "transpose": (
        "compat.v1.transpose",
        ["image", 0, 0, {"perm": [0, 2, 1, 3], "name": "t", "conjugate": False}],
        lambda x: x.transpose(0, 2, 1, 3),
    ),
    "concat": (
        "concat",
        [["image", 0, 0, {"axis": -1}], ["image", 0, 0, {"axis": -1}]],
        lambda x: np.concatenate([x, x], -1),
    ),
    "norm": (
        "math.l2_normalize",
        ["image", 0, 0, {"axis": 3}],
        lambda x: x / np.sqrt((x**2).sum(3, keepdims=True)),
    ),
    "leaky": ("nn.leaky_relu", ["image", 0, 0, {}], lambda x: x),
}


class TestOperations:
    def test_they_are_operations_of_keras(self):
        for module, kind, _, settings in keras2._OPS.values():
            operation = getattr(importlib.import_module(module), kind)
            assert {name for name, _ in settings.values()} <= set(inspect.signature(operation).parameters)

    @pytest.mark.parametrize("case", OPERATIONS)
    def test_they_do_what_they_did(self, written, case):
        function, node, expected = OPERATIONS[case]
        path = written(op(function, node), after("op"))
        X = IMAGES.astype(np.float64)
        np.testing.assert_allclose(answer(path), expected(X).reshape(2, -1), rtol=1e-5)

    def test_slices(self, written):
        spec = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
        node = ["image", 0, 0, {"slice_spec": spec}]
        path = written(layer("SlicingOpLambda", "s", node, function="__operators__.getitem"), after("s"))
        np.testing.assert_array_equal(answer(path), IMAGES[..., ::-1].reshape(2, -1))

    def test_grey_to_colour(self, written):
        path = written(op("image.grayscale_to_rgb", ["image", 0, 0, {}]), after("op"), shape=(6, 6, 1))
        X = IMAGES[..., :1]
        np.testing.assert_array_equal(answer(path, X), X.repeat(3, -1).reshape(2, -1))

    @pytest.mark.parametrize(
        ("function", "node", "named"),
        [
            ("image.adjust_brightness", ["image", 0, 0, {"delta": 0.1}], "image.adjust_brightness"),
            ("image.resize", ["image", 0, 0, {"size": [3, 3], "method": "area"}], "image.resize .*'method'"),
            ("math.truediv", ["image", 0, 0, {"z": 2.0}], "math.truediv .*'z'"),
            ("reverse", ["image", 0, 0, {"axis": [1, 2]}], "reverse .*'axis'"),
            ("cast", ["image", 0, 0, {}], "cast .*'dtype'"),
        ],
    )
    def test_what_is_not_certain_is_refused(self, written, function, node, named):
        with pytest.raises(ModelError, match=rf"old.h5 uses TensorFlow's {named}"):
            read_model(written(op(function, node)))

    def test_weights_go_by_name_on_two_branches(self, written):
        """Layers of one shape beside an operation: their order in the file is that of Keras 2."""
        layers = [
            op("math.multiply", ["image", 0, 0, {"y": 2.0}]),
            layer("Flatten", "f", [["op", 0, 0, {}]]),
            layer("Flatten", "g", [["image", 0, 0, {}]]),
            layer("Dense", "z", [["f", 0, 0, {}]], units=3),
            layer("Dense", "a", [["g", 0, 0, {}]], units=3),
            layer("Subtract", "s", [["z", 0, 0, {}], ["a", 0, 0, {}]]),
        ]
        z, a = dense(), dense()
        path = written(*layers, weights=[("a", a), ("z", z)])
        X = IMAGES.reshape(2, -1).astype(np.float64)
        np.testing.assert_allclose(answer(path), 2 * X @ z[0] + z[1] - X @ a[0] - a[1], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("outer", ["functional", "sequential"])
def test_a_network_inside_counts_its_calls_from_one(tmp_path, outer):
    inside = functional(
        [
            image_input(name="inner_image"),
            op("math.truediv", ["inner_image", 0, 0, {"y": 255.0}], "scaled"),
            layer("GlobalAveragePooling2D", "pool", [["scaled", 0, 0, {}]]),
        ],
        "inside",
    )
    head = {"units": 3, "activation": "linear"}
    if outer == "sequential":
        config = sequential(inside, {"class_name": "Dense", "config": {"name": "d", **head}})
    else:
        nested = {**inside, "name": "inside", "inbound_nodes": [[["image", 0, 0, {}]]]}
        config = functional([image_input(), nested, layer("Dense", "d", [["inside", 1, 0, {}]], **head)])
    kernel, bias = dense(3)
    path = write_h5(tmp_path / "old.h5", config, [("d", [kernel, bias])])
    np.testing.assert_allclose(answer(path), (IMAGES / 255).mean((1, 2)) @ kernel + bias, rtol=1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("part", "match"),
        [
            (layer("Mine", "m", [["image", 0, 0, {}]]), "layer class 'Mine' is not one of Keras' own"),
            (
                layer("Activation", "m", [["image", 0, 0, {}]], activation="hard_sigmoid"),
                "'hard_sigmoid' in its layer 'm': Keras 3 computes another function",
            ),
            (
                layer("LSTM", "m", [["image", 0, 0, {}]], units=2, recurrent_activation="hard_sigmoid"),
                "recurrent_activation 'hard_sigmoid'",
            ),
            (layer("Convolution2D", "m", [["image", 0, 0, {}]], nb_filter=3), "written by Keras 1"),
            (layer("GRU", "m", [["image", 0, 0, {}]], units=2, time_major=True), "time_major"),
        ],
    )
    def test_the_reason_is_named(self, written, part, match):
        with pytest.raises(ModelError, match=match):
            read_model(written(part))

    def test_a_class_of_its_own(self, tmp_path):
        path = write_h5(tmp_path / "old.h5", {"class_name": "FaceNet", "config": {}})
        with pytest.raises(ModelError, match="a model of the class 'FaceNet'"):
            read_model(path)

    @pytest.mark.parametrize(("version", "wrapped"), [("2.3.1", False), ("2.3.1", True), ("3.9.0", False)])
    def test_code_is_named_and_never_run(self, tmp_path, written, version, wrapped):
        trace = tmp_path / "ran"
        code = compile(f"lambda x: open({str(trace)!r}, 'w')", "<model>", "eval").co_consts[0]
        packed = base64.encodebytes(marshal.dumps(code)).decode()
        function = {"function": [packed, None, None], "function_type": "lambda"}
        code_layer = layer("Lambda", "hidden", [["image", 0, 0, {}]], **function)
        if wrapped:
            inner = {"class_name": "Lambda", "config": {"name": "hidden", **function}}
            code_layer = layer("TimeDistributed", "t", [["image", 0, 0, {}]], layer=inner)
        with pytest.raises(ModelError, match=r"Python code|Lambda"):
            read_model(written(code_layer, version=version))
        assert not trace.exists()


def test_a_keras_file_of_keras_2(tmp_path):
    layers = keras.layers
    stack = [keras.Input((6, 6, 3)), layers.Rescaling(0.1), layers.Flatten(), layers.Dense(3)]
    model = keras.Sequential(stack)
    model.save(tmp_path / "new.keras")
    parts = [
        layer("Rescaling", "r", [["image", 0, 0, {}]], scale=0.1, offset=0.0),
        layer("Flatten", "f", [["r", 0, 0, {}]]),
        after("f", "Dense", units=3),
    ]
    config = functional([image_input(), *parts]) | {"registered_name": "Functional"}
    config["module"] = "keras.src.engine.functional"
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        weights = archive.read("model.weights.h5")
    path = write_keras(tmp_path / "old.keras", config, weights, {"keras_version": "2.15.0"})
    np.testing.assert_allclose(answer(path), model(IMAGES), rtol=1e-6)
