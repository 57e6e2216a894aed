"""Architectures of our own: a small CNN, and a plain VGG."""

from __future__ import annotations

from typing import Any

from pydantic import validate_call

from cnnboost.cnn.architectures.registry import Counts, NonEmpty, Share, Wholes, Window, register


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
    import keras

    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    for i, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{i}")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        x = layers.Dense(width, activation="relu", name=f"fc{i}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="digits")


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
    import keras

    if len(convolutions) != len(filters):
        raise ValueError(
            f"convolutions={convolutions} has {len(convolutions)} numbers, filters={filters} has "
            f"{len(filters)}: give one of each for every block"
        )
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="pixels")(x)
    for block, (width, count) in enumerate(zip(filters, convolutions, strict=True), 1):
        if block > 1:
            x = layers.MaxPooling2D(2, name=f"pool{block - 1}")(x)
        for i in range(1, count + 1):
            x = layers.Conv2D(
                width,
                kernel_size,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"conv{block}_{i}",
            )(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"norm{block}_{i}")(x)
            x = layers.ReLU(name=f"relu{block}_{i}")(x)
    x = layers.GlobalAveragePooling2D(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
        x = layers.Dense(width, activation="relu", name=f"fc{i}")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"dropout{len(dense) + 1}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="vgg")
