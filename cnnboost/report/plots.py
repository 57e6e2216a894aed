"""What every figure shares, and the figures of images, of a training and of latencies."""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.escape import visible
from cnnboost.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color Universal Design", 2008: told apart with every kind of colour vision. In this
# order they are also dark, light and medium in a grey print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_DPI = 150
_NO_GLYPH = r"Glyph .* missing from font"

# A colour for what computes, a mark for what is computed: two paths that lie on each other stay apart.
_RUNTIMES = {"predict": 5, "compiled": 1, "onnx": 0, "dmatrix": 3, "inplace": 2}
_FAMILIES = {"cnn": ("o", "white", 1.2), "hybrid": ("s", None, 1.8), "head": ("^", None, 1.2)}

log = logging.getLogger("cnnboost")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, whole or not at all; equal figures give equal files."""
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as seen:
        warnings.filterwarnings("always", message=_NO_GLYPH)
        # The name and version of the software would change the file from one machine to the next.
        figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    for other in seen:
        if not re.match(_NO_GLYPH, str(other.message)):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if any(re.match(_NO_GLYPH, str(one.message)) for one in seen):
        log.warning("%s shows boxes in place of some characters: its font does not have them", path)
    return write_bytes(path, content.getbuffer())


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Return an empty figure of so many inches."""
    # Not through pyplot: that keeps every figure alive and may want a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)  # inches
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(literal(title), fontsize=12)
    return figure


def inches(names: Iterable[str]) -> float:
    """Return about how wide the longest name is."""
    return 0.08 * max(map(len, names))


def literal(text: str) -> str:
    """Keep matplotlib from reading dollar signs in names as formulas, and control characters as anything."""
    return visible(text, keep="\n").replace("$", r"\$")


def open_frame(axes: Axes, grid: str) -> None:
    """Leave the frame open above and on the right, and draw a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.88", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def name_rows(axes: Axes, names: Iterable[str]) -> None:
    """Name rows from top to bottom; on their side, neither names nor numbers run into each other."""
    labels = [literal(name) for name in names]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    open_frame(axes, grid="x")


def plot_class_distribution(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw how many images each class has in each split."""
    names = list(dict.fromkeys(name for split in counts.values() for name in split))
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
    name_rows(axes, names)
    axes.set_xlabel("images")
    axes.set_title("Images per class")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.1)
    figure.legend(loc="outside lower center", ncols=min(len(counts), 3), frameon=False)
    return figure


def plot_contact_sheet(x: np.ndarray, labels: Sequence[object] | np.ndarray) -> Figure:
    """Draw example images, uint8 of shape (n, height, width, 1 or 3), a row of the sheet for each class."""
    names = [str(label) for label in labels]
    classes = list(dict.fromkeys(names))
    rows = [[i for i, name in enumerate(names) if name == of] for of in classes]
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
    title = f"Examples of each class, {width}x{height} pixels"
    figure = new_figure(max(broad, 3.5) + 0.5 + inches(classes), 0.6 + tall, title)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([])
    middles = [i * (height + gap) + (height - 1) / 2 for i in range(len(rows))]
    axes.set_yticks(middles, [literal(name) for name in classes])
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)
    return figure


def plot_history(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draw accuracy and loss over the epochs of a training, side by side."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    drawn = [name for name in ("accuracy", "loss") if history.get(name)]
    figure = new_figure(4.4 * len(drawn), 3.6)
    for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        for place, (key, label) in enumerate(((name, "train"), (f"val_{name}", "validation"))):
            values = history.get(key) or []
            # Up to 20, a dot an epoch helps, and one epoch alone would be no line.
            mark = "os"[place] if len(values) <= 20 else None
            axes.plot(
                epochs_of(history, key),
                values,
                ("-", "--")[place],
                color=COLOURS[place],
                label=label if values else None,
                marker=mark,
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


def epochs_of(history: Mapping[str, Sequence[float]], name: str) -> Sequence[float]:
    """Return the epochs that the values of a curve belong to; not every one need have been validated."""
    every = range(1, len(history.get(name) or []) + 1)
    return history.get("val_epoch", every) if name.startswith("val_") else every


def plot_latency(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw the median latency of a call against the images in it, one line per path, both axes logarithmic.

    Lines are solid where a path begins at raw images, dotted and named so where it is the head only.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["path"].split("/")[1] in _RUNTIMES:
            lines.setdefault(row["path"], []).append(row)
    figure = new_figure(8.2, 4.8)
    axes = figure.subplots()
    # In the legend from slow to fast at the largest batch, as the lines lie one above the other.
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
    axes.set_title(literal(title), fontsize=12)
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
    shown: list[int] = []
    for size in sorted(sizes, reverse=True):
        if not shown or (shown[-1] / size) > span**0.08:
            shown.append(size)
    return shown[::-1]
