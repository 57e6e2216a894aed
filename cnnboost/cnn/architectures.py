"""The registry of CNN architectures: each is a function from an image's shape to an untrained Keras model.

A builder takes `input_shape` (height, width, channels), `n_classes`, and keyword options with defaults, and
returns an uncompiled `keras.Model` that maps pixels in [0, 255] to class probabilities: scaling the pixels is
part of the model, so it cannot be forgotten or done twice. Layers carry the names of the line
(`flatten`, `fc1`, ..., `output`), so a summary reads as the cut does.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cnnboost.errors import ModelError

Builder = Callable[..., Any]

ARCHITECTURES: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder function into the registry.

    Parameters
    ----------
    name : str
        The name by which `CNNClassifier` and recipes ask for it.

    Returns
    -------
    callable
        A decorator that returns the builder unchanged.

    Examples
    --------
    >>> from cnnboost.cnn.architectures import ARCHITECTURES
    >>> sorted(ARCHITECTURES)[:2]
    ['digits', 'oslo']
    """

    def enter(builder: Builder) -> Builder:
        if name in ARCHITECTURES:
            raise ValueError(
                f"architecture {name!r} is registered already, by {ARCHITECTURES[name].__module__}"
            )
        ARCHITECTURES[name] = builder
        return builder

    return enter


def build(
    architecture: str | Builder,
    input_shape: tuple[int, int, int],
    n_classes: int,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Build an untrained CNN.

    Parameters
    ----------
    architecture : str or callable
        A name in the registry, or a builder function of one's own.
    input_shape : tuple of int
        Height, width and channels of the images, in pixels.
    n_classes : int
        Number of classes.
    options : mapping, optional
        The builder's keyword options.

    Returns
    -------
    keras.Model
        Uncompiled; pixels in [0, 255] to probabilities `(n, n_classes)`.

    Raises
    ------
    ModelError
        If the name or an option is unknown, or the images are too small for the network.

    Examples
    --------
    >>> from cnnboost.cnn.architectures import build
    >>> build("oslo", (48, 48, 1), 7).count_params()
    121855
    """
    builder = _find(architecture)
    name = architecture if isinstance(architecture, str) else getattr(builder, "__name__", repr(builder))
    options = dict(options or {})
    known = _option_names(builder)
    unknown = sorted(set(options) - set(known)) if known is not None else []
    if unknown:
        raise ModelError(
            f"architecture {name!r} has no option {unknown[0]!r}; it has: {', '.join(known or ()) or 'none'}"
        )
    try:
        model = builder(input_shape, n_classes, **options)
    except (ValueError, TypeError) as error:
        size = "x".join(map(str, input_shape))
        raise ModelError(
            f"architecture {name!r} cannot be built for images of {size} with {options or 'its defaults'}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    width = model.output_shape[-1] if isinstance(model.output_shape, tuple) else None
    if width != n_classes:
        raise ModelError(f"architecture {name!r} gives {model.output_shape} where (n, {n_classes}) is needed")
    return model


def _find(architecture: str | Builder) -> Builder:
    if callable(architecture):
        return architecture
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture]
    near = difflib.get_close_matches(str(architecture), ARCHITECTURES, n=1)
    hint = f"; did you mean {near[0]!r}" if near else ""
    raise ModelError(
        f"no architecture {architecture!r}{hint}. There are: {', '.join(sorted(ARCHITECTURES))}; "
        "or give a builder function, or the path of a .keras or .h5 file"
    )


def _option_names(builder: Builder) -> list[str] | None:
    """Names of a builder's options; None where it takes any."""
    parameters = list(inspect.signature(builder).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters[2:]]


@register("digits")
def digits(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: Sequence[int] = (32, 64),
    dropout: float = 0.3,
    dense: Sequence[int] = (64, 32),
) -> Any:
    """Build a small CNN for small images, 8x8 handwritten digits above all.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels.
    n_classes : int
        Number of classes.
    filters : sequence of int
        Filters of each 3x3 convolution; one 2x2 max-pooling follows them all.
    dropout : float
        Share of units dropped before the flatten layer, in [0, 1).
    dense : sequence of int
        Widths of the fully connected layers `fc1`, `fc2`, ...

    Returns
    -------
    keras.Model
        Uncompiled.
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


@register("oslo")
def oslo(
    input_shape: tuple[int, int, int],
    n_classes: int,
    filters: Sequence[int] = (32, 64, 64),
    kernel_size: int = 3,
    padding: str = "valid",
    pool_size: int = 2,
    dropout: float = 0.5,
    dense: Sequence[int] = (64, 7),
    l2: float = 1e-4,
) -> Any:
    """Build the CNN of the Oslo study of gradient boosted CNNs on FER-2013.

    Three pairs of 3x3 convolution and 2x2 max-pooling, dropout, flatten (1,024 wide for 48x48 images), a
    dense layer of 64 with an L2 penalty, a dense layer of 7, and the softmax output: 121,855 parameters.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels; published for (48, 48, 1).
    n_classes : int
        Number of classes.
    filters : sequence of int
        Filters of each convolution.
    kernel_size : int
        Height and width of the convolutions, in pixels.
    padding : {"valid", "same"}
        Zero padding of the convolutions.
    pool_size : int
        Height and width of the pooling windows, in pixels.
    dropout : float
        Share of units dropped before the flatten layer, in [0, 1).
    dense : sequence of int
        Widths of the fully connected layers `fc1`, `fc2`, ...
    l2 : float
        Weight of the L2 penalty on `fc1`.

    Returns
    -------
    keras.Model
        Uncompiled.
    """
    import keras

    layers = keras.layers
    x = image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    for i, width in enumerate(filters, 1):
        x = layers.Conv2D(width, kernel_size, padding=padding, activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(pool_size, name=f"pool{i}")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, width in enumerate(dense, 1):
        penalty = keras.regularizers.L2(l2) if i == 1 and l2 else None
        x = layers.Dense(width, activation="relu", kernel_regularizer=penalty, name=f"fc{i}")(x)
    x = layers.Dense(n_classes, activation="softmax", name="output")(x)
    return keras.Model(image, x, name="oslo")
