"""Networks whose layers follow one another: our own, and those of published studies of FER-2013."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import validate_call

from cnnboost.cnn.architectures.registry import (
    Counts,
    NonEmpty,
    Padding,
    Real,
    Share,
    Whole,
    Wholes,
    Window,
    register,
)

_TO_UNIT = {"scale": 1 / 255}
_TO_SYMMETRIC = {"scale": 1 / 127.5, "offset": -1}


@register("digits")
@validate_call
def digits(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: Wholes = (32, 64),
    dropout: Share = 0.3,
    dense: Wholes = (64, 32),
) -> Any:
    """Build a small CNN for small images, 8x8 handwritten digits above all.

    2,380,487 parameters for 48x48x1 images and seven classes, 86,826 for 8x8x1 and ten.
    """
    from keras import layers

    stack = [
        layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{i}")
        for i, width in enumerate(filters, 1)
    ]
    stack += [layers.MaxPooling2D(2, name="pool"), layers.Dropout(dropout, name="dropout")]
    stack += [layers.Flatten(name="flatten"), *_dense(dense)]
    return _network("digits", input_shape, n_classes, stack)


@register("vgg")
@validate_call
def vgg(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: NonEmpty = (32, 64, 128, 256),
    convolutions: Counts = (1, 2, 2, 2),
    kernel_size: Window = 3,
    dense: Wholes = (128,),
    dropout: Share = 0.3,
) -> Any:
    """Build a plain VGG with batch normalisation, global average pooling and a hidden dense layer.

    Blocks of convolution, batch normalisation and ReLU, a 2x2 max-pooling between the blocks; then the mean
    over each map (`flatten`), and dense layers with dropout before each. 1,199,015 parameters for 48x48x1
    images and seven classes. Convolutions have no bias, which the normalisation would take away again.
    """
    from keras import layers

    if len(convolutions) != len(filters):
        raise ValueError(
            f"convolutions={convolutions} has {len(convolutions)} numbers, filters={filters} has "
            f"{len(filters)}: give one of each for every block"
        )
    shared = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    stack: list[Any] = []
    for block, (width, count) in enumerate(zip(filters, convolutions, strict=True), 1):
        if block > 1:
            stack.append(layers.MaxPooling2D(2, name=f"pool{block - 1}"))
        for i in range(1, count + 1):
            stack.append(layers.Conv2D(width, kernel_size, name=f"conv{block}_{i}", **shared))
            stack.append(layers.BatchNormalization(momentum=0.9, name=f"norm{block}_{i}"))
            stack.append(layers.ReLU(name=f"relu{block}_{i}"))
    stack.append(layers.GlobalAveragePooling2D(name="flatten"))
    for i, width in enumerate(dense, 1):
        stack += [layers.Dropout(dropout, name=f"dropout{i}")] if dropout else []
        stack.append(layers.Dense(width, activation="relu", name=f"fc{i}"))
    stack += [layers.Dropout(dropout, name=f"dropout{len(dense) + 1}")] if dropout else []
    return _network("vgg", input_shape, n_classes, stack, pixels=_TO_SYMMETRIC)


@register("linear")
@validate_call
def linear(
    input_shape: tuple[int, int, int],
    n_classes: int,
    l2: Real = 0.0,
    scaling: Literal["unit", "raw"] = "unit",
) -> Any:
    """Build a multinomial logistic regression on the pixels, scaled to 0..1 or raw.

    The softmax model of the Uniandes study of FER-2013; with two classes it is its logistic regression (the
    difference of the two rows of weights is the one row that is usually written). 16,135 parameters for
    48x48x1 images and seven classes.
    """
    from keras import layers

    # A Rescaling in either case: it marks a model that takes pixels in [0, 255].
    pixels = _TO_UNIT if scaling == "unit" else {"scale": 1.0}
    flat = [layers.Flatten(name="flatten")]
    return _network("linear", input_shape, n_classes, flat, pixels=pixels, l2=l2)


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
    from keras import layers

    stack = [layers.Flatten(name="flatten"), *_dense(dense, dropout)]
    return _network("imperial_mlp", input_shape, n_classes, stack)


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
    from keras import layers

    blocks = [([first_filters], first_kernel_size, first_padding)]
    blocks += [([width, width], kernel_size, padding) for width in filters]
    stack: list[Any] = []
    number = 0
    for i, (widths, window, border) in enumerate(blocks, 1):
        for width in widths:
            number += 1
            stack.append(
                layers.Conv2D(width, window, padding=border, activation="relu", name=f"conv{number}")
            )
        stack.append(layers.AveragePooling2D(pool_size, name=f"pool{i}"))
    stack += [layers.Flatten(name="flatten"), *_dense(dense, dropout)]
    return _network("imperial_cnn", input_shape, n_classes, stack)


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
    from keras import layers

    stack: list[Any] = []
    for i, width in enumerate(filters, 1):
        stack.append(layers.Conv2D(width, kernel_size, padding=padding, activation="relu", name=f"conv{i}"))
        stack.append(layers.MaxPooling2D(pool_size, padding=pool_padding, name=f"pool{i}"))
    stack += [layers.Dropout(dropout, name="dropout"), layers.Flatten(name="flatten")]
    hidden = _dense(dense)
    if hidden and l2:
        hidden[0].kernel_regularizer = keras.regularizers.L2(l2)
    return _network("oslo", input_shape, n_classes, [*stack, *hidden])


def _dense(widths: Sequence[int], dropout: float | None = None) -> list[Any]:
    """Return hidden dense layers, each with its dropout after it."""
    from keras import layers

    stack: list[Any] = []
    for i, width in enumerate(widths, 1):
        stack.append(layers.Dense(width, activation="relu", name=f"fc{i}"))
        if dropout is not None:
            stack.append(layers.Dropout(dropout, name=f"dropout{i}"))
    return stack


def _network(
    name: str,
    input_shape: tuple[int, int, int],
    n_classes: int,
    stack: Sequence[Any],
    *,
    pixels: dict[str, float] = _TO_UNIT,
    l2: float = 0.0,
) -> Any:
    """Put the scaling of the pixels before a stack of layers, and the output after it."""
    import keras

    penalty = keras.regularizers.L2(l2) if l2 else None
    output = keras.layers.Dense(n_classes, activation="softmax", kernel_regularizer=penalty, name="output")
    x = image = keras.Input(input_shape, name="image")
    for layer in (keras.layers.Rescaling(name="pixels", **pixels), *stack, output):
        x = layer(x)
    return keras.Model(image, x, name=name)
