"""Figures of a search: its trials, its keys, what each key is worth, and how the trials learnt.

A trial is a mapping with `number`, `value` (None where it failed), `values` by key, `interval` and `history`;
a space is `{"choices": [...]}` or `{"low": ..., "high": ..., "log": ...}`: as in the document of a search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.report.drawing import COLOURS, literal, new_figure, open_frame
from cnnboost.report.parallel_plot import plot_parallel
from cnnboost.report.point_plot import few_lines, plot_points
from cnnboost.report.search_labels import finish, is_better, metric_axis, metric_label, some

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Trial = Mapping[str, Any]

__all__ = [
    "plot_importances",
    "plot_learning_curves",
    "plot_parallel",
    "plot_points",
    "plot_trials",
    "search_figures",
]


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
    keys = " and ".join(space)
    if few_lines(ended, space):
        title = f"{name}: {metric_label(metric)} against {keys}"
        level = document["confidence"]
        figures["points"] = title, plot_points(ended, space, metric, confidence=level, title=title)
    else:
        title = f"{name}: all values of each trial"
        figures["parallel"] = title, plot_parallel(ended, space, metric, title=title)
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
    """Draw accuracy and loss of all trials by epoch, on the images that judge; the best one stands out."""
    from matplotlib.ticker import MaxNLocator

    drawn = [trial for trial in trials if trial.get("history") and trial["value"] is not None]
    if not drawn:
        raise DataError("There is nothing to draw: no trial has a history.")
    best = next(t for t in drawn if not any(is_better(o["value"], t["value"], metric) for o in drawn))
    figure = new_figure(9.2, 4.0)
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for trial in drawn:
            if trial is not best:
                _curve(axes, trial, f"val_{name}", color="0.6", linewidth=0.9, label="other trials, judged")
        _curve(axes, best, name, color=COLOURS[0], linewidth=1.6, linestyle="--", label="best trial, fitted")
        _curve(
            axes, best, f"val_{name}", color=COLOURS[5], linewidth=2.2, marker="o", markersize=3.5,
            label=f"best trial (number {best['number']}), judged",
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
