"""The largest values that make sense: beyond them is a slip of the finger, or the end of the memory.

They hold for the keys of a recipe and for the parameters of the same name of the estimators.
"""

from __future__ import annotations

import math
from typing import Any

SEED = 2**31 - 1

CNN: dict[str, int] = {
    "epochs": 100_000,
    "batch_size": 1 << 20,
    "early_stopping": 100_000,
    "reduce_lr": 100_000,
    "step_epochs": 100_000,
    "steps_per_execution": 100_000,
    "learning_rate": 10**9,
    "weight_decay": 100,
    "decay": 100,
    "min_learning_rate": 10**9,
    "focal_gamma": 100,
    "mixup": 1000,
    "teacher_temperature": 10_000,
}
BOOST: dict[str, int] = {
    "n_estimators": 100_000,
    "max_depth": 64,
    "learning_rate": 1,
    "min_child_weight": 10**9,
    "gamma": 10**9,
    "reg_lambda": 10**9,
    "reg_alpha": 10**9,
    "max_bin": 1 << 16,
    "early_stopping_rounds": 100_000,
}

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
