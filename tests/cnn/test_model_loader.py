import base64
import marshal
import zipfile

import h5py
import keras
import numpy as np
import pytest

from cnnboost.cnn import model_loader
from cnnboost.cnn.model_file import read_model
from cnnboost.cnn.model_loader import reason_of
from cnnboost.errors import ModelError
from tests.cnn.old_files import functional, image_input, layer, sequential, write_h5, write_keras

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (2, 6, 6, 3)).astype(np.float32)


def dense(inputs=108, units=3):
    return [RNG.normal(size=(inputs, units)), RNG.normal(size=units)]


def answer(path, X=IMAGES):
    return np.asarray(read_model(path)(X))


def op(function, node, name="op"):
    return layer("TFOpLambda", name, node, function=function)


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
        network = keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                keras.layers.Conv2D(2, 3),
                keras.layers.Flatten(),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
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
def test_arguments_that_keras_3_lacks_are_left_out(tmp_path, kind, arguments, weights):
    layers = [
        image_input(),
        layer(kind, "x", [["image", 0, 0, {}]], **arguments),
        layer("GlobalAveragePooling2D", "g", [["x", 0, 0, {}]]),
    ]
    path = write_h5(tmp_path / "old.h5", functional(layers), [("x", weights)] if len(weights) else [])
    known = {k: v for k, v in arguments.items() if k in ("kernel_size", "rate", "activation", "scale")}
    model = keras.Sequential([keras.Input((6, 6, 3)), getattr(keras.layers, kind)(**known)])
    model.set_weights(list(weights))
    np.testing.assert_allclose(answer(path), np.mean(model(IMAGES), axis=(1, 2)), rtol=1e-5)


def test_a_recurrent_layer_without_time_major(tmp_path):
    config = functional(
        [
            image_input(),
            layer("Reshape", "r", [["image", 0, 0, {}]], target_shape=[6, 18]),
            layer(
                "GRU", "g", [["r", 0, 0, {}]], units=2, time_major=False, implementation=2, reset_after=True
            ),
        ]
    )
    weights = [RNG.normal(size=shape) / 99 for shape in ((18, 6), (2, 6), (2, 6))]
    path = write_h5(tmp_path / "old.h5", config, [("g", weights)])
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Reshape((6, 18)), keras.layers.GRU(2)])
    model.set_weights(weights)
    np.testing.assert_allclose(answer(path), model(IMAGES), atol=1e-6)


OPERATIONS = {
    "mobilenet": ("math.truediv", ["image", 0, 0, {"y": 127.5, "name": None}], lambda x: x / 127.5),
    "less": ("math.subtract", ["_CONSTANT_VALUE", -1, 1.0, {"y": ["image", 0, 0]}], lambda x: 1 - x),
    "less too": ("math.subtract", ["image", 0, 0, {"y": 1.0}], lambda x: x - 1),
    "sum": ("__operators__.add", ["image", 0, 0, {"y": ["image", 0, 0], "name": None}], lambda x: 2 * x),
    "means": (
        "nn.bias_add",
        ["image", 0, 0, {"bias": [-1.5, 2.0, 3.0], "data_format": "NHWC"}],
        lambda x: x + np.array([-1.5, 2, 3]),
    ),
    "cast": ("cast", ["image", 0, 0, {"dtype": "float32"}], lambda x: x),
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
    @pytest.mark.parametrize("case", OPERATIONS)
    def test_they_do_what_they_did(self, tmp_path, case):
        function, node, expected = OPERATIONS[case]
        layers = [image_input(), op(function, node), layer("Flatten", "f", [["op", 0, 0, {}]])]
        path = write_h5(tmp_path / "old.h5", functional(layers))
        X = IMAGES.astype(np.float64)
        np.testing.assert_allclose(answer(path), expected(X).reshape(2, -1), rtol=1e-5)

    def test_slices(self, tmp_path):
        spec = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
        node = ["image", 0, 0, {"slice_spec": spec}]
        layers = [
            image_input(),
            layer("SlicingOpLambda", "bgr", node, function="__operators__.getitem"),
            layer("Flatten", "f", [["bgr", 0, 0, {}]]),
        ]
        path = write_h5(tmp_path / "old.h5", functional(layers))
        np.testing.assert_array_equal(answer(path), IMAGES[..., ::-1].reshape(2, -1))

    def test_grey_to_colour(self, tmp_path):
        layers = [
            image_input((6, 6, 1)),
            op("image.grayscale_to_rgb", ["image", 0, 0, {}]),
            layer("Flatten", "f", [["op", 0, 0, {}]]),
        ]
        path = write_h5(tmp_path / "old.h5", functional(layers))
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
    def test_what_is_not_certain_is_refused(self, tmp_path, function, node, named):
        path = write_h5(tmp_path / "old.h5", functional([image_input(), op(function, node)]))
        with pytest.raises(ModelError, match=rf"old.h5 uses TensorFlow's {named}"):
            read_model(path)

    def test_weights_go_by_name_on_two_branches(self, tmp_path):
        """Layers of one shape beside an operation: their order in the file is that of Keras 2."""
        layers = [
            image_input(),
            op("math.multiply", ["image", 0, 0, {"y": 2.0}]),
            layer("Flatten", "f", [["op", 0, 0, {}]]),
            layer("Flatten", "g", [["image", 0, 0, {}]]),
            layer("Dense", "z", [["f", 0, 0, {}]], units=3),
            layer("Dense", "a", [["g", 0, 0, {}]], units=3),
            layer("Subtract", "s", [["z", 0, 0, {}], ["a", 0, 0, {}]]),
        ]
        z, a = dense(), dense()
        path = write_h5(tmp_path / "old.h5", functional(layers), [("a", a), ("z", z)])
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
    def test_the_reason_is_named(self, tmp_path, part, match):
        path = write_h5(tmp_path / "old.h5", functional([image_input(), part]))
        with pytest.raises(ModelError, match=match):
            read_model(path)

    def test_a_class_of_its_own(self, tmp_path):
        path = write_h5(tmp_path / "old.h5", {"class_name": "FaceNet", "config": {}})
        with pytest.raises(ModelError, match="a model of the class 'FaceNet'"):
            read_model(path)

    @pytest.mark.parametrize("version", ["2.3.1", "3.9.0"])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_code_is_named_and_never_run(self, tmp_path, version, wrapped):
        trace = tmp_path / "ran"
        code = compile(f"lambda x: open({str(trace)!r}, 'w')", "<model>", "eval").co_consts[0]
        packed = base64.encodebytes(marshal.dumps(code)).decode()
        function = {"function": [packed, None, None], "function_type": "lambda"}
        code_layer = layer("Lambda", "hidden", [["image", 0, 0, {}]], **function)
        if wrapped:
            inner = {"class_name": "Lambda", "config": {"name": "hidden", **function}}
            code_layer = layer("TimeDistributed", "t", [["image", 0, 0, {}]], layer=inner)
        path = write_h5(tmp_path / "old.h5", functional([image_input(), code_layer]), version=version)
        with pytest.raises(ModelError, match=r"Python code|Lambda"):
            read_model(path)
        assert not trace.exists()

    def test_weights_alone(self, tmp_path):
        model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
        model.save_weights(tmp_path / "new.weights.h5")
        with h5py.File(tmp_path / "old.h5", "w") as file:
            file.attrs["layer_names"] = [b"dense"]
        for path in (tmp_path / "new.weights.h5", tmp_path / "old.h5"):
            with pytest.raises(ModelError, match="holds weights alone"):
                read_model(path)

    def test_hdf5_of_something_else(self, tmp_path):
        with h5py.File(tmp_path / "data.h5", "w") as file:
            file["train_set_x"] = np.zeros(3)
        with pytest.raises(ModelError, match=r"without a Keras model \(it holds: train_set_x\)"):
            read_model(tmp_path / "data.h5")

    def test_damage_on_which_the_library_never_ends_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(model_loader, "SECONDS", 2)
        path = tmp_path / "old.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = "x" * 40
        content = bytearray(path.read_bytes())
        content[content.index(b"GCOL") + 24] = 113  # the size of the text
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"old\.h5 is damaged: the HDF5 library does not finish"):
            read_model(path)

    def test_a_file_that_was_cut_short(self, toy_cnn, tmp_path):
        path = tmp_path / "old.h5"
        toy_cnn.model_.save(path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(ModelError, match=r"old\.h5.*truncated"):
            read_model(path)


class TestNames:
    @pytest.mark.parametrize(
        ("saved_as", "called"),
        [("h5", "m.keras"), ("keras", "m.h5"), ("h5", "m"), ("keras", "m.bin"), ("h5", "m.weights.h5")],
    )
    def test_the_content_counts(self, toy_cnn, toy_images, tmp_path, saved_as, called):
        toy_cnn.model_.save(tmp_path / f"model.{saved_as}")
        (tmp_path / f"model.{saved_as}").rename(tmp_path / called)
        X = toy_images[0][:4].astype(np.float32)
        np.testing.assert_allclose(read_model(tmp_path / called)(X), toy_cnn.model_(X), atol=1e-6)

    def test_a_keras_file_of_keras_2(self, tmp_path):
        model = keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                keras.layers.Rescaling(0.1),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
        model.save(tmp_path / "new.keras")
        config = functional(
            [
                image_input(),
                layer("Rescaling", "r", [["image", 0, 0, {}]], scale=0.1, offset=0.0),
                layer("Flatten", "f", [["r", 0, 0, {}]]),
                layer("Dense", "d", [["f", 0, 0, {}]], units=3),
            ]
        )
        config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
        with zipfile.ZipFile(tmp_path / "new.keras") as archive:
            weights = archive.read("model.weights.h5")
        path = write_keras(tmp_path / "old.keras", config, weights, {"keras_version": "2.15.0"})
        np.testing.assert_allclose(answer(path), model(IMAGES), rtol=1e-6)


def test_the_reason_is_what_keras_complains_of(tmp_path):
    nested = ValueError(
        "X could not be deserialized.\n\nconfig={...}.\n\nException encountered: bad thing.\nMore"
    )
    assert reason_of(nested) == "bad thing."
    weights = ValueError(
        "A total of 1 objects could not be loaded. Example error message for object <Dense name=d>:\n\n"
        "Layer 'd' expected 2 variables, but received 0.\n\nList: [...]"
    )
    assert reason_of(weights) == "Layer 'd' expected 2 variables, but received 0."
    assert reason_of(KeyError("offset")) == "KeyError: 'offset'"
    assert reason_of(RuntimeError()) == "RuntimeError"
    assert len(reason_of(ValueError("x" * 9999))) < 500
    dense = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}
    dense["config"] = {"units": 3, "flavour": "sweet"}
    config = {"module": "keras", "class_name": "Sequential", "registered_name": "Sequential"}
    config["config"] = {"name": "s", "layers": [dense]}
    path = write_keras(tmp_path / "odd.keras", config, b"", {"keras_version": "3.9.0"})
    with pytest.raises(ModelError, match=r"odd.keras: Keras cannot load it: .*flavour"):
        read_model(path)
