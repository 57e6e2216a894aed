"""Where a CNN can be cut, and the trunk that remains.

The model is walked once, call by call, nested models included; every call becomes a `Step`. A place has a
name by the structure of the model (`flatten`, `fc1`, ..., `output`; see `cnnboost.features.names`), or that
of its Keras layer.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.cnn.graph import Step, Walk, assembled
from cnnboost.errors import LayerError
from cnnboost.features.digest import trunk_digest
from cnnboost.features.names import structural_names


@dataclass(frozen=True)
class CutLayer:
    """One place where a CNN can be cut."""

    name: str
    """`input`, `flatten`, `fc1`, ..., `output`; or the Keras name of a layer without such a name."""
    keras_name: str
    """Name of the Keras layer whose output is taken: `outer/inner` inside nested models, `name@2` for the
    second call of a layer that is called several times, `name@1` for a layer whose name means another place
    by structure, `name[0]` for the first of several outputs."""
    kind: str
    """Class of the layer."""
    width: int
    """Number of features per image."""


class Cut:
    """A CNN (Sequential, functional or nested) with its layers by name, and the trunk up to any of them.

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
        walk = Walk(self._input)
        tensors = keras.tree.flatten(walk.model(model, self._input))
        self._steps = _told_apart(walk.steps)
        outputs = [walk.producer[id(tensor)] for tensor in tensors]
        self._names, self._reason = structural_names(self._steps, outputs)
        # A Keras layer may be called `flatten` without being what the structure calls so.
        self._steps = [
            dataclasses.replace(step, path=f"{step.path}@1") if self._names.get(step.path, i) != i else step
            for i, step in enumerate(self._steps)
        ]

    @property
    def named(self) -> list[CutLayer]:
        """The layers with a structural name, in order of the forward pass, the pixels first."""
        return [*self._pixels(), *(self._describe(i, name) for name, i in self._names.items())]

    @property
    def layers(self) -> list[CutLayer]:
        """Every place where the model can be cut, in order of the forward pass, the pixels first."""
        by_step = {i: name for name, i in reversed(self._names.items())}
        rest = [
            self._describe(i, by_step.get(i, step.path))
            for i, step in enumerate(self._steps)
            if step.width is not None
        ]
        return [*self._pixels(), *rest]

    def find(self, name: str) -> CutLayer:
        """Look a layer up by its structural or its Keras name."""
        if name == "input" and self._pixels():
            return self._pixels()[0]
        return self._describe(self._index(name), name)

    def trunk(self, layers: Sequence[str]) -> Any:
        """Build the model up to one or several layers; the weights are shared, not copied.

        It has one flat float32 output `(n, width)` for each layer, computed in the model's own precision.
        """
        import keras

        outputs = []
        for name in layers:
            tensor = self._input if name == "input" else self._steps[self._index(name)].tensor
            if len(tensor.shape) != 2:
                tensor = keras.ops.reshape(tensor, (-1, self.find(name).width))
            if keras.backend.standardize_dtype(tensor.dtype) != "float32":
                tensor = keras.ops.cast(tensor, "float32")
            outputs.append(tensor)
        return assembled(self._input, outputs, "trunk")

    def digest(self, layer: str) -> str:
        """Hash the trunk: its operations, their wiring, its weights; no names, no places."""
        return trunk_digest(self._input, self._steps, -1 if layer == "input" else self._index(layer))

    def _index(self, name: str) -> int:
        if name in self._names:
            return self._names[name]
        matching = [i for i, step in enumerate(self._steps) if step.path == name]
        matching = matching or [i for i, step in enumerate(self._steps) if name in _short_names(step.path)]
        if len(matching) > 1:
            paths = ", ".join(sorted(self._steps[i].path for i in matching))
            raise LayerError(f"layer {name!r} could be any of {paths}; give the whole name")
        if not matching:
            raise LayerError(self._unknown(name))
        step = self._steps[matching[0]]
        if step.width is None:
            raise LayerError(f"layer {name!r} gives {step.tensor.shape}: a cut needs a fixed width")
        return matching[0]

    def _unknown(self, name: str) -> str:
        places = self.layers
        near = difflib.get_close_matches(name, [n for p in places for n in (p.name, p.keras_name)], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(
            f"{p.name} ({p.width})" if p.name == p.keras_name else f"{p.name} = {p.keras_name} ({p.width})"
            for p in places
        )
        is_structural = self._reason and re.fullmatch(r"flatten|fc\d+|output", name)
        reason = f": {self._reason}" if is_structural else ""
        return f"this CNN has no layer {name!r}{reason}.{hint} Layers and their widths: {listed}"

    def _pixels(self) -> list[CutLayer]:
        """Return the pixels as a layer; none where the CNN takes images of any size."""
        shape = self._input.shape[1:]
        if None in shape:
            return []
        return [CutLayer("input", "input", "InputLayer", int(np.prod(shape)))]

    def _describe(self, i: int, name: str) -> CutLayer:
        step = self._steps[i]
        return CutLayer(name, step.path, step.kind, step.width or 0)


def _told_apart(steps: Sequence[Step]) -> list[Step]:
    """Number the calls of a layer that has several, and the outputs of a call that has several."""
    calls = Counter(step.path for step in steps if not step.output)
    seen: Counter[str] = Counter()
    named = []
    for step in steps:
        seen[step.path] += not step.output
        path = f"{step.path}@{seen[step.path]}" if calls[step.path] > 1 else step.path
        path += "" if step.output is None else f"[{step.output}]"
        named.append(dataclasses.replace(step, path=path))
    return named


def _short_names(path: str) -> set[str]:
    """Return what a place may be called where that is unambiguous: without models, call and output."""
    name = path.rsplit("/")[-1]
    return {name, re.sub(r"(@\d+)?(\[\d+\])?$", "", name), re.sub(r"(@\d+)?(\[\d+\])?$", "", path)}
