"""The CNN of the Oslo study of gradient boosted CNNs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnnboost.cnn.architectures.maps import PADDINGS, Size, after
from cnnboost.cnn.architectures.options import one_of, real, share, whole, wholes
from cnnboost.cnn.architectures.registry import register


@register("oslo")
def oslo(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: Sequence[int] = (32, 64, 64),
    kernel_size: int = 3,
    padding: str = "valid",
    pool_size: int = 2,
    pool_padding: str = "valid",
    dropout: float = 0.5,
    dense: Sequence[int] = (64, 7),
    l2: float = 1e-4,
) -> Any:
    """Build the CNN of the Oslo study of gradient boosted CNNs on FER-2013.

    Three pairs of 3x3 convolution and 2x2 max-pooling, dropout, flatten (1,024 wide for 48x48 images), a
    dense layer of 64 with an L2 penalty, a dense layer of 7, and the softmax output: 121,855 parameters for
    48x48x1 images and seven classes.
    """
    import keras

    filters, dense = wholes("filters", filters, least=1), wholes("dense", dense)
    stack = _Stack(
        len(filters),
        whole("kernel_size", kernel_size, 1, 64),
        one_of("padding", padding, PADDINGS),
        whole("pool_size", pool_size, 1, 64),
        one_of("pool_padding", pool_padding, PADDINGS),
    )
    misfit = stack.misfit((input_shape[0], input_shape[1]))
    if misfit:
        raise ValueError(f"{misfit}; {stack.remedy((input_shape[0], input_shape[1]))}")
    l2 = real("l2", l2)
    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    for i, width in enumerate(filters, 1):
        x = layers.Conv2D(width, kernel_size, padding=padding, activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(pool_size, padding=pool_padding, name=f"pool{i}")(x)
    x = layers.Dropout(share("dropout", dropout), name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        penalty = keras.regularizers.L2(l2) if i == 1 and l2 else None
        x = layers.Dense(width, activation="relu", kernel_regularizer=penalty, name=f"fc{i}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="oslo")


@dataclass(frozen=True)
class _Stack:
    """The pairs of convolution and pooling, as far as sizes go."""

    pairs: int
    kernel_size: int
    padding: str
    pool_size: int
    pool_padding: str

    def misfit(self, size: Size) -> str | None:
        """Say which layer does not fit; None if all do."""
        try:
            for i in range(1, self.pairs + 1):
                size = after(f"conv{i}", size, self.kernel_size, self.padding)
                size = after(f"pool{i}", size, self.pool_size, self.pool_padding, stride=self.pool_size)
        except ValueError as error:
            return str(error)
        return None

    def remedy(self, size: Size) -> str:
        """Say which single changes would make every layer fit: the smallest change of each option."""
        changes: list[tuple[str, dict[str, Any]]] = [
            *((f"pool_size={n}", {"pool_size": n}) for n in range(self.pool_size - 1, 0, -1)),
            *((f"kernel_size={n}", {"kernel_size": n}) for n in range(self.kernel_size - 1, 0, -1)),
            ("padding='same'", {"padding": "same"}),
            ("pool_padding='same'", {"pool_padding": "same"}),
            *((f"filters with {n} or fewer entries", {"pairs": n}) for n in range(self.pairs - 1, 0, -1)),
        ]
        found: dict[str, str] = {}
        for words, change in changes:
            if not replace(self, **change).misfit(size):
                found.setdefault(next(iter(change)), words)
        return f"what would do: {', or '.join(found.values())}" if found else "larger images would do"
