"""The networks of published studies of FER-2013: Uniandes, Imperial, Oslo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import validate_call

from cnnboost.cnn.architectures.registry import (
    NonEmpty,
    Padding,
    Real,
    Share,
    Whole,
    Wholes,
    Window,
    register,
)


@register("linear")
@validate_call
def linear(input_shape: tuple[int, int, int], n_classes: int, l2: Real = 0.0) -> Any:
    """Build a multinomial logistic regression on the pixels.

    The softmax model of the Uniandes study of FER-2013; with two classes it is its logistic regression (the
    difference of the two rows of weights is the one row that is usually written). 16,135 parameters for
    48x48x1 images and seven classes.
    """
    import keras

    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    x = layers.Flatten(name="flatten")(x)
    penalty = keras.regularizers.L2(l2) if l2 else None
    x = layers.Dense(n_classes, activation="softmax", kernel_regularizer=penalty, name="output")(x)
    return keras.Model(image, x, name="linear")


@register("imperial_mlp")
@validate_call
def imperial_mlp(
    input_shape: tuple[int, int, int],
    n_classes: int,
    dense: NonEmpty = (1000, 1000),
    dropout: Share = 0.5,
) -> Any:
    """Build the feed-forward network of the Imperial study of FER-2013.

    The pixels in a row, two hidden layers of 1,000 ReLU with inverted dropout (kept units are scaled up while
    training, nothing happens in inference: what Keras' own does), softmax: 3,313,007 parameters for 48x48x1
    images and seven classes.
    """
    import keras

    x = image = keras.Input(input_shape, name="image")
    x = keras.layers.Rescaling(1 / 255, name="pixels")(x)
    x = _dense_layers(x, n_classes, dense, dropout)
    return keras.Model(image, x, name="imperial_mlp")


@register("imperial_cnn")
@validate_call
def imperial_cnn(
    input_shape: tuple[int, int, int],
    n_classes: int,
    first_filters: Whole = 36,
    first_kernel_size: Window = 5,
    first_padding: Padding = "valid",
    filters: Wholes = (48, 48),
    kernel_size: Window = 3,
    padding: Padding = "same",
    pool_size: Window = 2,
    dense: Wholes = (1000, 1000),
    dropout: Share = 0.5,
) -> Any:
    """Build the CNN of the Imperial study of FER-2013.

    36 filters 5x5 and an average pooling; twice two convolutions of 48 filters 3x3 with one pixel of zero
    padding, and an average pooling; three dense layers with dropout, the last of them the softmax output:
    2,287,895 parameters for 48x48x1 images and seven classes.

    The study's description that we have leaves three things open, so they are options: zero padding is
    mentioned for the 3x3 convolutions only, so the first has none; the pooling windows are the usual 2x2;
    the two hidden dense layers are as wide as those of the study's feed-forward network, 1,000, so that the
    two networks differ in the convolutions and nothing else.
    """
    import keras

    blocks = [([first_filters], first_kernel_size, first_padding)]
    blocks += [([width, width], kernel_size, padding) for width in filters]
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    number = 0
    for i, (widths, window, border) in enumerate(blocks, 1):
        for width in widths:
            number += 1
            x = layers.Conv2D(width, window, padding=border, activation="relu", name=f"conv{number}")(x)
        x = layers.AveragePooling2D(pool_size, name=f"pool{i}")(x)
    x = _dense_layers(x, n_classes, dense, dropout)
    return keras.Model(image, x, name="imperial_cnn")


@register("oslo")
@validate_call
def oslo(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: NonEmpty = (32, 64, 64),
    kernel_size: Window = 3,
    padding: Padding = "valid",
    pool_size: Window = 2,
    pool_padding: Padding = "valid",
    dropout: Share = 0.5,
    dense: Wholes = (64, 7),
    l2: Real = 1e-4,
) -> Any:
    """Build the CNN of the Oslo study of gradient boosted CNNs on FER-2013.

    Three pairs of 3x3 convolution and 2x2 max-pooling, dropout, flatten (1,024 wide for 48x48 images), a
    dense layer of 64 with an L2 penalty, a dense layer of 7, and the softmax output: 121,855 parameters for
    48x48x1 images and seven classes.
    """
    import keras

    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    for i, width in enumerate(filters, 1):
        x = layers.Conv2D(width, kernel_size, padding=padding, activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(pool_size, padding=pool_padding, name=f"pool{i}")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        penalty = keras.regularizers.L2(l2) if i == 1 and l2 else None
        x = layers.Dense(width, activation="relu", kernel_regularizer=penalty, name=f"fc{i}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="oslo")


def _dense_layers(x: Any, n_classes: int, dense: Sequence[int], dropout: float) -> Any:
    import keras

    layers = keras.layers
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        x = layers.Dense(width, activation="relu", name=f"fc{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return layers.Dense(n_classes, activation="softmax", name="output")(x)
