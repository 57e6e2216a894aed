"""Figures of a search: its trials, its keys, what each key is worth, and how the trials learnt.

A trial is a mapping with `number`, `value` (None where it failed), `values` by key, `interval` and `history`;
a space is `{"choices": [...]}` or `{"low": ..., "high": ..., "log": ...}`: as in the document of a search.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.report.drawing import COLOURS, inches, literal, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Trial = Mapping[str, Any]
Space = Mapping[str, Any]

_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}
_MARKS = ("o", "s", "^", "D", "v", "P")
_PLACES = 12
"""Up to so many values stand side by side, each with its label; more of them need an axis of numbers."""
_PANELS = 3
"""Panels in a row."""


def search_figures(document: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """Draw every figure that a search has something for."""
    trials, space, metric = document["trials"], document["space"], document["metric"]
    name = document["title"]
    figures: dict[str, tuple[str, Figure]] = {}
    if not trials:
        return figures
    title = f"{name}: each trial"
    figures["trials"] = title, plot_trials(trials, metric, title=title)
    ended = [trial for trial in trials if trial["value"] is not None]
    if not ended:
        return figures
    title = f"{name}: {metric_label(metric)} against {' and '.join(space) if len(space) < 3 else 'each key'}"
    level = document["confidence"]
    figures["points"] = title, plot_points(ended, space, metric, confidence=level, title=title)
    if document.get("importances"):
        title = f"{name}: importance of each key"
        figures["importances"] = title, plot_importances(document["importances"], metric, title=title)
    if any(trial.get("history") for trial in ended):
        title = f"{name}: learning curves"
        figures["curves"] = title, plot_learning_curves(ended, metric, title=title)
    return figures


def plot_trials(trials: Sequence[Trial], metric: str, *, title: str = "Trials") -> Figure:
    """Draw the value of each trial and the best one so far; failed trials are marked below."""
    from matplotlib.ticker import MaxNLocator

    some(trials)
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    ended = [trial for trial in trials if trial["value"] is not None]
    if ended:
        numbers, values = [t["number"] for t in ended], [t["value"] for t in ended]
        best = (np.minimum if metric == "log_loss" else np.maximum).accumulate(values)
        axes.step(numbers, best, where="post", color=COLOURS[5], linewidth=1.8, label="best so far")
        axes.plot(numbers, values, "o", color=COLOURS[0], markersize=5, label="trial")
    failed = [trial["number"] for trial in trials if trial["value"] is None]
    if failed:
        # At the lower edge, whatever the values are: a failed trial has none.
        edge = axes.get_xaxis_transform()
        axes.plot(
            failed, [0.02] * len(failed), "x", transform=edge, color="black", label="failed", clip_on=False
        )
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(y=0.12)
    metric_axis(axes.yaxis, metric)
    axes.set_ylabel(metric_label(metric, True))
    open_frame(axes, grid="y")
    finish(figure, axes, title, columns=3)
    return figure


def plot_importances(importances: Mapping[str, float], metric: str, *, title: str = "Importance") -> Figure:
    """Draw how much of the spread between trials each key explains."""
    from matplotlib.ticker import PercentFormatter

    if not importances:
        raise DataError("There is nothing to draw: no key has an importance.")
    names = sorted(importances, key=lambda name: importances[name])
    figure = new_figure(7.2, 1.4 + 0.36 * len(names))
    axes = figure.subplots()
    shares = [importances[name] for name in names]
    bars = axes.barh(range(len(names)), shares, color=COLOURS[0], height=0.62)
    axes.bar_label(bars, labels=[f"{share:.0%}" for share in shares], padding=3, fontsize=9)
    axes.set_yticks(range(len(names)), literal(names))
    axes.set_xlim(0, max(shares) * 1.14 or 1)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel(f"share of the spread of {metric_label(metric)} (fANOVA)")
    axes.tick_params(axis="y", length=0)
    open_frame(axes, grid="x")
    finish(figure, axes, title)
    return figure


def plot_learning_curves(trials: Sequence[Trial], metric: str, *, title: str = "Learning curves") -> Figure:
    """Draw accuracy and loss of all trials by epoch, on their validation images."""
    from matplotlib.ticker import MaxNLocator

    drawn = [trial for trial in trials if trial.get("history") and trial["value"] is not None]
    if not drawn:
        raise DataError("There is nothing to draw: no trial has a history.")
    best = next(t for t in drawn if not any(is_better(o["value"], t["value"], metric) for o in drawn))
    figure = new_figure(9.2, 4.0)
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for trial in drawn:
            if trial is not best:
                _curve(
                    axes, trial, f"val_{name}", color="0.6", linewidth=0.9, label="other trials, validation"
                )
        _curve(axes, best, name, color=COLOURS[0], linewidth=1.6, linestyle="--", label="best trial, train")
        _curve(
            axes, best, f"val_{name}", color=COLOURS[5], linewidth=2.2, marker="o", markersize=3.5,
            label=f"best trial (number {best['number']}), validation",
        )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy" if name == "accuracy" else "loss (nats)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if name == "accuracy":
            metric_axis(axes.yaxis, name)
        open_frame(axes, grid="both")
    finish(figure, figure.axes[0], title, columns=3)
    return figure


def _curve(axes: Axes, trial: Trial, name: str, **style: Any) -> None:
    values = trial["history"].get(name, [])
    if len(values) == 1:  # no line has one point
        style.setdefault("marker", "o")
    axes.plot(range(1, len(values) + 1), values, **style)


def plot_points(
    trials: Sequence[Trial],
    space: Mapping[str, Space],
    metric: str,
    *,
    confidence: float = 0.95,
    title: str = "Values",
) -> Figure:
    """Draw the value of each trial against each key, the best trial in all panels.

    Two keys are drawn in one panel, with a mark for each value of the one that took fewer.
    """
    some(trials)
    taken = {key: _values(trials, key, space[key]) for key in space}
    drawn = sorted(space, key=lambda key: -len(taken[key]))
    groups = drawn[1] if len(drawn) == 2 and len(taken[drawn[1]]) <= len(_MARKS) else None
    drawn = drawn[:1] if groups else list(space)
    with_intervals = len(space) <= 2 and any(trial.get("interval") for trial in trials)
    columns = min(len(drawn), _PANELS)
    rows = math.ceil(len(drawn) / columns)
    width = max(6.4 if columns == 1 else 3.6, *(_width(taken[key]) for key in drawn))
    figure = new_figure(columns * width, 1.0 + 3.2 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    best = next(t for t in trials if not any(is_better(o["value"], t["value"], metric) for o in trials))
    for axes, key in zip(panels.flat, drawn, strict=False):
        side_by_side = "choices" in space[key] or len(taken[key]) <= _PLACES
        if side_by_side:
            axes.set_xticks(range(len(taken[key])), literal(map(value_label, taken[key])))
            axes.set_xlim(-0.5, len(taken[key]) - 0.5)
        elif space[key].get("log"):
            axes.set_xscale("log")
        texts = list(map(_text, taken[key]))
        of_groups = taken[groups] if groups else [None]
        for i, group in enumerate(of_groups):
            # Beside each other: intervals on one spot would hide each other.
            shift = (i - (len(of_groups) - 1) / 2) * min(0.08, 0.5 / len(of_groups)) if side_by_side else 0
            mine = [t for t in trials if not groups or _text(t["values"][groups]) == _text(group)]
            values = [trial["values"][key] for trial in mine]
            x = [texts.index(_text(value)) + shift if side_by_side else value for value in values]
            label = literal([f"{groups} = {value_label(group, flat=True)}"])[0] if groups else "trial"
            _draw_trials(axes, x, mine, with_intervals, fmt=_MARKS[i], color=COLOURS[i], label=label)
            if best in mine:
                at = x[mine.index(best)]
                label = f"best trial (number {best['number']}, {metric_text(best['value'], metric)})"
                ring = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 2}
                axes.plot(at, best["value"], "o", color=COLOURS[5], label=label, **ring)
        axes.set_xlabel(literal([key])[0])
        metric_axis(axes.yaxis, metric)
        open_frame(axes, grid="y")
    for axes in panels.flat[len(drawn) :]:
        axes.set_axis_off()
    label = f"{metric_label(metric)}, with {confidence:.0%} interval"
    for axes in panels[:, 0]:
        axes.set_ylabel(label if with_intervals else metric_label(metric, True))
    finish(figure, panels.flat[0], title, columns=2)
    return figure


def _width(places: Sequence[Any]) -> float:
    """Return how many inches values need side by side; as numbers on an axis they need none."""
    if len(places) > _PLACES and not isinstance(places[0], str):
        return 0.0
    widest = max(len(line) for place in places for line in value_label(place).split("\n"))
    return 1.2 + len(places) * (0.35 + 0.075 * widest)


def _draw_trials(
    axes: Axes, x: Sequence[float], trials: Sequence[Trial], with_intervals: bool, **style: Any
) -> None:
    y = np.array([trial["value"] for trial in trials])
    spread = None
    if with_intervals:
        ends = np.array([trial.get("interval") or (trial["value"],) * 2 for trial in trials]).T
        spread = np.maximum([y - ends[0], ends[1] - y], 0)
    axes.errorbar(x, y, yerr=spread, linestyle="none", elinewidth=1, capsize=3, markersize=5, **style)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _values(trials: Sequence[Trial], key: str, space: Space) -> list[Any]:
    """Return the values of a key that trials took: choices in their order, numbers by size."""
    taken = {_text(trial["values"][key]): trial["values"][key] for trial in trials}
    if "choices" in space:
        return [choice for choice in space["choices"] if _text(choice) in taken]
    return sorted(taken.values())


def metric_label(metric: str, way: bool = False) -> str:
    """Return a metric's name."""
    if not way:
        return _METRICS[metric]
    better = "nats, lower is better" if metric == "log_loss" else "higher is better"
    return f"{_METRICS[metric]} ({better})"


def is_better(one: float, other: float, metric: str) -> bool:
    """Tell whether one value of a metric is better than another."""
    return one < other if metric == "log_loss" else one > other


def metric_axis(axis: Any, metric: str) -> None:
    """Write the numbers of an axis as the metric is read: accuracy in percent."""
    from matplotlib.ticker import PercentFormatter

    if metric == "accuracy":
        axis.set_major_formatter(PercentFormatter(xmax=1))


def metric_text(value: float, metric: str) -> str:
    """Write a value of a metric."""
    return f"{value:.1%}" if metric == "accuracy" else f"{value:.3f}"


def value_label(value: Any, flat: bool = False) -> str:
    """Write one value of a key."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        between = ", " if flat else "\n"
        return between.join(f"{key} {value_label(entry, True)}" for key, entry in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(value_label(entry, True) for entry in value) or "none"
    return "none" if value is None else str(value)


def some(trials: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to draw nothing."""
    if not trials:
        raise DataError("There is nothing to draw: there is no trial.")


def finish(figure: Figure, axes: Axes, title: str, columns: int = 1) -> None:
    """Put the title above and, below, a legend that names each kind of mark once."""
    wide = int(figure.get_figwidth() * 11)
    figure.suptitle("\n".join(textwrap.wrap(literal([title])[0], wide)), fontsize=12)
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if named:
        # So many columns, or as many as long names leave room for.
        columns = min(columns, max(1, int(figure.get_figwidth() / (inches(named) + 0.8))))
        figure.legend(named.values(), named, loc="outside lower center", ncols=columns, frameon=False)
