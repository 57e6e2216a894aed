"""Figures of a search: its trials, its keys, what each key is worth, and how the trials learnt.

A trial is a mapping with `number`, `value` (None where it failed), `values` by key, `interval` and `history`;
a space is `{"choices": [...]}` or `{"low": ..., "high": ..., "log": ...}`: as in the document of a search.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.report.plots import COLOURS, epochs_of, inches, literal, name_rows, new_figure, open_frame
from cnnboost.report.searches import METRICS, ranked
from cnnboost.report.table import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Trial = Mapping[str, Any]
Space = Mapping[str, Any]

_MARKS = ("o", "s", "^", "D", "v", "P")
_LINES = tuple(zip((*COLOURS, "black", "0.55"), ("o", "s", "^", "D", "v", "P", "X", "*"), strict=False))
"""Colours and marks of trials that have a line each."""
_PLACES = 12
"""Up to so many values are drawn side by side, each with its label; more of them need an axis of numbers."""
_PANELS = 3
"""Panels in a row."""


def search_figures(document: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """Draw every figure that a search has something for."""
    trials, space, metric = document["trials"], document["space"], document["metric"]
    ended = [trial for trial in trials if trial["value"] is not None]
    figures: dict[str, tuple[str, Figure]] = {}

    def draw(kind: str, title: str, plot: Callable[..., Figure], *data: Any) -> None:
        title = f"{document['title']}: {title}"
        figures[kind] = title, plot(*data, metric, title=title)

    if trials:
        draw("trials", "each trial", plot_trials, trials)
    if ended:
        keys = " and ".join(space) if len(space) < 3 else "each key"
        title = f"{METRICS[metric]} against {keys}"
        draw("points", title, partial(plot_points, confidence=document["confidence"]), ended, space)
        if document.get("importances"):
            draw("importances", "importance of each key", plot_importances, document["importances"])
        if len(space) == 3 and all("choices" in of for of in space.values()):
            draw("slices", f"{METRICS[metric]} in slices", plot_slices, ended, space)
        if with_curves := [trial for trial in ended if trial["history"]]:
            draw("curves", "learning curves", plot_learning_curves, with_curves)
    return figures


def plot_trials(trials: Sequence[Trial], metric: str, *, title: str) -> Figure:
    """Draw the value of each trial and the best one so far; failed trials are marked below."""
    from matplotlib.ticker import MaxNLocator

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
    metric_axis(axes, metric)
    open_frame(axes, grid="y")
    finish(figure, axes, title, columns=3)
    return figure


def plot_importances(importances: Mapping[str, float], metric: str, *, title: str) -> Figure:
    """Draw how much of the spread between trials each key explains."""
    from matplotlib.ticker import PercentFormatter

    names = sorted(importances, key=lambda name: -importances[name])
    figure = new_figure(7.2, 1.4 + 0.36 * len(names))
    axes = figure.subplots()
    shares = [importances[name] for name in names]
    bars = axes.barh(range(len(names)), shares, color=COLOURS[0], height=0.62)
    axes.bar_label(bars, labels=[f"{share:.0%}" for share in shares], padding=3, fontsize=9)
    name_rows(axes, names)
    axes.set_xlim(0, max(shares) * 1.14 or 1)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel(f"share of the spread of {METRICS[metric]} (fANOVA)")
    finish(figure, axes, title)
    return figure


def plot_learning_curves(trials: Sequence[Trial], metric: str, *, title: str) -> Figure:
    """Draw accuracy and loss of all trials by epoch, on their validation images.

    Up to eight trials each have a line that is named by its values; with more, the best trial is emphasised.
    """
    from matplotlib.ticker import MaxNLocator

    named = len(trials) <= len(_LINES)
    figure = new_figure(9.2, 4.4 if named else 4.0)
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        if named:
            _named_curves(axes, name, trials)
        else:
            _emphasised_curve(axes, name, trials, ranked(trials, metric)[0][0])
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        metric_axis(axes, name)
        axes.set_ylabel("accuracy" if name == "accuracy" else "loss (nats)")
        open_frame(axes, grid="both")
    note = " (dotted: on the training images)" if named else ""
    finish(figure, figure.axes[0], f"{title}{note}", columns=3)
    return figure


def _emphasised_curve(axes: Axes, name: str, trials: Sequence[Trial], best: Trial) -> None:
    """Draw one trial, and all others in grey."""
    for trial in trials:
        if trial is not best:
            _curve(axes, trial, f"val_{name}", color="0.6", linewidth=0.9, label="other trials, validation")
    _curve(axes, best, name, color=COLOURS[0], linewidth=1.6, linestyle="--", label="best trial, train")
    _curve(
        axes, best, f"val_{name}", color=COLOURS[5], linewidth=2.2, marker="o", markersize=3.5,
        label=f"best trial (number {best['number']}), validation",
    )  # fmt: skip


def _named_curves(axes: Axes, name: str, trials: Sequence[Trial]) -> None:
    """Draw every trial: validation as a whole line, training as a dotted one of the same colour."""
    for trial, (colour, mark) in zip(
        sorted(trials, key=lambda of: _text(of["values"])), _LINES, strict=False
    ):
        values = ", ".join(f"{key.split('.')[-1]} = {setting(of)}" for key, of in trial["values"].items())
        _curve(axes, trial, name, color=colour, linewidth=0.9, linestyle=":")
        style = {"color": colour, "linewidth": 1.6, "marker": mark, "markersize": 3.5, "markevery": 5}
        _curve(axes, trial, f"val_{name}", label=literal(values), **style)


def plot_slices(trials: Sequence[Trial], space: Mapping[str, Space], metric: str, *, title: str) -> Figure:
    """Draw a grid over three keys: a heat map of two of them for each value of the third."""
    taken = {key: _values(trials, key, space[key]) for key in space}
    by_size = sorted(space, key=lambda key: len(taken[key]))
    across, down, third = by_size[-1], by_size[-2], by_size[0]
    found = {tuple(_text(t["values"][key]) for key in (third, down, across)): t["value"] for t in trials}
    columns = min(len(taken[third]), _PANELS)
    rows = math.ceil(len(taken[third]) / columns)
    width = 1.6 + 0.62 * len(taken[across])
    figure = new_figure(columns * width, 1.2 + rows * (1.2 + 0.5 * len(taken[down])))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    edges = min(found.values()), max(found.values())
    for axes, value in zip(panels.flat, taken[third], strict=False):
        cells = np.array(
            [
                [found.get((_text(value), _text(y), _text(x)), np.nan) for x in taken[across]]
                for y in taken[down]
            ]
        )
        axes.imshow(cells, cmap="viridis", vmin=edges[0], vmax=edges[1], aspect="auto")
        for (row, column), cell in np.ndenumerate(cells):
            if np.isfinite(cell):
                text = f"{cell:.1%}" if metric == "accuracy" else f"{cell:.2f}"
                light = cell < (edges[0] + edges[1]) / 2
                axes.text(
                    column, row, text, ha="center", va="center", fontsize=7, color="w" if light else "k"
                )
        axes.set_title(literal(f"{third} = {setting(value)}"), fontsize=9)
        axes.set_xticks(range(len(taken[across])), [literal(_tick(x)) for x in taken[across]])
        axes.set_yticks(range(len(taken[down])), [literal(_tick(y)) for y in taken[down]])
        axes.set_xlabel(literal(across))
        axes.set_ylabel(literal(down))
        axes.label_outer()
    for axes in panels.flat[len(taken[third]) :]:
        axes.set_axis_off()
    finish(figure, panels.flat[0], title)
    return figure


def _curve(axes: Axes, trial: Trial, name: str, **style: Any) -> None:
    values = trial["history"].get(name, [])
    if len(values) == 1:  # no line has one point
        style.setdefault("marker", "o")
    axes.plot(epochs_of(trial["history"], name), values, **style)


def plot_points(
    trials: Sequence[Trial],
    space: Mapping[str, Space],
    metric: str,
    *,
    confidence: float,
    title: str,
) -> Figure:
    """Draw the value of each trial against each key, the best trial in all panels.

    Two keys are drawn in one panel, with a mark for each value of the one that took fewer.
    """
    taken = {key: _values(trials, key, space[key]) for key in space}
    drawn = sorted(space, key=lambda key: -len(taken[key]))
    groups = drawn[1] if len(drawn) == 2 and len(taken[drawn[1]]) <= len(_MARKS) else None
    drawn = drawn[:1] if groups else list(space)
    with_intervals = len(space) <= 2 and any(trial["interval"] for trial in trials)
    columns = min(len(drawn), _PANELS)
    rows = math.ceil(len(drawn) / columns)
    width = max(6.4 if columns == 1 else 3.6, *(_width(taken[key]) for key in drawn))
    figure = new_figure(columns * width, 1.0 + 3.2 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    best = ranked(trials, metric)[0][0]
    for axes, key in zip(panels.flat, drawn, strict=False):
        side_by_side = "choices" in space[key] or len(taken[key]) <= _PLACES
        if side_by_side:
            axes.set_xticks(range(len(taken[key])), [literal(_tick(value)) for value in taken[key]])
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
            label = literal(f"{groups} = {setting(group)}") if groups else "trial"
            _draw_trials(axes, x, mine, with_intervals, fmt=_MARKS[i], color=COLOURS[i], label=label)
            if best in mine:
                at = x[mine.index(best)]
                value = f"{best['value']:.1%}" if metric == "accuracy" else f"{best['value']:.3f}"
                label = f"best trial (number {best['number']}, {value})"
                ring = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 2}
                axes.plot(at, best["value"], "o", color=COLOURS[5], label=label, **ring)
        axes.set_xlabel(literal(key))
        metric_axis(axes, metric)
        open_frame(axes, grid="y")
    for axes in panels.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes in panels[:, 1:].flat:
        axes.set_ylabel("")
    if with_intervals:
        panels[0, 0].set_ylabel(f"{METRICS[metric]}, with {confidence:.0%} interval")
    finish(figure, panels.flat[0], title, columns=2)
    return figure


def _width(places: Sequence[Any]) -> float:
    """Return how many inches values need side by side; as numbers on an axis they need none."""
    if len(places) > _PLACES and not isinstance(places[0], str):
        return 0.0
    widest = max(len(line) for place in places for line in _tick(place).split("\n"))
    return 1.2 + len(places) * (0.35 + 0.075 * widest)


def _draw_trials(
    axes: Axes, x: Sequence[float], trials: Sequence[Trial], with_intervals: bool, **style: Any
) -> None:
    y = np.array([trial["value"] for trial in trials])
    spread = None
    if with_intervals:
        ends = np.array([trial["interval"] or (trial["value"],) * 2 for trial in trials]).T
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


def _tick(value: Any) -> str:
    """Write a value under an axis: the keys of a table one below the other."""
    if isinstance(value, dict) and value:
        return "\n".join(f"{key} = {setting(entry)}" for key, entry in value.items())
    return setting(value)


def metric_axis(axes: Axes, metric: str) -> None:
    """Name the vertical axis and write its numbers as the metric is read: accuracy in percent."""
    from matplotlib.ticker import PercentFormatter

    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    better = "nats, lower is better" if metric == "log_loss" else "higher is better"
    axes.set_ylabel(f"{METRICS.get(metric, metric)} ({better})")


def finish(figure: Figure, axes: Axes, title: str, columns: int = 1) -> None:
    """Put the title above and, below, a legend that names each kind of mark once."""
    wide = int(figure.get_figwidth() * 11)
    figure.suptitle("\n".join(textwrap.wrap(literal(title), wide)), fontsize=12)
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if named:
        # So many columns, or as many as long names leave room for.
        columns = min(columns, max(1, int(figure.get_figwidth() / (inches(named) + 0.8))))
        figure.legend(named.values(), named, loc="outside lower center", ncols=columns, frameon=False)
