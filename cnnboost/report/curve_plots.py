"""Figures of what a threshold does: ROC, precision against recall, and scores over the thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnboost.errors import DataError
from cnnboost.metrics.curves import Curve
from cnnboost.report.drawing import COLOURS, PAIR, inches, literal, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a sweep shows, and how: mark and line differ where colours look alike.
_SWEPT = {
    "accuracy": (COLOURS[0], "o", "-"),
    "average_class_accuracy": (COLOURS[5], "s", "-"),
    "precision": (COLOURS[2], "^", "--"),
    "recall": (COLOURS[3], "v", "--"),
    "f1": ("black", "D", "-"),
}


def plot_roc(
    curves: Mapping[str, Mapping[str, Curve]],
    *,
    confidence: float = 0.95,
    title: str = "ROC, one class against the rest",
) -> Figure:
    """Draw ROC curves: a panel for each class, in it one classifier beside the other."""
    for of in curves.values():
        _check(of)
    if not curves:
        raise DataError("There is nothing to draw: no class has a ROC curve.")
    labels = [f"{name}: AUC 0.000 (0.000 to 0.000)" for of in curves.values() for name in of]
    figure, panels = _panels(len(curves), 2 + max(map(len, curves.values())), labels)
    for (axes, below), (panel, of) in zip(panels, curves.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.55", linewidth=1, linestyle=(0, (1, 2)), label="chance: AUC 0.500")
        for style, (classifier, curve) in zip(PAIR, of.items(), strict=False):
            axes.plot(
                curve.x,
                curve.y,
                style.line,
                color=style.colour,
                linewidth=1.8,
                label=f"{classifier}: AUC {_area(curve)}",
            )
        axes.set_title(literal([panel])[0], fontsize=11)
        axes.set_xlabel("false positive rate\n(share of the other images called so)")
        axes.set_ylabel("true positive rate\n(share of its images called so)")
        _legend(axes, below, f"in brackets: the {_level(confidence)} interval")
    figure.suptitle(literal([title])[0], fontsize=12)
    return figure


def plot_precision_recall(
    curves: Mapping[str, Curve],
    best: Mapping[str, Mapping[str, Any]],
    *,
    positive: str,
    share: float,
    confidence: float = 0.95,
    title: str = "Precision against recall",
) -> Figure:
    """Draw precision against recall, with the point of the best F1 of each classifier."""
    _check(curves)
    labels = [f"{name}: average precision 0.000 (0.000 to 0.000)" for name in curves]
    figure, [(axes, below)] = _panels(1, 3 + 2 * len(curves), labels)
    axes.axhline(
        share,
        color="0.55",
        linewidth=1,
        linestyle=(0, (1, 2)),
        label=f"all called {literal([positive])[0]}: {share:.3f}",
    )
    for style, (classifier, curve) in zip(PAIR, curves.items(), strict=False):
        axes.plot(
            curve.x,
            curve.y,
            style.line,
            drawstyle="steps-post",
            color=style.colour,
            linewidth=1.8,
            label=f"{classifier}: average precision {_area(curve)}",
        )
        point = best[classifier]
        axes.plot(
            point["recall"],
            point["precision"],
            style.mark,
            color=style.colour,
            markerfacecolor=style.face,
            markersize=8,
            label=f"{classifier}: best F1 {point['f1']['value']:.3f}, at threshold {point['threshold']:.3f}",
        )
    axes.set_xlabel(literal([f"recall (share of the images of {positive} that are found)"])[0])
    axes.set_ylabel(literal([f"precision (share of {positive} in what is called so)"])[0])
    _legend(
        axes,
        below,
        f"in brackets: the {_level(confidence)} interval\n"
        "The best thresholds were chosen on these very images: optimistic.",
    )
    figure.suptitle(literal([title])[0], fontsize=12)
    return figure


def plot_threshold_sweep(
    sweeps: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    positive: str,
    title: str = "Scores over the threshold",
) -> Figure:
    """Draw accuracy, average class accuracy, precision, recall and F1 over the threshold."""
    _check(sweeps)
    figure = new_figure(max(4.2 * len(sweeps), 5.6), 4.6)
    panels = figure.subplots(1, len(sweeps), squeeze=False, sharey=True)[0]
    for axes, (classifier, rows) in zip(panels, sweeps.items(), strict=True):
        for name, (colour, mark, line) in _SWEPT.items():
            axes.plot(
                [row["threshold"] for row in rows],
                [100 * row[name] for row in rows],
                line,
                color=colour,
                marker=mark,
                markersize=4.5,
                linewidth=1.4,
                label={"f1": "F1"}.get(name, name.replace("_", " ")),
            )
        axes.set_title(literal([classifier])[0], fontsize=11)
        axes.set_xlabel(literal([f"threshold of the probability of {positive}"])[0])
        open_frame(axes, grid="both")
    panels[0].set_ylabel("score, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        title="A threshold chosen here is chosen on these very images: optimistic.",
        title_fontsize=9,
    )
    figure.suptitle(literal([title])[0], fontsize=12)
    return figure


def _check(drawn: Mapping[str, Any]) -> None:
    if not 0 < len(drawn) <= len(PAIR):
        raise DataError(f"1 to {len(PAIR)} classifiers can be drawn beside each other; got {len(drawn)}.")


def _level(confidence: float) -> str:
    return f"{100 * confidence:.4g}%"


def _area(curve: Curve) -> str:
    text = f"{curve.area.value:.3f}"
    if curve.area.interval is None:
        return text
    low, high = curve.area.interval
    return f"{text} ({low:.3f} to {high:.3f})"


def _panels(n: int, lines: int, labels: list[str]) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Return a figure with panels in a row, and under each a place for a legend of so many lines."""
    under = 0.2 * lines + 0.1
    figure = new_figure(n * max(4.6 if n > 1 else 5.4, 0.9 * inches(labels) + 0.7), 4.9 + under)
    rows = figure.subplots(2, n, squeeze=False, height_ratios=(4.4, under))
    for axes in rows[0]:
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        open_frame(axes, grid="both")
    for axes in rows[1]:
        axes.set_axis_off()
    return figure, list(zip(*rows, strict=True))


def _legend(axes: Axes, below: Axes, note: str) -> None:
    """Write the legend where no curve can lie on it."""
    handles, labels = axes.get_legend_handles_labels()
    below.legend(
        handles,
        labels,
        loc="upper center",
        frameon=False,
        fontsize=9,
        handlelength=2.8,
        borderpad=0,
        title=note,
        alignment="left",
        title_fontsize=9,
    )
