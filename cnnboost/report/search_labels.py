"""How a search's values and its metric are written in figures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnboost.errors import DataError
from cnnboost.report.drawing import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log loss"}


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
        figure.legend(named.values(), named, loc="outside lower center", ncols=columns, frameon=False)
