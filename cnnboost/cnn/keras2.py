"""Configurations of models that Keras 2 stored, rewritten as Keras 3 reads them. Nothing in them is executed.

TensorFlow operations (`TFOpLambda`) become operations of Keras 3 that do the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from cnnboost.errors import ModelError

# Arguments that Keras 3 no longer has, and the values at which they said nothing; ... is any value.
_GONE: dict[str, tuple[Any, ...]] = {
    "trainable": (...,),
    "time_major": (False,),
    "groups": (1,),
    "ragged": (False,),
    "implementation": (...,),
    "noise_shape": (None,),
    "constraint": (None,),
    "initializer": (...,),
    "regularizer": (...,),
    "query_shape": (...,),
    "key_shape": (...,),
    "value_shape": (...,),
}
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "softmax_v2": "softmax",
}
_OF_KERAS_1 = ("nb_filter", "output_dim", "border_mode", "subsample", "dim_ordering")


def rewrite(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model as Keras 3 reads it."""
    if stored.get("class_name") not in ("Model", "Functional", "Sequential"):
        raise ModelError(
            f"holds a model of the class {stored.get('class_name')!r}, whose code is not in it; rebuild "
            "the model in Python as a functional or Sequential model, load the weights and save it again"
        )
    return _rewritten(stored)


def _rewritten(stored: Mapping[str, Any]) -> dict[str, Any]:
    kind = _RENAMED.get(stored["class_name"], stored["class_name"])
    if kind in OP_LAYERS:
        return as_operation(stored)
    config = stored["config"]
    if isinstance(config, list):  # a Sequential of Keras before 2.2.3
        config = {"name": "sequential", "layers": config}
    config = {key: _plain(value) for key, value in config.items()}
    _check(kind, config)
    shape = config.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape is not None:
        config["batch_shape"] = shape
    if kind in ("Model", "Functional", "Sequential"):
        built = config.pop("build_input_shape", None)
        first = _first_shape(config["layers"]) or built
        config["layers"] = [_rewritten(layer) for layer in config["layers"]]
        if kind != "Sequential":
            _renumber(config)
        elif first and config["layers"][0]["class_name"] != "InputLayer":
            config["layers"].insert(0, _builtin("InputLayer", {"batch_shape": first}))
    for wrapped in ("layer", "backward_layer"):
        if isinstance(config.get(wrapped), Mapping):
            config[wrapped] = _rewritten(config[wrapped])
    if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    layer = _builtin(kind, config) or {**stored, "config": config}
    if "inbound_nodes" in stored:
        layer["name"] = stored.get("name", config.get("name"))
        layer["inbound_nodes"] = [node_of_layer(node) for node in stored["inbound_nodes"]]
    return layer


def _builtin(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a layer as Keras 3 stores its own; empty for a class that is not one of them."""
    import keras

    module = "keras.layers"
    if kind in ("Model", "Functional"):
        kind, module = "Functional", "keras.src.models.functional"
    elif kind == "Sequential":
        module = "keras"
    elif isinstance(getattr(keras.layers, kind, None), type):
        config = _known_arguments(getattr(keras.layers, kind), config)
    else:
        return {}
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _known_arguments(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the arguments that a class of Keras 3 no longer has, where they said nothing."""
    known = set(inspect.signature(kind).parameters)
    if "kwargs" in known:
        known |= {"name", "trainable", "dtype", "activity_regularizer"}
    kept = {}
    for key, value in config.items():
        neutral = _GONE.get(key, _GONE.get(key.rsplit("_", 1)[-1], ()))
        if key in known or (... not in neutral and value not in neutral):
            kept[key] = value
    return kept


def _renumber(config: dict[str, Any]) -> None:
    """Count the calls of nested models from 0: Keras 2 counted the one inside the nested model too."""
    calls = {
        layer["name"]: len(layer["inbound_nodes"])
        for layer in config["layers"]
        if layer["class_name"] in ("Functional", "Sequential")
    }
    references = [r for layer in config["layers"] for r in _references(layer["inbound_nodes"])]
    for key in ("input_layers", "output_layers"):
        references += _references(config[key])
    for name, count in calls.items():
        own = [reference for reference in references if reference[0] == name]
        if any(reference[1] >= count for reference in own):
            for reference in own:
                reference[1] -= 1
    for key in ("input_layers", "output_layers"):
        # Keras 3 would give a list where Keras 2 gave the one tensor.
        if len(config[key]) == 1 and isinstance(config[key][0], list):
            (config[key],) = config[key]


def _references(value: Any) -> list[list[Any]]:
    if is_reference(value):
        return [value]
    parts = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [reference for part in parts for reference in _references(part)]


def _plain(value: Any) -> Any:
    """Return a value of a layer's configuration in the words of Keras 3."""
    if isinstance(value, Mapping):
        if str(value.get("class_name", "")).startswith("Policy"):
            return value["config"]["name"]
        if value.get("class_name") == "function":
            return {**value, "config": _plain(value.get("config"))}
        return value
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def _check(kind: str, config: Mapping[str, Any]) -> None:
    name = config.get("name", kind)
    if kind == "Lambda":
        raise ModelError(
            f"holds Python code in its Lambda layer {name!r}, which is not run; rebuild the network with "
            "Keras' own layers in its place, load the weights and save it again"
        )
    for key in ("activation", "recurrent_activation"):
        function = config.get(key)
        function = function.get("config") if isinstance(function, Mapping) else function
        if function == "hard_sigmoid":
            raise ModelError(
                f"has the {key} 'hard_sigmoid' in its layer {name!r}: Keras 3 computes another function "
                "under that name than Keras 2 did, so the network would answer wrongly"
            )
    ancient = [key for key in _OF_KERAS_1 if key in config]
    if ancient and kind != "Embedding":
        raise ModelError(
            f"was written by Keras 1 (its layer {name!r} has {', '.join(ancient)}); load it with Keras 2.2 "
            "and save it from there"
        )


def _first_shape(layers: Any) -> Any:
    """Return the batch shape that the first layer of a list states, nested models opened."""
    layers = layers.get("layers", []) if isinstance(layers, Mapping) else layers
    if not layers:
        return None
    config = layers[0]["config"]
    if isinstance(config, list) or "layers" in config:
        return _first_shape(config)
    return config.get("batch_input_shape") or config.get("batch_shape")


OP_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")

_NUMPY, _NN, _CORE, _IMAGE = (f"keras.src.ops.{name}" for name in ("numpy", "nn", "core", "image"))
# By the name of TensorFlow's function: module and class of the operation in Keras' own files, the function's
# arguments that are tensors or constants, and those that the operation's configuration holds: what they are
# called there, and their defaults in TensorFlow (... where there is none).
_Op = tuple[str, str, tuple[str, ...], dict[str, tuple[str, Any]]]
_XY, _X = ("x", "y"), ("x",)
# Those that have the same name, and the same arguments, in both.
_BINARY = ("add", "subtract", "multiply", "maximum", "minimum")
_UNARY = ("square", "sqrt", "exp", "log", "negative", "tanh")
_ACTIVATIONS = ("relu", "relu6", "silu", "elu", "selu")
_REDUCE: dict[str, tuple[str, Any]] = {"axis": ("axis", None), "keepdims": ("keepdims", False)}


def _op(module: str, kind: str, arguments: tuple[str, ...] = _X, **static: tuple[str, Any]) -> _Op:
    return module, kind, arguments, static


_OPS: dict[str, _Op] = {
    **{f"math.{name}": _op(_NUMPY, name.title(), _XY) for name in _BINARY},
    **{f"math.{name}": _op(_NUMPY, name.title()) for name in _UNARY},
    **{f"nn.{name}": _op(_NN, name.title(), ("features",)) for name in _ACTIVATIONS},
    "__operators__.add": _op(_NUMPY, "Add", _XY),
    "__operators__.getitem": _op(_NUMPY, "GetItem", ("x", "slice_spec")),
    "math.truediv": _op(_NUMPY, "TrueDivide", _XY),
    "math.divide": _op(_NUMPY, "TrueDivide", _XY),
    "math.pow": _op(_NUMPY, "Power", _XY),
    "nn.bias_add": _op(_NUMPY, "Add", ("value", "bias")),
    "math.abs": _op(_NUMPY, "Absolute"),
    "math.sigmoid": _op(_NN, "Sigmoid"),
    "math.softplus": _op(_NN, "Softplus", ("features",)),
    "nn.leaky_relu": _op(_NN, "LeakyRelu", ("features",), alpha=("negative_slope", 0.2)),
    "nn.gelu": _op(_NN, "Gelu", ("features",), approximate=("approximate", False)),
    "nn.softmax": _op(_NN, "Softmax", ("logits",), axis=("axis", -1)),
    "math.reduce_mean": _op(_NUMPY, "Mean", ("input_tensor",), **_REDUCE),
    "math.reduce_sum": _op(_NUMPY, "Sum", ("input_tensor",), **_REDUCE),
    "math.reduce_max": _op(_NUMPY, "Max", ("input_tensor",), **_REDUCE),
    "math.reduce_min": _op(_NUMPY, "Min", ("input_tensor",), **_REDUCE),
    "math.l2_normalize": _op(_NN, "Normalize", _X, axis=("axis", ...), epsilon=("epsilon", 1e-12)),
    "image.grayscale_to_rgb": _op(_NUMPY, "Concatenate", ("images",)),
    "cast": _op(_CORE, "Cast", _X, dtype=("dtype", ...)),
    "reshape": _op(_NUMPY, "Reshape", ("tensor",), shape=("newshape", ...)),
    "expand_dims": _op(_NUMPY, "ExpandDims", ("input",), axis=("axis", ...)),
    "squeeze": _op(_NUMPY, "Squeeze", ("input",), axis=("axis", None)),
    "transpose": _op(_NUMPY, "Transpose", ("a",), perm=("axes", None)),
    "concat": _op(_NUMPY, "Concatenate", ("values",), axis=("axis", ...)),
    "stack": _op(_NUMPY, "Stack", ("values",), axis=("axis", 0)),
    "reverse": _op(_NUMPY, "Flip", ("tensor",), axis=("axis", ...)),
    "clip_by_value": _op(
        _NUMPY, "Clip", ("t",), clip_value_min=("x_min", ...), clip_value_max=("x_max", ...)
    ),
    "pad": _op(_NUMPY, "Pad", ("tensor",), paddings=("pad_width", ...)),
    "image.resize": _op(
        _IMAGE, "Resize", ("images",), size=("size", ...), method=("interpolation", "bilinear")
    ),
}  # fmt: skip
# Arguments that change nothing at these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "data_format": (None, "NHWC", "channels_last"),
    "conjugate": (False,),
    "mode": ("CONSTANT",),
    "constant_values": (0,),
    "preserve_aspect_ratio": (False,),
    "antialias": (False,),
    "var": (None,),
}
_CONSTANT = "_CONSTANT_VALUE"
_INTERPOLATIONS = ("bilinear", "nearest", "bicubic")


def as_operation(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of Keras 3 for an operation that Keras 2 stored as a layer."""
    config, nodes = stored["config"], stored.get("inbound_nodes", [])
    name = config["name"]
    function = str(config.get("function") or config.get("node_def") or stored["class_name"])
    if function.removeprefix("compat.v1.") not in _OPS:
        raise _unknown(name, function[:200])
    module, kind, arguments, static = _OPS[function.removeprefix("compat.v1.")]
    settings, args = [], []
    for node in nodes:
        call = _arguments(arguments, node)
        given = {key: call.pop(key, default) for key, (_, default) in static.items()}
        known = {key: call.pop(key) for key in arguments if key in call}
        odd = [key for key, value in call.items() if value not in _NEUTRAL.get(key, ())]
        odd += [key for key in arguments if key not in known]
        odd += [key for key, value in given.items() if value is ... or not _fits(kind, key, value)]
        if odd:
            raise _unknown(name, f"{function} with its argument {odd[0]!r} as it is here")
        settings.append({to: _setting(kind, key, given[key]) for key, (to, _) in static.items()})
        args.append(
            [_slices(name, part) if key == "slice_spec" else _value(part) for key, part in known.items()]
        )
        if function == "image.grayscale_to_rgb":
            settings[-1], args[-1] = {"axis": -1}, [args[-1] * 3]
    if any(setting != settings[0] for setting in settings):
        raise _unknown(name, f"{function}, called in several ways")
    return {
        "module": module,
        "class_name": kind,
        "config": {"name": name, **(settings[0] if settings else {})},
        "registered_name": kind,
        "name": name,
        "inbound_nodes": [{"args": values, "kwargs": {}} for values in args],
    }


def node_of_layer(node: Any) -> Any:
    """Return how a layer is called as Keras 3 stores it, where keyword arguments are tensors."""
    if not isinstance(node, list) or len(node) != 1 or not is_reference(node[0]):
        return node
    kwargs = node[0][3] if len(node[0]) > 3 else {}
    if not any(_holds_tensor(value) for value in kwargs.values()):
        return node
    return {"args": [_value(node[0][:3])], "kwargs": {key: _value(value) for key, value in kwargs.items()}}


def _unknown(name: str, function: str) -> ModelError:
    return ModelError(
        f"uses TensorFlow's {function} ({name!r}), for which Keras 3 has no certain counterpart; rebuild the "
        "network with Keras' own layers in its place, load the weights and save it again"
    )


def _arguments(arguments: tuple[str, ...], node: Any) -> dict[str, Any]:
    """Return the arguments of one call by their names in TensorFlow."""
    if not is_reference(node):
        if arguments[0] == "values":  # a list of tensors
            return {"values": [reference[:3] for reference in node], **_keywords(node[0])}
        (node,) = node
    first = node[2] if node[0] == _CONSTANT else node[:3]
    return {arguments[0]: first, **_keywords(node)}


def _keywords(reference: list[Any]) -> dict[str, Any]:
    keywords = dict(reference[3]) if len(reference) > 3 else {}
    keywords.pop("name", None)
    return keywords


def is_reference(value: Any) -> bool:
    """Tell whether a value is a tensor by its [layer, call, output], or a constant in the place of one."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and (isinstance(value[2], int) or value[0] == _CONSTANT)
    )


def _holds_tensor(value: Any) -> bool:
    return is_reference(value) or (isinstance(value, list) and any(map(_holds_tensor, value)))


def _value(value: Any) -> Any:
    """Return a tensor or a constant as an argument in a file of Keras 3."""
    if is_reference(value):
        history = {"shape": [1], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": history}
    if _holds_tensor(value):
        return [_value(part) for part in value]
    if isinstance(value, list):
        return {"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}}
    return value


def _fits(kind: str, argument: str, value: Any) -> bool:
    if _holds_tensor(value) or isinstance(value, dict):
        return False
    if argument == "method":
        return value in _INTERPOLATIONS
    if kind == "Flip":
        return not isinstance(value, list) or len(value) == 1
    return True


def _setting(kind: str, argument: str, value: Any) -> Any:
    if kind == "Flip" and isinstance(value, list):
        return value[0]
    if kind == "Normalize" and argument == "epsilon":
        return value**0.5  # TensorFlow bounds the square of the norm
    return value


def _slices(name: str, spec: Any) -> list[Any]:
    slices: list[Any] = []
    for part in spec if isinstance(spec, list) else [spec]:
        if isinstance(part, dict) and part.get("class_name") == "__ellipsis__":
            slices.append({"class_name": "__ellipsis__", "config": {}})
        elif isinstance(part, dict) and not any(map(_holds_tensor, part.values())) and "start" in part:
            bounds = {key: part.get(key) for key in ("start", "stop", "step")}
            slices.append({"class_name": "__slice__", "config": bounds})
        elif isinstance(part, int):
            slices.append(part)
        else:
            raise _unknown(name, f"slicing by {part!r}")
    return slices
