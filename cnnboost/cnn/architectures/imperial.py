"""The feed-forward network and the CNN of the Imperial study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnboost.cnn.architectures.maps import PADDINGS, after
from cnnboost.cnn.architectures.options import one_of, share, whole, wholes
from cnnboost.cnn.architectures.registry import register


@register("imperial_mlp")
def imperial_mlp(
    input_shape: tuple[int, int, int],
    n_classes: int,
    dense: Sequence[int] = (1000, 1000),
    dropout: float = 0.5,
) -> Any:
    """Build the feed-forward network of the Imperial study of FER-2013.

    The pixels in a row, two hidden layers of 1,000 ReLU with inverted dropout (kept units are scaled up while
    training, nothing happens in inference: what Keras' own does), softmax: 3,313,007 parameters for 48x48x1
    images and seven classes.
    """
    import keras

    x = image = keras.Input(input_shape, name="image")
    x = keras.layers.Rescaling(1 / 255, name="pixels")(x)
    x = _dense_layers(x, n_classes, wholes("dense", dense, least=1), share("dropout", dropout))
    return keras.Model(image, x, name="imperial_mlp")


@register("imperial_cnn")
def imperial_cnn(
    input_shape: tuple[int, int, int],
    n_classes: int,
    first_filters: int = 36,
    first_kernel_size: int = 5,
    first_padding: str = "valid",
    filters: Sequence[int] = (48, 48),
    kernel_size: int = 3,
    padding: str = "same",
    pool_size: int = 2,
    dense: Sequence[int] = (1000, 1000),
    dropout: float = 0.5,
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

    blocks = [
        (
            [whole("first_filters", first_filters)],
            whole("first_kernel_size", first_kernel_size, 1, 64),
            one_of("first_padding", first_padding, PADDINGS),
        )
    ]
    for width in wholes("filters", filters):
        blocks.append(
            ([width, width], whole("kernel_size", kernel_size, 1, 64), one_of("padding", padding, PADDINGS))
        )
    pool_size = whole("pool_size", pool_size, 1, 64)
    dense, dropout = wholes("dense", dense), share("dropout", dropout)
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    number = 0
    for i, (widths, window, border) in enumerate(blocks, 1):
        for width in widths:
            number += 1
            _check_room(x, f"conv{number}", window, border)
            x = layers.Conv2D(width, window, padding=border, activation="relu", name=f"conv{number}")(x)
        _check_room(x, f"pool{i}", pool_size, "valid")
        x = layers.AveragePooling2D(pool_size, name=f"pool{i}")(x)
    x = _dense_layers(x, n_classes, dense, dropout)
    return keras.Model(image, x, name="imperial_cnn")


def _check_room(x: Any, layer: str, window: int, padding: str) -> None:
    try:
        after(layer, (x.shape[1], x.shape[2]), window, padding)
    except ValueError as error:
        raise ValueError(
            f"{error}; a smaller pool_size, fewer filters, padding 'same' or larger images would do"
        ) from None


def _dense_layers(x: Any, n_classes: int, dense: Sequence[int], dropout: float) -> Any:
    """Return what follows the flatten layer in both networks."""
    import keras

    layers = keras.layers
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        x = layers.Dense(width, activation="relu", name=f"fc{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return layers.Dense(n_classes, activation="softmax", name="output")(x)
