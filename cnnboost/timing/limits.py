"""How far the limit is: the arithmetic in a network, and the rate at which libraries multiply matrices here.

An operation is one multiplication or one addition of float32 numbers. A convolution counts as it is defined,
two for each weight and place; a library that finds a way with fewer still does the same work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from cnnboost.cnn.graph import distinct_names
from cnnboost.features.cut import Cut
from cnnboost.timing.clock import Timing

PRODUCT_SIZE = 2048
"""Rows and columns of the matrices whose product is timed: 34 MB of operands and result, 17 GFLOP."""

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
# One multiplication and one addition for each value.
_SCALING = ("BatchNormalization", "Normalization", "PReLU")
# Products of what comes in, without a weight that would give them away.
_WEIGHTLESS = ("Attention", "AdditiveAttention", "Dot", "Matmul", "Einsum", "Tensordot")


@dataclass(frozen=True)
class Operations:
    """The arithmetic of one image's way through a network."""

    flop: int
    uncounted: tuple[str, ...] = ()

    def times(self, views: int) -> Operations:
        """Return the arithmetic of so many ways through."""
        return Operations(self.flop * views, self.uncounted)


def count_operations(model: Any, shape: tuple[int, int, int]) -> Operations:
    """Count the operations in convolutions, fully connected layers and the like.

    Pooling, activations and additions of a bias are not counted: they are not what takes the time, and
    published figures leave them out as well.
    """
    import keras

    flop = 0
    uncounted: list[str] = []

    def follow(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal flop
        output = layer(*args, **kwargs)
        found = _of_call(layer, args[0] if args else None, output)
        if found is None:
            uncounted.append(f"{layer.name} ({type(layer).__name__})")
        else:
            flop += found
        return output

    # Called on images of known size, then laid open: the trunk has no nested models, and every call shows.
    image = keras.Input(shape, dtype=model.inputs[0].dtype)
    cut = Cut(keras.Model(image, model(image)))
    flat = cut.trunk(["output"])
    with distinct_names(flat.outputs):
        keras.models.clone_model(flat, clone_function=lambda layer: layer, call_function=follow)
    return Operations(flop, tuple(uncounted))


def _of_call(layer: Any, given: Any, output: Any) -> int | None:
    """Return the operations in one call of a layer; None where they are not known."""
    kind = type(layer).__name__
    if kind in _CONVOLUTIONS:
        return 2 * prod(layer.kernel.shape) * _places(output, layer.filters)
    if kind in _TRANSPOSED:
        return 2 * prod(layer.kernel.shape) * _places(given, layer.kernel.shape[-1])
    if kind == "Dense":
        return 2 * prod(layer.kernel.shape) * _places(output, layer.units)
    if kind in _DEPTHWISE:
        channels = layer.kernel.shape[-2] * layer.depth_multiplier
        return 2 * prod(layer.kernel.shape) * _places(output, channels)
    if kind in _SEPARABLE:
        weights = prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape)
        return 2 * weights * _places(output, layer.filters)
    if kind in _SCALING:
        return 2 * prod(output.shape[1:])
    return None if getattr(layer, "weights", ()) or kind in _WEIGHTLESS else 0


def _places(tensor: Any, channels: int) -> int:
    """Return the number of pixels, whether the channels stand first or last."""
    return int(prod(tensor.shape[1:])) // int(channels)


def product_rates(timings: Mapping[str, Timing], size: int = PRODUCT_SIZE) -> dict[str, float]:
    """Turn the durations of matrix products into rates."""
    return {path.split("/")[1]: 2 * size**3 / min(timing.seconds) for path, timing in timings.items()}
