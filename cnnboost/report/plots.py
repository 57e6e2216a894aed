"""Figures of the images, of a training, of the modes of a hybrid, and of latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.report.drawing import COLOURS, inches, literal, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A colour for what computes, a mark for what is computed: two paths that lie on each other stay apart.
_RUNTIMES = {"predict": 5, "compiled": 1, "onnx": 0, "dmatrix": 3, "inplace": 2}
_FAMILIES = {"cnn": ("o", "white", 1.2), "hybrid": ("s", None, 1.8), "head": ("^", None, 1.2)}


def plot_class_distribution(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw how many images each class has in each split."""
    names = list(dict.fromkeys(name for split in counts.values() for name in split))
    if not names:
        raise DataError("There is nothing to draw: no split has a class.")
    # Bars lie on their side: neither names nor numbers can run into each other, however many there are.
    bar = 0.8 / len(counts)
    figure = new_figure(6.5 + inches(names), 1.2 + len(names) * max(0.32, 0.2 * len(counts)))
    axes = figure.subplots()
    for place, (split, of) in enumerate(counts.items()):
        numbers = [int(of.get(name, 0)) for name in names]
        bars = axes.barh(
            np.arange(len(names)) + (place - (len(counts) - 1) / 2) * bar,
            numbers,
            height=bar * 0.9,
            color=COLOURS[place % len(COLOURS)],
            label=f"{split} ({sum(numbers):,})",
        )
        axes.bar_label(bars, labels=[f"{number:,}" for number in numbers], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), literal(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("images")
    axes.set_title("Images per class")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.1)
    axes.tick_params(axis="y", length=0)
    open_frame(axes, grid="x")
    figure.legend(loc="outside lower center", ncols=min(len(counts), 3), frameon=False)
    return figure


def plot_contact_sheet(
    images: np.ndarray, labels: Sequence[object] | np.ndarray, *, columns: int = 12
) -> Figure:
    """Draw example images, one row of the sheet for each class."""
    x = np.asarray(images)
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or x.dtype != np.uint8 or not x.size:
        raise DataError(
            "A contact sheet needs uint8 images of shape (n, height, width, 1 or 3); "
            f"got {np.asarray(images).dtype} {np.asarray(images).shape}."
        )
    names = [str(label) for label in labels]
    if len(names) != len(x):
        raise DataError(f"{len(x)} images need {len(x)} labels; got {len(names)}.")
    if columns < 1:
        raise ValueError(f"columns must be at least 1; got {columns}.")
    classes = list(dict.fromkeys(names))
    rows = [[i for i, name in enumerate(names) if name == of][:columns] for of in classes]
    height, width = x.shape[1:3]
    gap = max(1, round(max(height, width) / 16))
    wide = max(len(row) for row in rows)
    # One picture instead of hundreds of axes.
    sheet = np.full((len(rows) * (height + gap) - gap, wide * (width + gap) - gap, 3), 255, np.uint8)
    for down, row in enumerate(rows):
        for right, i in enumerate(row):
            top, left = down * (height + gap), right * (width + gap)
            sheet[top : top + height, left : left + width] = x[i]
    cell = 0.62  # inches, enough to know a face
    tall = cell * height / max(height, width) * len(rows) * (1 + gap / height)
    broad = cell * width / max(height, width) * wide * (1 + gap / width)
    figure = new_figure(max(broad, 3.5) + 0.5 + inches(classes), 0.6 + tall)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([i * (height + gap) + (height - 1) / 2 for i in range(len(rows))], literal(classes))
    axes.tick_params(axis="y", length=0)
    figure.suptitle(f"Examples of each class, {width}x{height} pixels", fontsize=12)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def plot_history(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draw accuracy and loss over the epochs of a training, side by side."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    drawn = [name for name in ("accuracy", "loss") if len(history.get(name, [])) > 0]
    if not drawn:
        raise DataError(
            "There is nothing to draw: the history has neither accuracy nor loss, but "
            f"{', '.join(history) or 'nothing'}."
        )
    figure = new_figure(4.4 * len(drawn), 3.6)
    for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        kinds = ((name, "train", "-", "o"), (f"val_{name}", "validation", "--", "s"))
        for place, (key, label, line, dot) in enumerate(kinds):
            values = history.get(key, [])
            if len(values) > 0:
                epochs = np.arange(1, len(values) + 1)
                few = len(values) <= 20  # then a dot an epoch helps, and one epoch alone would be no line
                axes.plot(
                    epochs,
                    values,
                    line,
                    color=COLOURS[place],
                    label=label,
                    marker=dot if few else None,
                    ms=4,
                )
        axes.set_title(name.capitalize())
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        axes.legend(frameon=False)
        open_frame(axes, grid="both")
    return figure


def plot_modes(document: Mapping[str, Any]) -> Figure:
    """Draw the differences of accuracy and log-loss between each mode and the softmax."""
    from matplotlib.ticker import MaxNLocator

    runs, modes = document["runs"], list(document["summary"])
    if not runs or not modes:
        raise DataError("There is nothing to draw: no run was compared.")
    figure = new_figure(9.2, 1.7 + 0.24 * len(modes) * (len(runs) + 1))
    left, right = figure.subplots(1, 2, sharey=True)
    step = 0.8 / len(runs)
    for place, mode in enumerate(modes):
        colour = COLOURS[place % len(COLOURS)]
        for i, run in enumerate(runs):
            row = run["modes"][mode]
            y = place + (i - (len(runs) - 1) / 2) * step
            found = row["against_softmax"]
            middle, (low, high) = 100 * found["difference"], 100 * np.array(found["difference_interval"])
            left.errorbar(
                middle, y, xerr=[[middle - low], [high - middle]], fmt="o", color=colour, capsize=3, ms=5
            )
            right.plot(row["log_loss_difference"], y, "s", color=colour, ms=5)
    for axes in (left, right):
        axes.axvline(0, color="0.4", linewidth=1, linestyle="--")
        open_frame(axes, grid="x")
    left.set_yticks(range(len(modes)), literal(modes))
    left.set_ylim(len(modes) - 0.5, -0.5)
    left.set_xlabel(
        f"accuracy minus the softmax's, percentage points\n(bars: {document['confidence']:.0%} interval)"
    )
    right.set_xlabel("log-loss minus the calibrated softmax's, nats\n(to the left is better)")
    left.set_title("Accuracy")
    right.set_title("Log-loss")
    right.margins(x=0.15)
    right.xaxis.set_major_locator(MaxNLocator(5))
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
    figure.suptitle(
        literal([f"Hybrid against its own softmax, {document['split']}, {document['n']:,} images, {seeds}"])[
            0
        ],
        fontsize=12,
    )
    return figure


def plot_latency(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Draw the median latency of a call against the images in it, one line per path, both axes logarithmic.

    Lines are solid where a path begins at raw images, dotted and named so where it is the head only.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["path"].split("/")[1] in _RUNTIMES:
            lines.setdefault(row["path"], []).append(row)
    if not lines:
        raise DataError("There is nothing to draw: no path was timed.")
    figure = new_figure(8.2, 4.8)
    axes = figure.subplots()
    # In the legend from slow to fast at the largest batch, as they stand one above the other.
    for path, points in sorted(lines.items(), key=lambda item: -max(r["p50_ms"] for r in item[1])):
        family, runtime = path.split("/")
        mark, face, width = _FAMILIES[family]
        head_only = points[0]["measured"] == "head only"
        points = sorted(points, key=lambda row: row["batch"])
        axes.plot(
            [row["batch"] for row in points],
            [row["p50_ms"] for row in points],
            ":" if head_only else "-",
            color=COLOURS[_RUNTIMES[runtime]],
            marker=mark,
            markerfacecolor=face,
            markersize=5.5,
            linewidth=width,
            label=f"{path} (head only)" if head_only else path,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({row["batch"] for points in lines.values() for row in points})
    shown = _apart(sizes)
    axes.set_xticks(shown, [f"{size:,}" for size in shown])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_xlabel("images in a call")
    axes.set_ylabel("median time of a call, ms")
    axes.set_title(literal([title])[0] if title else "Latency", fontsize=12)
    open_frame(axes, grid="both")
    axes.legend(
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        title="solid: from raw images\nto probabilities",
        alignment="left",
        fontsize=9,
        title_fontsize=9,
    )
    return figure


def _apart(sizes: Sequence[int]) -> list[int]:
    """Leave out what would be written into its neighbour; the largest size stays."""
    span = max(sizes) / min(sizes)
    kept: list[int] = []
    for size in sorted(sizes, reverse=True):
        if not kept or (kept[-1] / size) > span**0.08:
            kept.append(size)
    return kept[::-1]
