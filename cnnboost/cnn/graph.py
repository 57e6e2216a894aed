"""The forward pass of a model, call by call, nested models opened, in inference mode.

With it a model is made again: for inference alone, or in float32 for what knows float32 only.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.errors import ModelError

_HALF = ("float16", "bfloat16")
# Where Keras keeps the layers that may do nothing in inference. Whether one does is found out by calling it.
_TRAINING_ONLY = (
    "keras.src.layers.core.identity",
    "keras.src.layers.preprocessing.image_preprocessing",
    "keras.src.layers.regularization",
)


@dataclass(frozen=True)
class Source:
    """A tensor in the arguments of a call: the output of a step; -1 for the images."""

    step: int


@dataclass(frozen=True)
class Step:
    """One output of one call of a layer or operation in the model's forward pass."""

    path: str
    layer: Any
    tensor: Any
    sources: tuple[int, ...]
    arguments: Any = ((), {})
    output: int | None = None
    idle: bool = False

    @property
    def kind(self) -> str:
        """Class of the layer."""
        return type(self.layer).__name__

    @property
    def width(self) -> int | None:
        """Number of values per image; None where it depends on the image."""
        shape = self.tensor.shape[1:]
        return None if None in shape else int(np.prod(shape, dtype=np.int64))


class Walk:
    """Calls every layer of a model, nested models opened, on new symbolic tensors; records each call."""

    def __init__(self, image: Any) -> None:
        self.steps: list[Step] = []
        self.producer = {id(image): -1}
        """By the id of a tensor, the step that gives it."""

    def model(self, model: Any, x: Any, prefix: str = "") -> Any:
        """Call every layer of a model on `x`; return what comes out."""
        import keras

        graph = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
        if graph is None:
            for layer in model.layers:
                x = self._call(prefix, layer, x)
            return x
        if not isinstance(graph, keras.Model) or not getattr(graph, "inputs", None):
            raise ModelError(
                f"model {model.name!r} is a subclass with code of its own, its layers cannot be walked; "
                "rebuild it as a functional or Sequential model"
            )
        entries = [
            self._enter(model, given, wanted, prefix)
            for given, wanted in zip(keras.tree.flatten(x), graph.inputs, strict=True)
        ]
        # keras.models.clone_model does this too, but cuts a nested model off from the tensors it is given.
        found = graph._run_through_graph(
            entries,
            operation_fn=lambda layer: layer,
            call_fn=lambda layer, *args, **kwargs: self._call(prefix, layer, *args, **kwargs),
        )
        return found[0] if isinstance(found, (list, tuple)) and len(found) == 1 else found

    def _enter(self, model: Any, x: Any, wanted: Any, prefix: str) -> Any:
        """Bring a tensor to the dtype of a model's input, as Keras does on every call."""
        import keras

        if x is None:
            return None
        dtypes = [wanted.dtype]
        if model.autocast and "float" in keras.backend.standardize_dtype(x.dtype):
            dtypes.insert(0, model.input_dtype)
        for dtype in dtypes:
            x = self._cast(x, dtype, f"{prefix}cast")
        return x

    def _cast(self, x: Any, dtype: str, path: str) -> Any:
        import keras

        if keras.backend.standardize_dtype(x.dtype) == dtype:
            return x
        changed = keras.ops.cast(x, dtype)
        return self._record(path, *_call_of(changed), changed)

    def _call(self, prefix: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
        import keras

        if type(layer).__name__ == "InputLayer":
            return args[0] if args else layer.output
        path, first = prefix + layer.name, (*args, *kwargs.values())[0]
        if isinstance(layer, keras.Model) and getattr(layer, "layers", None):
            return self.model(layer, first, f"{path}/")
        if isinstance(layer, keras.layers.Pipeline):
            for member in layer.layers:
                first = self._call(f"{path}/", member, first)
            return first
        args, kwargs = keras.tree.map_structure(_constant, (args, kwargs))
        # The trunk is always in inference mode, whatever the graph demands and a layer's default is.
        if getattr(layer, "_call_has_training_arg", False) or kwargs.get("training"):
            kwargs["training"] = False
        dtype = _idle_dtype(layer, first)
        if dtype is None:
            try:
                return self._record(path, layer, args, kwargs, layer(*args, **kwargs))
            except ValueError as error:
                raise ModelError(
                    f"layer {path!r} cannot be called in inference mode: {str(error).strip().splitlines()[0]}"
                ) from error
        if keras.backend.standardize_dtype(first.dtype) != dtype:
            return self._cast(first, dtype, path)
        source = self.producer.get(id(first), -1)
        self.steps.append(Step(path, layer, first, (source,), ((Source(source),), {}), idle=True))
        return first

    def _record(self, path: str, layer: Any, args: Any, kwargs: Any, found: Any) -> Any:
        import keras

        def mark(leaf: Any) -> Any:
            return Source(self.producer[id(leaf)]) if isinstance(leaf, keras.KerasTensor) else leaf

        arguments = keras.tree.map_structure(mark, (args, kwargs))
        sources = tuple(x.step for x in keras.tree.flatten(arguments) if isinstance(x, Source))
        tensors = keras.tree.flatten(found)
        for number, tensor in enumerate(tensors):
            self.producer[id(tensor)] = len(self.steps)
            output = number if len(tensors) > 1 else None
            self.steps.append(Step(path, layer, tensor, sources, arguments, output))
        return found


def upstream(steps: Sequence[Step], wanted: int) -> list[int]:
    """Return the steps that a step depends on, itself included, in order."""
    seen, stack = set(), [wanted]
    while stack:
        i = stack.pop()
        if i >= 0 and i not in seen:
            seen.add(i)
            stack.extend(steps[i].sources)
    return sorted(seen)


def assembled(image: Any, outputs: Any, name: str) -> Any:
    """Make a model of symbolic tensors, whose layers may share names: they were in models of their own."""
    import keras

    with distinct_names(outputs):
        return keras.Model(image, outputs, name=name)


@contextlib.contextmanager
def distinct_names(outputs: Any) -> Iterator[None]:
    """Give other names for a while to those of the layers and operations behind tensors that share one."""
    import keras

    operations: dict[int, Any] = {}
    stack = list(keras.tree.flatten(outputs))
    seen = set()
    while stack:
        tensor = stack.pop()
        operation, number, _ = tensor._keras_history
        if operation is None or (id(operation), number) in seen:
            continue
        seen.add((id(operation), number))
        operations[id(operation)] = operation
        stack.extend(operation._inbound_nodes[number].input_tensors)
    names = Counter(operation.name for operation in operations.values())
    renamed = [(operation, operation.name) for operation in operations.values() if names[operation.name] > 1]
    for number, (operation, name) in enumerate(renamed):
        operation.name = f"{name}__{number}"
    try:
        yield
    finally:
        for operation, name in renamed:
            operation.name = name


def inference_model(model: Any) -> Any:
    """Return a model in inference mode for good, without the layers that act in training only."""
    import keras

    image = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    try:
        return assembled(image, Walk(image).model(model, image), model.name)
    except ModelError:
        return model


def _call_of(tensor: Any) -> tuple[Any, Any, Any]:
    """Return the operation that made a tensor, and what it was called with."""
    operation, number, _ = tensor._keras_history
    call = operation._inbound_nodes[number].arguments
    return operation, call.args, call.kwargs


def _constant(leaf: Any) -> Any:
    """Turn a tensor of values into an array: Keras' export to ONNX leaves out tensors in a call."""
    import keras

    is_variable = isinstance(leaf, (keras.KerasTensor, keras.Variable))
    return leaf if is_variable or not keras.ops.is_tensor(leaf) else keras.ops.convert_to_numpy(leaf)


def _idle_dtype(layer: Any, x: Any) -> str | None:
    """Say what dtype comes out of a layer that changes nothing else in inference; None for all others."""
    import keras

    # It is tried: by Keras' documentation `RandomCrop` resizes in inference, by its code it does not.
    if not type(layer).__module__.startswith(_TRAINING_ONLY) or not isinstance(x, keras.KerasTensor):
        return None
    shape = [2] + [17 if size is None else size for size in x.shape[1:]]
    # Beyond the range of pixels on both sides, so that whatever clips is found.
    values = keras.ops.cast(np.random.default_rng(0).normal(0, 200, shape), x.dtype)
    found = layer(values, training=False) if layer._call_has_training_arg else layer(values)
    if found.shape != values.shape:
        return None
    same = keras.ops.all(keras.ops.equal(found, keras.ops.cast(values, found.dtype)))
    return keras.backend.standardize_dtype(found.dtype) if same else None


def is_half(model: Any) -> bool:
    """Whether some layer of a model computes in float16 or bfloat16."""
    return any(layer.compute_dtype in _HALF for layer in model._flatten_layers())


def float32_model(model: Any) -> Any:
    """Return a model that computes in float32 what another one computes in float16, bfloat16 or float64.

    What comes out of each layer is rounded as the other one rounds it, and so are the weights: the two differ
    by single last bits of the lower precision.
    """
    import keras

    given = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    walk = Walk(given)
    outputs = keras.tree.flatten(walk.model(model, given))
    tensors = [given, *(step.tensor for step in walk.steps)]
    dtypes = {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors}
    if not dtypes & {*_HALF, "float64"}:
        return model
    image = keras.Input(model.input_shape[1:], dtype="float32")
    values = {-1: _rounded(image, given.dtype)}
    clones: dict[int, Any] = {}
    results: list[Any] = []
    for i, step in enumerate(walk.steps):
        if step.idle:
            values[i] = values[step.sources[0]]
            continue
        if not step.output:
            results = keras.tree.flatten(_called(step, values, clones))
        values[i] = _rounded(results[step.output or 0], step.tensor.dtype)
    return assembled(image, [values[walk.producer[id(tensor)]] for tensor in outputs], model.name)


def _rounded(tensor: Any, dtype: str) -> Any:
    import keras

    if keras.backend.standardize_dtype(dtype) not in _HALF:
        return tensor
    return keras.ops.cast(keras.ops.cast(tensor, dtype), "float32")


def _called(step: Step, values: dict[int, Any], clones: dict[int, Any]) -> Any:
    """Call a layer's float32 clone on what the clones before it gave."""
    import keras

    def fill(leaf: Any) -> Any:
        if isinstance(leaf, Source):
            return values[leaf.step]
        is_array = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        return keras.ops.cast(leaf, "float32") if is_array and _is_other(leaf.dtype) else leaf

    args, kwargs = keras.tree.map_structure(fill, step.arguments)
    layer = step.layer
    if not isinstance(layer, keras.Layer):
        return args[0] if step.kind == "Cast" and _is_other(layer.dtype) else layer(*args, **kwargs)
    if id(layer) in clones:
        return clones[id(layer)](*args, **kwargs)
    clone = clones[id(layer)] = type(layer).from_config(_in_float32(layer.get_config()))
    found = clone(*args, **kwargs)
    weights = []
    for weight in layer.weights:
        array = weight.numpy()
        # Keras keeps some in full, such as the statistics of a BatchNormalization.
        if layer.compute_dtype in _HALF and weight._autocast:
            array = keras.ops.convert_to_numpy(_rounded(array, layer.compute_dtype))
        weights.append(array.astype(np.float32) if _is_other(array.dtype) else array)
    clone.set_weights(weights)
    return found


def _is_other(dtype: Any) -> bool:
    return str(dtype) in (*_HALF, "float64")


def _in_float32(config: Any) -> Any:
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(member) for member in config)
    if isinstance(config, dict):
        return {key: "float32" if key == "dtype" else _in_float32(of) for key, of in config.items()}
    return config
