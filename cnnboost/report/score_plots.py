"""Figures of scores: confusion, accuracy of each class, ROC, precision against recall, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cnnboost.metrics.curves import Curve
from cnnboost.report.plots import COLOURS, inches, literal, name_rows, new_figure, open_frame
from cnnboost.report.table import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Style(NamedTuple):
    """How one classifier looks: line and mark tell two apart where colour does not."""

    colour: str
    face: str
    line: str
    mark: str


_PAIR = (Style(COLOURS[0], "white", "--", "o"), Style(COLOURS[5], COLOURS[5], "-", "s"))
_TEXT_CLASSES = 25  # above this the numbers in a confusion matrix would be too small to read
_CHANCE: dict[str, Any] = {"color": "0.55", "linewidth": 1, "linestyle": (0, (1, 2))}
# What a sweep shows, and how: mark and line differ where colours look alike.
_SWEPT = {
    "accuracy": (COLOURS[0], "o", "-"),
    "average_class_accuracy": (COLOURS[5], "s", "-"),
    "precision": (COLOURS[2], "^", "--"),
    "recall": (COLOURS[3], "v", "--"),
    "f1": ("black", "D", "-"),
}


def plot_confusion(matrix: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> Figure:
    """Draw a confusion matrix: in each cell the share of the true class, and the number of images."""
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = np.asarray(matrix)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, total, out=np.zeros(counts.shape), where=total > 0)
    small = len(names) <= _TEXT_CLASSES
    side = max(3.2, 0.62 * len(names)) if small else 0.2 * len(names) + 2
    figure = new_figure(side + 1.8 + inches(names), side + 0.6 + inches(names), title)
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(shares).plot(
        ax=axes, cmap="Blues", include_values=small, colorbar=False, im_kw={"vmin": 0, "vmax": 100}
    )
    figure.colorbar(display.im_, ax=axes, label="% of the images of the true class", shrink=0.8)
    if small:
        for (true, guess), text in np.ndenumerate(display.text_):
            shown = f"{shares[true, guess]:.0f}\n{counts[true, guess]:,}" if total[true, 0] else "-"
            text.set(text=shown, fontsize=8.5)
        figure.supxlabel("in each cell: % of the true class, below it images", fontsize=8)
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if small else {"rotation": 90}
    axes.set_xticks(range(len(names)), [literal(name) for name in names], **turned)
    with_totals = [literal(f"{name} ({of:,})") for name, of in zip(names, total[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), with_totals)
    axes.set(xlabel="predicted class", ylabel="true class (images)")
    axes.tick_params(labelsize=10 if small else 8)
    return figure


def plot_class_accuracy(
    scored: Mapping[str, Sequence[Mapping[str, Any]]], *, confidence: float, title: str
) -> Figure:
    """Draw the accuracy (recall) of each class with its interval, one classifier beside the other."""
    names = [f"{row['name']} ({row['support']:,})" for row in next(iter(scored.values()))]
    step = 0.7 / len(scored)
    figure = new_figure(6 + inches(names), 1.6 + len(names) * max(0.3, 0.2 * len(scored)))
    axes = figure.subplots()
    for place, (style, (classifier, rows)) in enumerate(zip(_PAIR, scored.items(), strict=False)):
        at = np.arange(len(names)) + (place - (len(scored) - 1) / 2) * step
        present = [i for i, row in enumerate(rows) if row["support"]]
        value = np.array([100 * rows[i]["recall"]["value"] for i in present])
        low, high = 100 * np.array([rows[i]["recall"]["interval"] for i in present]).T
        axes.errorbar(
            value,
            at[present],
            # Rounding may put an end of the interval a last bit inside of the value.
            xerr=np.abs([value - low, high - value]),
            fmt=style.mark,
            color=style.colour,
            markerfacecolor=style.face,
            markersize=5.5,
            elinewidth=1.6,
            capsize=2.5,
            label=classifier,
        )
        # In a column of their own the numbers cannot lie on marks.
        for i, number in zip(present, value, strict=True):
            axes.text(
                1.06,
                at[i],
                f"{number:.0f}",
                color=style.colour,
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=8,
            )
    name_rows(axes, names)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"images of the class that are recognised, %; bars: {100 * confidence:.4g}% interval")
    axes.set_ylabel("class (images)")
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color="0.93", linewidth=0.8, zorder=0)
    axes.set_title(literal(title), fontsize=12)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_roc(curves: Mapping[str, Mapping[str, Curve]], *, confidence: float, title: str) -> Figure:
    """Draw ROC curves: a panel for each class, in it one classifier beside the other."""
    from sklearn.metrics import RocCurveDisplay

    figure, panels = _panels(list(curves.values()), 2, title)
    for axes, (panel, of) in zip(panels, curves.items(), strict=True):
        for style, (classifier, curve) in zip(_PAIR, of.items(), strict=False):
            last = classifier == list(of)[-1]
            display = RocCurveDisplay(fpr=curve.x, tpr=curve.y)
            display.plot(ax=axes, plot_chance_level=last, chance_level_kw=_CHANCE)
            label = f"{classifier}: AUC {_area(curve)}"
            display.line_.set(color=style.colour, linestyle=style.line, linewidth=1.8, label=label)
        axes.set_title(literal(panel), fontsize=11)
        axes.set_xlabel("false positive rate\n(share of the other images called so)")
        axes.set_ylabel("true positive rate\n(share of its images called so)")
        _finish(axes, f"in brackets: the {100 * confidence:.4g}% interval")
    return figure


def plot_precision_recall(
    curves: Mapping[str, Curve],
    best: Mapping[str, Mapping[str, Any]],
    *,
    positive: str,
    share: float,
    confidence: float,
    title: str,
) -> Figure:
    """Draw precision against recall, with the point of the best F1 of each classifier."""
    from sklearn.metrics import PrecisionRecallDisplay

    figure, (axes,) = _panels([curves], 3 + len(curves), title)
    label = f"all called {literal(positive)}: {share:.3f}"
    axes.axhline(share, label=label, **_CHANCE)
    for style, (classifier, curve) in zip(_PAIR, curves.items(), strict=False):
        display = PrecisionRecallDisplay(precision=curve.y, recall=curve.x).plot(ax=axes)
        label = f"{classifier}: average precision {_area(curve)}"
        display.line_.set(color=style.colour, linestyle=style.line, linewidth=1.8, label=label)
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
    axes.set_xlabel(literal(f"recall (share of the images of {positive} that are found)"))
    axes.set_ylabel(literal(f"precision (share of {positive} in what is called so)"))
    note = "The best thresholds were chosen on these very images: optimistic."
    _finish(axes, f"in brackets: the {100 * confidence:.4g}% interval\n{note}")
    return figure


def plot_threshold_sweep(
    sweeps: Mapping[str, Sequence[Mapping[str, float]]], *, positive: str, title: str
) -> Figure:
    """Draw accuracy, average class accuracy, precision, recall and F1 over the threshold."""
    figure = new_figure(max(4.2 * len(sweeps), 5.6), 4.6, title)
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
        axes.set_title(literal(classifier), fontsize=11)
        axes.set_xlabel(literal(f"threshold of the probability of {positive}"))
        open_frame(axes, grid="both")
    panels[0].set_ylabel("score, %")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        title="A threshold chosen here is chosen on these very images: optimistic.",
        title_fontsize=9,
    )
    return figure


def _area(curve: Curve) -> str:
    text = f"{curve.area.value:.3f}"
    if curve.area.interval is None:
        return text
    return f"{text} ({span(curve.area.interval, '{:.3f}'.format)})"


def _panels(drawn: Sequence[Mapping[str, Curve]], notes: int, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in a row, high enough for a legend under each."""
    labels = [f"{name}: average precision 0.000 (0.000 to 0.000)" for of in drawn for name in of]
    lines = max(map(len, drawn)) + notes
    width = max(4.6 if len(drawn) > 1 else 5.4, 0.9 * inches(labels) + 0.7)
    figure = new_figure(len(drawn) * width, 4.9 + 0.2 * lines, title)
    return figure, list(figure.subplots(1, len(drawn), squeeze=False)[0])


def _finish(axes: Axes, note: str) -> None:
    """Write the legend where no curve can lie on it."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="auto")
    open_frame(axes, grid="both")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.45, -0.16),
        frameon=False,
        fontsize=9,
        handlelength=2.8,
        borderpad=0,
        title=note,
        alignment="left",
        title_fontsize=9,
    )
