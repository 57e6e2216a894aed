"""VGG19 with the ImageNet weights, those of a file, or none."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, validate_call

from cnnboost.cnn.architectures.registry import Block, register
from cnnboost.cnn.inputs import CAFFE_MEANS
from cnnboost.cnn.model_file import keras_reason, read_model
from cnnboost.errors import ModelError

log = logging.getLogger("cnnboost")

Scaling = Literal["minmax", "unit", "raw", "imagenet"]
IMAGENET_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
_SMALLEST = 32


@register("vgg19")
@validate_call
def vgg19(
    input_shape: tuple[int, int, int],
    n_classes: int,
    weights: Annotated[str, Field(min_length=1)] = "imagenet",
    frozen_blocks: Block = 0,
    scaling: Scaling = "minmax",
) -> Any:
    """Build the HUST study's network for FER-2013: VGG19, global max-pooling, one output layer.

    K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
    2015, as in `keras.applications.VGG19` without its top. Grey images are repeated to three channels inside
    the model. 20,027,975 parameters for 48x48x1 images and seven classes, however many of them are frozen.
    """
    import keras

    height, width, channels = input_shape
    if min(height, width) < _SMALLEST:
        raise ValueError(
            f"block5_pool has nothing to pool: VGG19 halves images five times, so they must be "
            f"{_SMALLEST}x{_SMALLEST} or more"
        )
    if channels not in (1, 3):
        raise ValueError(f"images of {channels} channels; VGG19 takes 1 (grey) or 3 (red, green, blue)")
    image = keras.Input(input_shape, name="image")
    pixels = _prepared(image, scaling)
    base = _base(pixels, weights)
    frozen = tuple(f"block{number}_" for number in range(1, frozen_blocks + 1))
    for layer in base.layers:
        if layer.name.startswith(frozen):
            layer.trainable = False
    x = keras.layers.GlobalMaxPooling2D(name="flatten")(base.output)
    x = keras.layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="vgg19")


def _prepared(image: Any, scaling: Scaling) -> Any:
    """Scale the pixels and give grey ones three channels."""
    import keras

    layers, ops = keras.layers, keras.ops
    # A Rescaling comes first whatever the scaling is: it marks a model that takes pixels in [0, 255].
    x = layers.Rescaling(1 / 255 if scaling in ("minmax", "unit") else 1.0, name="pixels")(image)
    if scaling == "minmax":
        low = ops.min(x, axis=(1, 2, 3), keepdims=True)
        high = ops.max(x, axis=(1, 2, 3), keepdims=True)
        # One grey level at least: an image of one colour becomes 0 and not a division by zero.
        x = (x - low) / ops.maximum(high - low, 1 / 255)
    if image.shape[-1] == 1:
        x = layers.Concatenate(name="rgb")([x, x, x])
    if scaling == "imagenet":
        if image.shape[-1] == 3:
            x = ops.take(x, [2, 1, 0], axis=-1)
        # No Normalization layer: its constants do not survive the export to ONNX.
        x = layers.Rescaling(1.0, offset=[-mean for mean in CAFFE_MEANS], name="means")(x)
    return x


def _base(pixels: Any, weights: str) -> Any:
    """Return VGG19's convolutions on the prepared pixels, with the weights that are wanted."""
    import keras

    def build(source: str | None) -> Any:
        return keras.applications.VGG19(include_top=False, weights=source, input_tensor=pixels)

    if weights == "none":
        return build(None)
    if weights != "imagenet":
        return _from_file(build, weights)
    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    if not (folder / IMAGENET_FILE).is_file():
        log.info("the ImageNet weights of VGG19 are fetched to %s", folder)
    try:
        # Keras' progress bar goes to stdout, which belongs to a command's result.
        with contextlib.redirect_stdout(io.StringIO()):
            return build("imagenet")
    # Keras wraps whatever the network did in a bare Exception; a damaged file raises what h5py raises.
    except Exception as error:
        raise ModelError(
            f"the ImageNet weights of VGG19 cannot be loaded: {keras_reason(error)}. Keras looks for them at "
            f"{folder / IMAGENET_FILE}, and fetches them where they are not; put the file there, give "
            'weights = "PATH" (an .h5 or .keras file), or weights = "none" for random ones'
        ) from error


def _from_file(build: Callable[[None], Any], weights: str) -> Any:
    """Build the convolutions and fill them from a file of weights, or of a model that has them."""
    import h5py

    path = Path(weights).expanduser()
    if not path.is_file() or path.suffix not in (".h5", ".hdf5", ".keras"):
        raise ModelError(
            f"weights={weights!r}: no such file of weights; give 'imagenet', 'none', or an .h5 or .keras file"
        )
    try:
        is_model = path.suffix == ".keras"
        if not is_model:
            with h5py.File(path, "r") as file:
                is_model = "model_config" in file.attrs
        if is_model:
            # By their names, out of nested models too.
            layers = {layer.name: layer for layer in read_model(path)._flatten_layers()}
            base = build(None)
            for layer in base.layers:
                if layer.weights:
                    layer.set_weights(layers[layer.name].get_weights())
            return base
        base = build(None)
        # Keras warns of all that has no weights to load; what misses its weights is an error.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            base.load_weights(path)
    except ModelError:
        raise
    # Keras raises whatever h5py and its loader happen to raise; the file is to blame for all of it.
    except Exception as error:
        raise ModelError(
            f"weights={weights!r} does not hold the weights of VGG19 without its top, as "
            f"{IMAGENET_FILE} does: {keras_reason(error)}"
        ) from error
    return base
