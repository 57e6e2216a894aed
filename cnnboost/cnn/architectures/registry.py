"""The registry of CNN architectures: each is a function from an image's shape to an untrained Keras model.

A builder takes `input_shape` (height, width, channels), `n_classes`, and keyword options with defaults, and
returns an uncompiled `keras.Model` that maps pixels in [0, 255] to class probabilities: scaling the pixels is
part of the model, so it cannot be forgotten or done twice. Layers carry the names of the line
(`flatten`, `fc1`, ..., `output`), so a summary reads as the cut does.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from cnnboost.errors import ModelError

Builder = Callable[..., Any]

ARCHITECTURES: dict[str, Builder] = {}


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
            f"architecture {name!r} cannot be built for images of {size} with {options or 'its defaults'}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    width = model.output_shape[-1] if isinstance(model.output_shape, tuple) else None
    if width != n_classes:
        raise ModelError(f"architecture {name!r} gives {model.output_shape} where (n, {n_classes}) is needed")
    return model


def without_weights(architecture: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture's options such that no trained weights are read or fetched."""
    known = _option_names(ARCHITECTURES[architecture]) if architecture in ARCHITECTURES else None
    return {**options, "weights": "none"} if known and "weights" in known else dict(options)


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
