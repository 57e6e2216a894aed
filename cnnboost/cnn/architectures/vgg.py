"""A plain VGG with batch normalisation and global pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnboost.cnn.architectures.maps import after
from cnnboost.cnn.architectures.options import share, whole, wholes
from cnnboost.cnn.architectures.registry import register


@register("vgg")
def vgg(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: Sequence[int] = (32, 64, 128, 256),
    convolutions: Sequence[int] = (1, 2, 2, 2),
    kernel_size: int = 3,
    dense: Sequence[int] = (128,),
    dropout: float = 0.3,
) -> Any:
    """Build a plain VGG with batch normalisation, global average pooling and a hidden dense layer.

    Blocks of convolution, batch normalisation and ReLU, a 2x2 max-pooling between the blocks; then the mean
    over each map (`flatten`), and dense layers with dropout before each. Our own, after [1]_; 1,199,015
    parameters for 48x48x1 images and seven classes. Convolutions have no bias, which the normalisation
    would take away again.
    """
    import keras

    filters, dense = wholes("filters", filters, least=1), wholes("dense", dense)
    convolutions, dropout = wholes("convolutions", convolutions, 1, 64), share("dropout", dropout)
    window = whole("kernel_size", kernel_size, 1, 64)
    if len(convolutions) != len(filters):
        raise ValueError(
            f"convolutions={convolutions} has {len(convolutions)} numbers, filters={filters} has "
            f"{len(filters)}: give one of each for every block"
        )
    layers = keras.layers
    size = (input_shape[0], input_shape[1])
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="pixels")(x)
    for block, (width, count) in enumerate(zip(filters, convolutions, strict=True), 1):
        if block > 1:
            size = after(f"pool{block - 1}", size, 2, stride=2)
            x = layers.MaxPooling2D(2, name=f"pool{block - 1}")(x)
        for i in range(1, count + 1):
            x = layers.Conv2D(
                width,
                window,
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
