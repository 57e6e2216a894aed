"""The arithmetic in a network, and the rate at which libraries multiply matrices on this machine.

An operation is one multiplication or one addition of float32 numbers. A convolution counts as it is defined,
two for each weight and place, even if a library needs fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from cnnboost.cnn.graph import distinct_names
from cnnboost.features.cut import Cut
from cnnboost.timing.clock import Timing

#: Rows and columns of the matrices whose product is timed: 34 MB of operands and result, 17 GFLOP.
PRODUCT_SIZE = 2048

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
# One multiplication and one addition for each value.
_SCALING = ("BatchNormalization", "Normalization", "PReLU")
# Products of their inputs, without weights.
_WEIGHTLESS = ("Attention", "AdditiveAttention", "Dot", "Matmul", "Einsum", "Tensordot")


@dataclass(frozen=True)
class Operations:
    """The arithmetic of a network for one image, and the layers that could not be counted."""

    flop: int
    uncounted: tuple[str, ...] = ()


def count_operations(model: Any, shape: tuple[int, int, int], views: int = 1) -> Operations:
    """Count the operations in convolutions, fully connected layers and the like.

    Pooling, activations and additions of a bias are not counted: they take little time, and published figures
    leave them out as well.
    """
    import keras

    flop = 0
    uncounted: list[str] = []

    def count(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal flop
        output = layer(*args, **kwargs)
        operations = _of_call(layer, args[0] if args else None, output)
        if operations is None:
            uncounted.append(f"{layer.name} ({type(layer).__name__})")
        else:
            flop += views * operations
        return output

    # On images of a fixed size; the trunk contains no nested models, so every call is counted.
    image = keras.Input(shape, dtype=model.inputs[0].dtype)
    flat = Cut(keras.Model(image, model(image))).trunk(["output"])
    with distinct_names(flat.outputs):
        keras.models.clone_model(flat, clone_function=lambda layer: layer, call_function=count)
    return Operations(flop, tuple(uncounted))


def _of_call(layer: Any, given: Any, output: Any) -> int | None:
    """Return the operations in one call of a layer; None if they are not known."""
    kind = type(layer).__name__
    if kind in _SCALING:
        return 2 * prod(output.shape[1:])
    if kind in _SEPARABLE:
        weights = prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape)
        return 2 * weights * _places(output, layer.filters)
    if kind in _TRANSPOSED:
        places = _places(given, layer.kernel.shape[-1])
    elif kind in _DEPTHWISE:
        places = _places(output, layer.kernel.shape[-2] * layer.depth_multiplier)
    elif kind == "Dense" or kind in _CONVOLUTIONS:
        places = _places(output, layer.kernel.shape[-1])
    else:
        return None if getattr(layer, "weights", ()) or kind in _WEIGHTLESS else 0
    return 2 * prod(layer.kernel.shape) * places


def _places(tensor: Any, channels: int) -> int:
    """Return the number of pixels, with channels first or last."""
    return int(prod(tensor.shape[1:])) // int(channels)


def product_rates(timings: Mapping[str, Timing]) -> dict[str, float]:
    """Turn the durations of matrix products into operations a second."""
    operations = 2 * PRODUCT_SIZE**3
    return {path.split("/")[1]: operations / min(timing.seconds) for path, timing in timings.items()}
