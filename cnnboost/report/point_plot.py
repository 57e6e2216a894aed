"""The figure of a search over one key or two: the metric against the values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.report.drawing import COLOURS, literal, new_figure, open_frame
from cnnboost.report.search_labels import finish, metric_axis, metric_label, some, value_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Trial = Mapping[str, Any]
Space = Mapping[str, Any]

_LINES = 6
"""More lines than this cannot be told apart."""
_PLACES = 12
"""Up to so many values stand side by side, each with its label; more of them need an axis of numbers."""
_MARKS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def plot_points(
    trials: Sequence[Trial],
    space: Mapping[str, Space],
    metric: str,
    *,
    confidence: float = 0.95,
    title: str = "Values",
) -> Figure:
    """Draw the value of each trial against one key, or two: then one line for each value of one of them."""
    some(trials)
    if not few_lines(trials, space):
        raise DataError(
            f"{len(space)} keys with these values do not fit one set of axes; plot_parallel draws them."
        )
    across, of_lines = _roles(trials, space)
    places = _ordered(trials, across, space[across])
    side_by_side = len(places) <= _PLACES
    lines = _ordered(trials, of_lines, space[of_lines]) if of_lines else [None]
    labels = [value_label(place) for place in places]
    widest = max(len(line) for label in labels for line in label.split("\n"))
    figure = new_figure(max(6.4, 1.6 + len(places) * (0.35 + 0.075 * widest)) if side_by_side else 6.4, 4.2)
    axes = figure.subplots()
    for i, of_line in enumerate(lines):
        mine = [t for t in trials if of_lines is None or _same(t["values"][of_lines], of_line)]
        where = [_position(t["values"][across], places, side_by_side) for t in mine]
        order = np.argsort(where, kind="stable")
        x = np.asarray(where, dtype=float)[order]
        y = np.asarray([mine[j]["value"] for j in order], dtype=float)
        spread = _spread([mine[j].get("interval") for j in order], y)
        # Beside each other: intervals on one spot would hide each other.
        shift = (i - (len(lines) - 1) / 2) * min(0.08, 0.5 / len(lines)) if side_by_side else 0.0
        joined = side_by_side and len(np.unique(x)) == len(x)
        if joined:
            # A line must not run through a place where its trial failed.
            holes = np.setdiff1d(np.arange(len(places)), x)
            at = np.searchsorted(x, holes)
            x, y = np.insert(x, at, holes), np.insert(y, at, np.nan)
            spread = None if spread is None else np.insert(spread, at, np.nan, axis=1)
        axes.errorbar(
            x + shift,
            y,
            yerr=spread,
            fmt=_MARKS[i],
            linestyle=_DASHES[i] if joined else "none",
            color=COLOURS[i],
            linewidth=1.5,
            elinewidth=1,
            capsize=3,
            markersize=5,
            label=literal([f"{of_lines} = {value_label(of_line, flat=True)}"])[0] if of_lines else None,
        )
    if side_by_side:
        axes.set_xticks(range(len(places)), literal(labels))
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif space[across].get("log"):
        axes.set_xscale("log")
    axes.set_xlabel(literal([across])[0])
    metric_axis(axes.yaxis, metric)
    known = any(trial.get("interval") for trial in trials)
    axes.set_ylabel(
        f"{metric_label(metric)}, with {confidence:.0%} interval" if known else metric_label(metric, True)
    )
    open_frame(axes, grid="y")
    finish(figure, axes, title, columns=2 if of_lines and len(of_lines) > 18 else 3)
    return figure


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _same(one: Any, other: Any) -> bool:
    return _text(one) == _text(other)


def _ordered(trials: Sequence[Trial], key: str, space: Space) -> list[Any]:
    """Return the values of a key that trials took: choices in their order, numbers by size."""
    there = {_text(trial["values"][key]): trial["values"][key] for trial in trials}
    if "choices" in space:
        return [choice for choice in space["choices"] if _text(choice) in there]
    return sorted(there.values())


def _roles(trials: Sequence[Trial], space: Mapping[str, Space]) -> tuple[str, str | None]:
    """Return the key that goes across, and the one that gives the lines."""
    keys = sorted(space, key=lambda key: -len(_ordered(trials, key, space[key])))
    return keys[0], keys[1] if len(keys) > 1 else None


def few_lines(trials: Sequence[Trial], space: Mapping[str, Space]) -> bool:
    """Tell whether `plot_points` can draw a search: one key or two, and few enough values."""
    if len(space) > 2:
        return False
    across, of_lines = _roles(trials, space)
    if len(_ordered(trials, across, space[across])) > _PLACES and "choices" in space[across]:
        return False
    return of_lines is None or len(_ordered(trials, of_lines, space[of_lines])) <= _LINES


def _position(value: Any, places: Sequence[Any], side_by_side: bool) -> float:
    if side_by_side:
        return next(i for i, place in enumerate(places) if _same(place, value))
    return float(value)


def _spread(intervals: Sequence[Any], values: np.ndarray) -> np.ndarray | None:
    """Return the distances to both ends of the intervals, (2, n); None where there are none."""
    if not any(intervals):
        return None
    ends = [interval or (value, value) for interval, value in zip(intervals, values, strict=True)]
    low, high = np.asarray(ends, dtype=float).T
    return np.maximum([values - low, high - values], 0)
