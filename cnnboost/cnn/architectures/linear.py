"""The pixels and one softmax layer."""

from __future__ import annotations

from typing import Any

from cnnboost.cnn.architectures.options import real
from cnnboost.cnn.architectures.registry import register


@register("linear")
def linear(input_shape: tuple[int, int, int], n_classes: int, l2: float = 0.0) -> Any:
    """Build a multinomial logistic regression on the pixels.

    The softmax model of the Uniandes study of FER-2013; with two classes it is its logistic regression (the
    difference of the two rows of weights is the one row that is usually written). 16,135 parameters for
    48x48x1 images and seven classes.
    """
    import keras

    l2 = real("l2", l2)
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    x = layers.Flatten(name="flatten")(x)
    penalty = keras.regularizers.L2(l2) if l2 else None
    x = layers.Dense(n_classes, activation="softmax", kernel_regularizer=penalty, name="output")(x)
    return keras.Model(image, x, name="linear")
