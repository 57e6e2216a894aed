"""The registry of CNN architectures: each is a function from an image's shape to an untrained Keras model.

A builder takes `input_shape` (height, width, channels), `n_classes`, and keyword options with defaults, and
returns an uncompiled `keras.Model` that maps pixels in [0, 255] to class probabilities: scaling the pixels is
part of the model, so it cannot be forgotten or done twice. Layers are named as in a cut (`flatten`, `fc1`,
..., `output`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError

from cnnboost.config.limits import explained, shown
from cnnboost.errors import ModelError, did_you_mean

Builder = Callable[..., Any]

ARCHITECTURES: dict[str, Builder] = {}

# Keras writes what a layer complains of in bold.
_BOLD, _END = "\x1b[1m", "\x1b[0m"


def _python(value: Any) -> Any:
    """Turn a number of NumPy, such as a search may give, into Python's."""
    return value.item() if isinstance(value, np.generic) else value


# Kinds of options, which `pydantic.validate_call` checks.
_Integer = Annotated[int, BeforeValidator(_python), Field(strict=True)]
Whole = Annotated[_Integer, Field(ge=1, le=16_384)]
Wholes = Annotated[Sequence[Whole], Field(max_length=1000)]
NonEmpty = Annotated[Wholes, Field(min_length=1)]
Window = Annotated[_Integer, Field(ge=1, le=64)]
Counts = Annotated[Sequence[Window], Field(max_length=1000)]
Block = Annotated[_Integer, Field(ge=0, le=5)]
Share = Annotated[float, Field(strict=True, ge=0, lt=1)]
Real = Annotated[float, Field(strict=True, ge=0, le=1e6)]
Coefficient = Annotated[float, Field(strict=True, gt=0, le=16)]
Padding = Literal["valid", "same"]


def register(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder function into the registry."""

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
    """Build an untrained CNN."""
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
    except ModelError:
        raise  # it names its own place: a file of weights, say
    except (ValueError, TypeError) as error:
        size = "x".join(map(str, input_shape))
        raise ModelError(
            f"architecture {name!r} cannot be built for images of {size} with "
            f"{shown(options) if options else 'its defaults'}: {_reason(error)}"
        ) from error
    width = model.output_shape[-1] if isinstance(model.output_shape, tuple) else None
    if width != n_classes:
        raise ModelError(f"architecture {name!r} gives {model.output_shape} where (n, {n_classes}) is needed")
    return model


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return explained(error)
    for line in str(error).splitlines():
        if "size would be zero or negative" in line:
            return (
                "a convolution or pooling needs larger images (or padding 'same', smaller windows or fewer "
                f"layers): {line.removeprefix(_BOLD).removesuffix(_END)}"
            )
    return str(error).splitlines()[0]


def without_weights(architecture: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture's options such that no trained weights are read or fetched."""
    known = _option_names(ARCHITECTURES[architecture]) if architecture in ARCHITECTURES else None
    return {**options, "weights": "none"} if known and "weights" in known else dict(options)


def _find(architecture: str | Builder) -> Builder:
    if callable(architecture):
        return architecture
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture]
    raise ModelError(
        f"no architecture {architecture!r}{did_you_mean(str(architecture), ARCHITECTURES)}. "
        f"There are: {', '.join(sorted(ARCHITECTURES))}; "
        "or give a builder function, or the path of a .keras or .h5 file"
    )


def _option_names(builder: Builder) -> list[str] | None:
    """Names of a builder's options; None where it takes any."""
    parameters = list(inspect.signature(builder).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters[2:]]
