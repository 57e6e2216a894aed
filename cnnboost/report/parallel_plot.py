"""The figure of a search over many keys: parallel coordinates."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnboost.report.drawing import COLOURS, literal, new_figure
from cnnboost.report.search_labels import is_better, metric_label, some, value_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICKS = 5


class _Scale(NamedTuple):
    """One upright axis: where each value stands, from 0 to 1, and the labels beside it."""

    low: float
    high: float
    log: bool
    choices: tuple[str, ...]
    ticks: list[tuple[float, str]]

    def place(self, value: Any) -> float:
        if self.choices:
            return _even(self.choices.index(json.dumps(value, sort_keys=True)), len(self.choices))
        low, high, value = ((math.log(x) if self.log else float(x)) for x in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5


def plot_parallel(
    trials: Sequence[Mapping[str, Any]],
    space: Mapping[str, Mapping[str, Any]],
    metric: str,
    *,
    title: str = "Values of each trial",
) -> Figure:
    """Draw each trial as a line through its values: one upright axis for each key, the metric last.

    The darker a line, the better its trial; the best one is drawn over all others.
    """
    import matplotlib
    from matplotlib.patheffects import Normal, Stroke

    some(trials)
    values = [float(trial["value"]) for trial in trials]
    scales = [_scale(of) for of in space.values()] + [_metric_scale(values, metric)]
    names = [*space, metric_label(metric)]
    widest = max(max(len(line) for _, text in scale.ticks for line in text.split("\n")) for scale in scales)
    figure = new_figure(1.0 + len(scales) * max(1.35, 0.6 + 0.075 * widest), 4.8)
    axes = figure.subplots()
    shades = matplotlib.colormaps["viridis_r"]
    worst, best = (max(values), min(values)) if metric == "log_loss" else (min(values), max(values))
    worst_first = sorted(trials, key=lambda t: t["value"], reverse=metric == "log_loss")
    winner = next(t for t in trials if not any(is_better(o["value"], t["value"], metric) for o in trials))
    for trial in worst_first:
        # Trials that share a choice lie side by side, and not all on one line.
        aside = (trial["number"] * 0.618 % 1 - 0.5) * 0.04 if trial is not winner else 0.0
        heights = [
            scale.place(trial["values"][key]) + aside * bool(scale.choices)
            for key, scale in zip(space, scales[:-1], strict=True)
        ] + [scales[-1].place(trial["value"])]
        shade = shades(0.1 + 0.9 * ((trial["value"] - worst) / (best - worst) if best != worst else 1.0))
        if trial is not winner:
            axes.plot(heights, color=shade, linewidth=1.3, alpha=0.85, zorder=2)
        else:
            halo = [Stroke(linewidth=5, foreground="white"), Normal()]
            label = f"best trial (number {trial['number']}, {_written(trial['value'], metric)})"
            axes.plot(
                heights, color=COLOURS[5], linewidth=2.8, marker="o", zorder=4, label=label, path_effects=halo
            )
    for i, scale in enumerate(scales):
        axes.plot([i, i], [0, 1], color="black", linewidth=1, zorder=1)
        for height, text in scale.ticks:
            axes.plot([i - 0.025, i], [height, height], color="black", linewidth=1, zorder=1)
            axes.text(
                i - 0.045, height, literal([text])[0], ha="right", va="center", fontsize=8, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6},
            )  # fmt: skip
    axes.set_xticks(range(len(names)), literal(name.replace(".", ".\n") for name in names))
    axes.tick_params(axis="x", length=0, labelsize=9)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    # Room on the left for the labels of the first axis.
    axes.set_xlim(-0.55, len(scales) - 0.85)
    axes.set_ylim(-0.04, 1.04)
    wide = int(figure.get_figwidth() * 11)
    figure.suptitle("\n".join(textwrap.wrap(literal([title])[0], wide)), fontsize=12)
    figure.legend(loc="outside lower center", frameon=False, title="the darker a line, the better its trial")
    return figure


def _scale(space: Mapping[str, Any]) -> _Scale:
    if "choices" in space:
        choices = space["choices"]
        ticks = [(_even(i, len(choices)), value_label(choice)) for i, choice in enumerate(choices)]
        return _Scale(0, 1, False, tuple(json.dumps(choice, sort_keys=True) for choice in choices), ticks)
    return _range(float(space["low"]), float(space["high"]), bool(space.get("log")), value_label)


def _metric_scale(values: Sequence[float], metric: str) -> _Scale:
    # As wide as the values, and a little more where they are all the same.
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.01, high + 0.01
    return _range(low, high, False, lambda value: _written(value, metric))


def _range(low: float, high: float, log: bool, label: Any) -> _Scale:
    from matplotlib.ticker import LogLocator, MaxNLocator

    if log and high / low >= 10:
        found = LogLocator(numticks=_TICKS + 2).tick_values(low, high)
    elif log:
        found = [low, math.sqrt(low * high), high]
    else:
        found = MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    scale = _Scale(low, high, log, (), [])
    inside = [float(x) for x in found if low * (1 - 1e-9) <= x <= high * (1 + 1e-9)]
    # Both ends of a range that is no decade or round number belong to it as well.
    ends = [end for end in (low, high) if all(abs(scale.place(end) - scale.place(x)) > 0.07 for x in inside)]
    return scale._replace(ticks=[(scale.place(x), label(x)) for x in sorted([*inside, *ends])])


def _even(i: int, of: int) -> float:
    return i / (of - 1) if of > 1 else 0.5


def _written(value: float, metric: str) -> str:
    return f"{value:.1%}" if metric == "accuracy" else f"{value:.3f}"
