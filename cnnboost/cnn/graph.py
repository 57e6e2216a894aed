"""The forward pass of a model, call by call, nested models opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnboost.errors import ModelError


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


class Walk:
    """Calls every layer of a model, nested models opened, on new symbolic tensors; records each call."""

    def __init__(self, steps: list[Step], producer: dict[int, int]) -> None:
        self._steps = steps
        self._producer = producer

    def model(self, model: Any, x: Any, prefix: str) -> Any:
        """Call every layer of a model on `x`; return what comes out."""
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


def values_of(layer: Any) -> Any:
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
