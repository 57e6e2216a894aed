"""What a setting may be at all, how a message shows it, and the check of parameters by a recipe's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pydantic import BaseModel, ValidationError

from cnnboost.errors import ParameterError

SEED = 2**31 - 1

_DEEPEST, _MOST, _LARGEST = 8, 10_000, 10**9


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value of any kind that a recipe may hold: text, number of a sensible size, list, table."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value) if isinstance(value, float) else abs(value) > _LARGEST:
            raise ValueError(f"numbers here are finite, and whole ones at most {_LARGEST:,}")
    elif isinstance(value, str | list | tuple | dict):
        if len(value) > _MOST or depth == _DEEPEST:
            raise ValueError(f"texts, lists and tables hold at most {_MOST:,} items, {_DEEPEST} levels deep")
        if not isinstance(value, str):
            for item in value.values() if isinstance(value, dict) else value:
                plain(item, depth + 1)
    else:
        raise ValueError(f"a {type(value).__name__} is neither text, number, list nor table")
    return value


def shown(value: Any) -> str:
    """Show a value in a message; of a long one the beginning."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than some thousand digits
        return f"a number of {value.bit_length():,} bits" if isinstance(value, int) else "a long value"
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_options(table: type[BaseModel], parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of an estimator that the table of a recipe with the same keys does not allow."""
    values = {name: _number(one) for name, one in parameters.items()}
    try:
        table.model_validate(values, strict=True)
    except ValidationError as error:
        raise ParameterError(explained(error)) from None


def explained(error: ValidationError) -> str:
    """Return the first thing that is wrong with parameters: name, value, and what it should be."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    # After the name, places in lists; a union would add the kind that did not fit.
    name = ".".join(str(part) for part in first["loc"] if part == first["loc"][0] or isinstance(part, int))
    if not name or message.startswith(name):
        return message
    return f"{name}={shown(first['input'])}: {message[:1].lower()}{message[1:]}"


def _number(value: Any) -> Any:
    """Return NumPy's numbers, which searches hand out, as Python's: the check is strict."""
    if isinstance(value, bool | int | float) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
