"""Values of an architecture's options, checked: a wrong one is named, with what would do.

The errors here are plain `ValueError`; `registry.build` adds the architecture and the size of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from cnnboost.config.limits import shown

_LONGEST = 1000


def whole(name: str, value: Any, low: int = 1, high: int = 16_384) -> int:
    """Return a whole number from `low` to `high`."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if low <= number <= high:
            return number
    raise ValueError(f"{name}={shown(value)} must be a whole number from {low} to {high}")


def wholes(name: str, values: Any, low: int = 1, high: int = 16_384, *, least: int = 0) -> list[int]:
    """Return a list of whole numbers, at least `least` of them."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{name}={values!r} must be a list of whole numbers, such as [{low}]")
    if len(values) > _LONGEST:
        raise ValueError(f"{name} has {len(values):,} numbers; {_LONGEST} are the most")
    if len(values) < least:
        raise ValueError(f"{name}={list(values)!r} must hold {least} or more whole numbers")
    return [whole(f"{name}[{i}]", value, low, high) for i, value in enumerate(values)]


def real(name: str, value: Any, low: float = 0.0, high: float = 1e6, *, exclusive: bool = False) -> float:
    """Return a number from `low` to `high`."""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if low <= number <= high and not (exclusive and number == low):
            return number
    limit = f"above {low:g}" if exclusive else f"from {low:g}"
    raise ValueError(f"{name}={value!r} must be a number {limit}, up to {high:g}")


def share(name: str, value: Any) -> float:
    """Return a share of units that may be dropped, in [0, 1)."""
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < 1:
        return float(value)
    raise ValueError(f"{name}={value!r} must be a number in [0, 1)")


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return one of several words."""
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}")
