"""Codes: the values of a space as Optuna can store them, and back.

Optuna stores numbers, strings, booleans and null. Choices of any other kind, or of mixed kinds, are stored
as JSON text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from cnnboost.config import Space
from cnnboost.errors import RecipeError

_MOST = 100_000
Code = str | int | float | bool


def codes(space: Space) -> dict[Code, Any]:
    """Return the choices of a space by what Optuna stores for them."""
    choices = space.choices or ()
    kinds = {type(choice) for choice in choices}
    # Among mixed kinds, Python would take 1, 1.0 and True for the same key.
    plain = kinds <= {int} or kinds <= {float} or kinds == {str} or kinds == {bool}
    return {choice if plain else json.dumps(choice, sort_keys=True): choice for choice in choices}


def decoded(spaces: Mapping[str, Space], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that Optuna stored for a trial, as the recipe takes them."""
    return {
        key: stored[key] if space.choices is None else codes(space)[stored[key]]
        for key, space in spaces.items()
        if key in stored
    }


def suggested(trial: Any, spaces: Mapping[str, Space]) -> dict[str, Any]:
    """Let Optuna choose a value for each key."""
    return decoded(spaces, {key: _suggest(trial, key, space) for key, space in spaces.items()})


def _suggest(trial: Any, key: str, space: Space) -> Any:
    if space.choices is not None:
        return trial.suggest_categorical(key, list(codes(space)))
    low, high, step = space.low, space.high, space.step
    if isinstance(low, int) and isinstance(high, int) and (step is None or step == int(step)):
        return trial.suggest_int(key, low, high, step=int(step or 1), log=space.log)
    return trial.suggest_float(key, low, high, step=step, log=space.log)


def grid_values(space: Space, place: str = "") -> list[Code]:
    """List the values of a space that a grid tries, as Optuna stores them."""
    if space.choices is not None:
        return list(codes(space))
    low, high = space.low, space.high
    assert low is not None
    assert high is not None
    step = space.step or (1 if isinstance(low, int) and isinstance(high, int) and not space.log else None)
    if step is None:
        raise RecipeError(f"{place}: a grid needs choices, or low, high and step")
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > _MOST:
        raise RecipeError(f"{place}: a grid of {count:,} values; {_MOST:,} are the most, make step larger")
    whole = isinstance(low, int) and float(step).is_integer()
    return [int(low + i * step) if whole else round(low + i * step, 12) for i in range(count)]
