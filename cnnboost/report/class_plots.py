"""Figures of the scores class by class: confusion matrices and the accuracy of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.report.drawing import PAIR, inches, literal, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEXT_CLASSES = 25  # above this the numbers in a confusion matrix would be too small to read


def plot_confusion(
    matrix: np.ndarray | Sequence[Sequence[int]],
    classes: Sequence[object],
    *,
    title: str = "Confusion matrix",
    normalise: bool = True,
) -> Figure:
    """Draw a confusion matrix: in each cell the share of the true class and the raw count."""
    counts = np.asarray(matrix)
    names = [str(name) for name in classes]
    if counts.shape != (len(names), len(names)) or not names or counts.min() < 0:
        raise DataError(
            f"A confusion matrix of {len(names)} classes has {len(names)} x {len(names)} counts; "
            f"got shape {counts.shape}, lowest value {counts.min() if counts.size else 'none'}."
        )
    total = counts.sum(axis=1, keepdims=True)
    shown = (
        np.divide(100 * counts, total, out=np.zeros(counts.shape), where=total > 0) if normalise else counts
    )
    small = len(names) <= _TEXT_CLASSES
    side = max(3.2, 0.62 * len(names)) if small else 0.2 * len(names) + 2
    figure = new_figure(side + 1.8 + inches(names), side + 0.6 + inches(names))
    axes = figure.subplots()
    top = 100 if normalise else max(1, counts.max())
    picture = axes.imshow(shown, cmap="Blues", vmin=0, vmax=top)
    label = "% of the images of the true class" if normalise else "images"
    figure.colorbar(picture, ax=axes, label=label, shrink=0.8)
    if small:
        for (true, guess), value in np.ndenumerate(shown):
            ink: dict[str, Any] = {"ha": "center", "color": "white" if value > 0.7 * top else "black"}
            count = f"{counts[true, guess]:,}"
            if not total[true, 0]:
                axes.text(guess, true, "-", va="center", fontsize=9, **ink)
            elif normalise:
                for text, points, size in ((f"{value:.0f}", 5, 10), (count, -8, 7)):
                    axes.annotate(
                        text,
                        (guess, true),
                        (0, points),
                        textcoords="offset points",
                        va="center",
                        fontsize=size,
                        **ink,
                    )
            else:
                axes.text(guess, true, count, va="center", fontsize=8, **ink)
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if small else {"rotation": 90}
    axes.set_xticks(range(len(names)), literal(names), **turned)
    axes.set_yticks(
        range(len(names)),
        literal(f"{name} ({int(of):,})" for name, of in zip(names, total[:, 0], strict=True)),
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (images)")
    axes.tick_params(labelsize=10 if small else 8)
    if small and normalise:
        figure.supxlabel("in each cell: % of the true class, below it images", fontsize=8)
    figure.suptitle(literal([title])[0], fontsize=12)
    return figure


def plot_class_accuracy(
    scored: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    confidence: float = 0.95,
    title: str = "Accuracy of each class",
) -> Figure:
    """Draw the accuracy (recall) of each class with its interval, one classifier beside the other."""
    sides = [[(str(row["name"]), int(row["support"])) for row in rows] for rows in scored.values()]
    if not sides or not sides[0] or len(sides) > len(PAIR):
        raise DataError(
            f"There is nothing to draw: 1 to {len(PAIR)} classifiers with 1 class or more are needed; got "
            f"{len(sides)} with {len(sides[0]) if sides else 0}."
        )
    if any(side != sides[0] for side in sides):
        raise DataError(f"{', '.join(scored)} are scored on different classes or images; score them anew.")
    names = [f"{name} ({support:,})" for name, support in sides[0]]
    step = 0.7 / len(scored)
    figure = new_figure(6 + inches(names), 1.6 + len(names) * max(0.3, 0.2 * len(scored)))
    axes = figure.subplots()
    for place, (classifier, rows) in enumerate(scored.items()):
        style = PAIR[place]
        at = np.arange(len(names)) + (place - (len(scored) - 1) / 2) * step
        there = [i for i, row in enumerate(rows) if row["support"]]
        value = np.array([100 * rows[i]["recall"]["value"] for i in there])
        edges = np.array([rows[i]["recall"]["interval"] or [np.nan] * 2 for i in there]).reshape(-1, 2) * 100
        axes.errorbar(
            value,
            at[there],
            # Rounding may put an end of the interval a last bit inside of the value.
            xerr=np.maximum(np.abs(np.stack([value - edges[:, 0], edges[:, 1] - value])), 0),
            fmt=style.mark,
            color=style.colour,
            markerfacecolor=style.face,
            markersize=5.5,
            elinewidth=1.6,
            capsize=2.5,
            label=classifier,
        )
        # In a column of their own the numbers cannot lie on marks.
        for i, number in zip(there, value, strict=True):
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
    axes.set_yticks(range(len(names)), literal(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"images of the class that are recognised, %; bars: {100 * confidence:.4g}% interval")
    axes.set_ylabel("class (images)")
    axes.tick_params(axis="y", length=0)
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color="0.93", linewidth=0.8, zorder=0)
    axes.set_title(literal([title])[0], fontsize=12)
    open_frame(axes, grid="x")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
