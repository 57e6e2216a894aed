"""Names that follow from a model's structure alone: `flatten`, `fc1`, `fc2`, ..., `output`.

They are worked back from the model's one output. `flatten` is where feature maps become a vector: the last
flatten or global pooling before the output, as a layer or as an operation. The dense layers after it are
`fc1`, `fc2`, ..., each after its activation; a convolution of a 1x1 map that follows a global pooling is one
of them. `output` is what the model returns, the activation of the last dense layer mostly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from cnnboost.cnn.graph import Step, upstream

_ACTIVATIONS = {
    "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax",
    # Operations of keras.ops and keras.activations.
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "Mish", "Sigmoid", "SparseSigmoid",
    "HardSigmoid", "HardSilu", "LogSigmoid", "Softplus", "Softsign", "SoftShrink", "HardShrink",
    "TanhShrink", "Threshold", "Squareplus", "SparsePlus", "Tanh", "HardTanh", "LogSoftmax", "Sparsemax",
    "Absolute", "Abs", "Arctan", "Clip", "Cos", "Erf", "Exp", "Expm1", "Log1p", "Maximum", "Minimum", "Power",
    "Sign", "Sin", "Sinh", "Sqrt", "Square", "Where", "Greater", "GreaterEqual", "Less", "LessEqual",
}  # fmt: skip
# What may lie between a dense layer and its activation.
_BETWEEN = {
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization",
    "SpectralNormalization", "Rescaling", "Normalization", "Cast",
    "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative",
}  # fmt: skip
_SHAPES = {"Flatten", "Reshape", "Squeeze", "ExpandDims", "Ravel", "GetItem"}
_POOLING = {"Mean", "Max", "Amax", "Sum", "AdaptiveAveragePool", "AdaptiveMaxPool"}


def structural_names(steps: Sequence[Step], outputs: Sequence[int]) -> tuple[dict[str, int], str]:
    """Name the steps of a model that have a place in the order of every CNN."""
    if len(outputs) != 1:
        paths = ", ".join(steps[i].path if i >= 0 else "input" for i in outputs)
        return {}, f"it has {len(outputs)} outputs ({paths}), and these names are found from a single one"
    return _Head(steps, outputs[0]).names()


class _Head:
    """What lies between the feature maps and the output of a model."""

    def __init__(self, steps: Sequence[Step], output: int) -> None:
        self._steps, self._output = steps, output
        self._users: dict[int, list[int]] = {}
        for i, step in enumerate(steps):
            for source in set(step.sources) if not step.idle else ():
                self._users.setdefault(source, []).append(i)

    def names(self) -> tuple[dict[str, int], str]:
        steps, names, reasons = self._steps, {}, []
        flats, dense = self._flats_and_dense()
        if len(flats) == 1:
            names["flatten"] = flats[0]
        elif not flats:
            reasons.append("nothing between its feature maps and its output flattens or pools them")
        else:
            paths = ", ".join(steps[i].path for i in flats)
            reasons.append(f"there is no single `flatten`: {paths} all lead to the output")
        if dense and self._output in (dense[-1], *(end for end, _ in self._ends(dense[-1]))):
            dense.pop()
        beside = [(a, b) for a, b in itertools.pairwise(dense) if a not in upstream(steps, b)]
        if beside:
            a, b = (steps[i].path for i in beside[0])
            reasons.append(f"dense layers lie side by side: {a} and {b} do not follow each other")
        elif flats:
            names |= {f"fc{number}": self._activated(i) for number, i in enumerate(dense, 1)}
        if self._output >= 0:
            names["output"] = self._output
        return names, "; ".join(reasons)

    def _flats_and_dense(self) -> tuple[list[int], list[int]]:
        """Go back from the output to where vectors are made from maps."""
        flats, seen, stack = set(), set(), [self._output]
        while stack:
            i = stack.pop()
            if i in seen or i < 0 or not self._is_vector(i):
                continue
            seen.add(i)
            if self._flattens(i):
                flats.add(i)
            else:
                stack.extend(self._steps[i].sources)
        dense = sorted(i for i in seen - flats if self._is_dense(i))
        return sorted(flats), dense

    def _is_vector(self, i: int) -> bool:
        """Whether a step gives one value per channel: all axes but one have the length 1."""
        return i >= 0 and sum(size != 1 for size in self._steps[i].tensor.shape[1:]) <= 1

    def _rank(self, i: int) -> int:
        return 4 if i < 0 else len(self._steps[i].tensor.shape)

    def _is_dense(self, i: int) -> bool:
        import keras

        layer = self._steps[i].layer
        return isinstance(layer, keras.layers.Dense) or (
            isinstance(layer, keras.layers.Conv2D) and all(self._is_vector(s) for s in self._steps[i].sources)
        )

    def _pools(self, i: int) -> bool:
        kind = self._steps[i].kind
        whole = kind in _POOLING or ("Pooling" in kind and kind.startswith(("Global", "Adaptive")))
        return whole and all(self._rank(s) > 2 for s in self._steps[i].sources)

    def _flattens(self, i: int) -> bool:
        """Whether a step makes a vector from maps."""
        sources = self._steps[i].sources
        if self._pools(i) or any(not self._is_vector(s) for s in sources):
            return True
        if self._rank(i) > 2 or all(self._rank(s) <= 2 for s in sources):
            return False
        # A 1x1 map becomes a row. It may be the end of the backbone, or of dense layers that are written as
        # convolutions after a global pooling.
        return not self._ends_convolutional_head(i)

    def _ends_convolutional_head(self, i: int) -> bool:
        is_dense = False
        while True:
            sources = self._steps[i].sources
            if len(sources) != 1 or sources[0] < 0:
                return False
            i = sources[0]
            if self._pools(i) or not self._is_vector(i) or (self._rank(i) == 2 and self._flattens(i)):
                return is_dense and self._is_vector(i)
            if self._is_dense(i):
                is_dense = True
            elif self._steps[i].kind not in _ACTIVATIONS | _BETWEEN | _SHAPES:
                return False

    def _activated(self, i: int) -> int:
        """Return the step after the activation of a dense layer: its own, or one that follows it."""
        if getattr(self._steps[i].layer.activation, "__name__", "") != "linear":
            return i
        return next((end for end, is_activated in self._ends(i) if is_activated), i)

    def _ends(self, i: int) -> Iterator[tuple[int, bool]]:
        """Yield every step that alone passes on what a step gives, and whether it is an activation of it."""
        # One that is written out, `x * sigmoid(x)`, is several steps of which the last passes it on.
        inside, is_activated = {i}, False
        for j in range(i + 1, len(self._steps)):
            sources = set(self._steps[j].sources)
            if self._steps[j].idle or not sources & inside:
                continue
            if not sources <= inside or self._steps[j].kind not in _ACTIVATIONS | _BETWEEN | _SHAPES:
                return
            inside.add(j)
            is_activated |= self._steps[j].kind in _ACTIVATIONS or len(sources) > 1
            if all(set(self._users.get(k, ())) <= inside for k in inside - {j}):
                yield j, is_activated
