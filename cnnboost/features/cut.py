"""Where a CNN can be cut, and the trunk that remains.

The model is walked once, call by call, nested models included; every call becomes a `Step`. Names follow
from structure alone: the flatten (or last global pooling) layer is `flatten`, the Dense layers after it are
`fc1`, `fc2`, ... each after its activation, and the last of them is `output`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.cnn.graph import Step, Walk, values_of
from cnnboost.errors import LayerError

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
        Walk(self._steps, self._producer).model(model, self._input, "")
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
                json.dumps([step.kind, values_of(step.layer), wiring, step.constants], default=str).encode()
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
