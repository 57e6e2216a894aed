"""Where a CNN can be cut, and the trunk that remains.

The model is walked once, call by call, nested models included; every call becomes a `Step`. Names follow
from structure alone: the flatten (or last global pooling) layer is `flatten`, the Dense layers after it are
`fc1`, `fc2`, ... each after its activation, and the last of them is `output`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.errors import LayerError, ModelError

_FLATTENING = ("Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D")
_ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax")
# What may stand between a Dense layer and its activation without being a layer of its own right.
_BETWEEN = (
    "BatchNormalization",
    "LayerNormalization",
    "Dropout",
    "AlphaDropout",
    "GaussianNoise",
    "GaussianDropout",
)


@dataclass(frozen=True)
class CutLayer:
    """One place where a CNN can be cut.

    Attributes
    ----------
    name : str
        `input`, `flatten`, `fc1`, ..., `output`; or the Keras name where the line has none.
    keras_name : str
        Name of the Keras layer whose output is taken; `outer/inner` inside nested models.
    kind : str
        Class of the layer.
    width : int
        Number of features per image.
    """

    name: str
    keras_name: str
    kind: str
    width: int


@dataclass(frozen=True)
class Step:
    """One call of a layer in the model's forward pass."""

    path: str
    layer: Any
    tensor: Any
    sources: tuple[int, ...]
    constants: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Class of the layer."""
        return type(self.layer).__name__

    @property
    def width(self) -> int | None:
        """Number of values per image; None where it depends on the image."""
        shape = self.tensor.shape[1:]
        return None if None in shape else int(np.prod(shape, dtype=np.int64))


class Cut:
    """A CNN laid open: its layers by name, and the trunk up to any of them.

    Parameters
    ----------
    model : keras.Model
        One input of images. Sequential, functional or nested.

    Examples
    --------
    >>> from cnnboost.cnn.architectures import build
    >>> from cnnboost.features.cut import Cut
    >>> cut = Cut(build("oslo", (48, 48, 1), 7))
    >>> [(layer.name, layer.width) for layer in cut.named]
    [('input', 2304), ('flatten', 1024), ('fc1', 64), ('fc2', 7), ('output', 7)]
    """

    def __init__(self, model: Any) -> None:
        import keras

        self._input = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name="cut_input")
        self._steps: list[Step] = []
        self._producer: dict[int, int] = {id(self._input): -1}
        _Walk(self._steps, self._producer).model(model, self._input, "")
        self._names = self._structural_names()

    @property
    def named(self) -> list[CutLayer]:
        """The layers that the line names, in order of the forward pass, the pixels first."""
        return [*self._pixels(), *(self._describe(i, name) for name, i in self._names.items())]

    @property
    def layers(self) -> list[CutLayer]:
        """Every place where the model can be cut, in order of the forward pass, the pixels first."""
        by_step: dict[int, str] = {}
        for name, i in self._names.items():
            by_step.setdefault(i, name)
        rest = [
            self._describe(i, by_step.get(i, step.path))
            for i, step in enumerate(self._steps)
            if step.width is not None
        ]
        return [*self._pixels(), *rest]

    def find(self, name: str) -> CutLayer:
        """Look a layer up by the line's name or by its Keras name.

        Parameters
        ----------
        name : str

        Returns
        -------
        CutLayer

        Raises
        ------
        LayerError
            If there is none, with the layers there are and their widths.
        """
        if name == "input" and self._pixels():
            return self._pixels()[0]
        return self._describe(self._index(name), name)

    def trunk(self, layers: Sequence[str]) -> Any:
        """Build the model up to one or several layers; the weights are shared, not copied.

        Parameters
        ----------
        layers : sequence of str
            Names as for `find`.

        Returns
        -------
        keras.Model
            One output `(n, width)` for each layer, flat.

        Raises
        ------
        LayerError
            If a layer is not there.
        """
        import keras

        outputs = []
        for name in layers:
            tensor = self._input if name == "input" else self._steps[self._index(name)].tensor
            flat = (
                tensor if len(tensor.shape) == 2 else keras.ops.reshape(tensor, (-1, self.find(name).width))
            )
            outputs.append(flat)
        return keras.Model(self._input, outputs, name="trunk")

    def digest(self, layer: str) -> str:
        """Hash the trunk: its operations, their wiring, its weights; no names, no places.

        Parameters
        ----------
        layer : str

        Returns
        -------
        str
            sha256, hexadecimal.
        """
        if layer == "input":
            return hashlib.sha256(f"input {self._input.shape[1:]}".encode()).hexdigest()
        digest = hashlib.sha256(str(self._input.shape[1:]).encode())
        steps = self._upstream(self._index(layer))
        renumbered = {-1: -1, **{step: i for i, step in enumerate(steps)}}
        for i in steps:
            step = self._steps[i]
            wiring = [renumbered.get(source, -2) for source in step.sources]
            digest.update(
                json.dumps([step.kind, _config(step.layer), wiring, step.constants], default=str).encode()
            )
            for weight in getattr(step.layer, "weights", ()):
                if "seed_generator" not in weight.path:
                    digest.update(np.ascontiguousarray(weight.numpy()).data)
        return digest.hexdigest()

    def _index(self, name: str) -> int:
        if name in self._names:
            return self._names[name]
        found = [i for i, step in enumerate(self._steps) if step.path == name]
        found = found or [i for i, step in enumerate(self._steps) if step.path.rsplit("/")[-1] == name]
        paths = {self._steps[i].path for i in found}
        if len(paths) > 1:
            raise LayerError(
                f"layer {name!r} could be any of {', '.join(sorted(paths))}; give the whole name"
            )
        if found and self._steps[found[-1]].width is not None:
            return found[-1]
        if found:
            raise LayerError(
                f"layer {name!r} gives {self._steps[found[-1]].tensor.shape}: a cut needs a fixed width"
            )
        raise LayerError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        places = self.layers
        near = difflib.get_close_matches(name, [n for p in places for n in (p.name, p.keras_name)], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(
            f"{p.name} ({p.width})" if p.name == p.keras_name else f"{p.name} = {p.keras_name} ({p.width})"
            for p in places
        )
        return f"this CNN has no layer {name!r}.{hint} Layers and their widths: {listed}"

    def _pixels(self) -> list[CutLayer]:
        """Return the pixels as a layer; none where the CNN takes images of any size."""
        shape = self._input.shape[1:]
        if None in shape:
            return []
        return [CutLayer("input", "input", "InputLayer", int(np.prod(shape)))]

    def _describe(self, i: int, name: str) -> CutLayer:
        step = self._steps[i]
        return CutLayer(name, step.path, step.kind, step.width or 0)

    def _upstream(self, i: int) -> list[int]:
        """Steps that the given one depends on, itself included, in order."""
        wanted, stack = set(), [i]
        while stack:
            step = stack.pop()
            if step >= 0 and step not in wanted:
                wanted.add(step)
                stack.extend(self._steps[step].sources)
        return sorted(wanted)

    def _structural_names(self) -> dict[str, int]:
        names: dict[str, int] = {}
        flat = [i for i, step in enumerate(self._steps) if step.kind in _FLATTENING]
        first = 0
        if flat:
            names["flatten"] = flat[-1]
            first = flat[-1] + 1
        dense = [i for i in range(first, len(self._steps)) if self._steps[i].kind == "Dense"]
        for number, i in enumerate(dense, 1):
            name = "output" if i == dense[-1] else f"fc{number}"
            names[name] = self._activated(i)
        return names

    def _activated(self, i: int) -> int:
        """Return the step after the activation of a Dense layer: its own, or a layer that follows it."""
        if getattr(self._steps[i].layer.activation, "__name__", "") != "linear":
            return i
        at = i
        while True:
            users = [j for j, step in enumerate(self._steps) if at in step.sources]
            if len(users) != 1:
                return i
            at = users[0]
            if self._steps[at].kind in _ACTIVATIONS:
                return at
            if self._steps[at].kind not in _BETWEEN:
                return i


class _Walk:
    """Calls every layer of a model, nested models opened, on new symbolic tensors; records each call."""

    def __init__(self, steps: list[Step], producer: dict[int, int]) -> None:
        self._steps = steps
        self._producer = producer

    def model(self, model: Any, x: Any, prefix: str) -> Any:
        import keras

        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                x = self._call(prefix, layer, x)
            return x
        if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
            raise ModelError(
                f"model {model.name!r} is a subclass with code of its own, its layers cannot be walked; "
                "rebuild it as a functional or Sequential model"
            )
        # keras.models.clone_model does this too, but cuts a nested model off from the tensors it is given.
        return model._run_through_graph(
            x,
            operation_fn=lambda layer: layer,
            call_fn=lambda layer, *args, **kwargs: self._call(prefix, layer, *args, **kwargs),
        )

    def _call(self, prefix: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
        import keras

        if type(layer).__name__ == "InputLayer":
            return args[0] if args else layer.output
        if isinstance(layer, keras.Model) and getattr(layer, "layers", None):
            return self.model(layer, args[0], f"{prefix}{layer.name}/")
        if kwargs.get("training"):
            kwargs["training"] = False  # a trunk is always in inference mode, whatever the graph demands
        output = layer(*args, **kwargs)
        sources = tuple(self._producer.get(id(t), -2) for t in _tensors((args, kwargs)))
        if hasattr(output, "shape"):
            self._producer[id(output)] = len(self._steps)
            self._steps.append(Step(prefix + layer.name, layer, output, sources, _constants((args, kwargs))))
        return output


def _tensors(structure: Any) -> Iterable[Any]:
    import keras

    return (t for t in keras.tree.flatten(structure) if isinstance(t, keras.KerasTensor))


def _constants(structure: Any) -> tuple[str, ...]:
    """Return the arguments of a call that are no tensors: the 2 of `x * 2`."""
    import keras

    leaves = (leaf for leaf in keras.tree.flatten(structure) if not isinstance(leaf, keras.KerasTensor))
    return tuple(repr(np.asarray(leaf).tolist()) if hasattr(leaf, "shape") else repr(leaf) for leaf in leaves)


def _config(layer: Any) -> Any:
    """Return a layer's configuration without what does not change its values in inference."""
    import keras

    config = keras.saving.serialize_keras_object(layer).get("config", {})

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in _NO_EFFECT}
        if isinstance(value, (list, tuple)):
            return [strip(v) for v in value]
        return value

    return strip(config)


_NO_EFFECT = {
    "name", "trainable", "seed", "registered_name", "module", "build_config", "kernel_initializer",
    "bias_initializer", "kernel_regularizer", "bias_regularizer", "activity_regularizer", "rate",
}  # fmt: skip
