"""A small CNN for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnboost.cnn.architectures.options import share, wholes
from cnnboost.cnn.architectures.registry import register


@register("digits")
def digits(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: Sequence[int] = (32, 64),
    dropout: float = 0.3,
    dense: Sequence[int] = (64, 32),
) -> Any:
    """Build a small CNN for small images, 8x8 handwritten digits above all.

    Our own; 2,380,487 parameters for 48x48x1 images and seven classes, 86,826 for 8x8x1 and ten.
    """
    import keras

    filters, dense = wholes("filters", filters), wholes("dense", dense)
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    for i, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{i}")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Dropout(share("dropout", dropout), name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        x = layers.Dense(width, activation="relu", name=f"fc{i}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="digits")
