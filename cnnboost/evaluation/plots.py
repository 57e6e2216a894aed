"""Figures: each function takes a table and returns a matplotlib figure; `save_figure` writes one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnboost.errors import DataError
from cnnboost.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color Universal Design", 2008: told apart with every kind of colour vision. In this
# order they are also dark, light and medium in a grey print.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_DPI = 150
_TEXT_CLASSES = 25  # above this the numbers in a confusion matrix would be too small to read


def plot_class_distribution(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw how many images each class has in each split.

    Parameters
    ----------
    counts : mapping of str to mapping of str to int
        Split to class to number of images; a class that a split leaves out has none there.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is no class.

    Examples
    --------
    >>> figure = plot_class_distribution({"train": {"angry": 30, "happy": 70}, "test": {"happy": 6}})
    >>> figure.axes[0].get_xlabel()
    'images'
    """
    names = list(dict.fromkeys(name for split in counts.values() for name in split))
    if not names:
        raise DataError("There is nothing to draw: no split has a class.")
    # Bars lie on their side: neither names nor numbers can run into each other, however many there are.
    bar = 0.8 / len(counts)
    figure = _figure(6.5 + _inches(names), 1.2 + len(names) * max(0.32, 0.2 * len(counts)))
    axes = figure.subplots()
    for place, (split, of) in enumerate(counts.items()):
        numbers = [int(of.get(name, 0)) for name in names]
        bars = axes.barh(
            np.arange(len(names)) + (place - (len(counts) - 1) / 2) * bar,
            numbers,
            height=bar * 0.9,
            color=_COLOURS[place % len(_COLOURS)],
            label=f"{split} ({sum(numbers):,})",
        )
        axes.bar_label(bars, labels=[f"{number:,}" for number in numbers], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), _literal(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("images")
    axes.set_title("Images per class")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.1)
    axes.tick_params(axis="y", length=0)
    _open_frame(axes, grid="x")
    figure.legend(loc="outside lower center", ncols=min(len(counts), 3), frameon=False)
    return figure


def plot_contact_sheet(
    images: np.ndarray, labels: Sequence[object] | np.ndarray, *, columns: int = 12
) -> Figure:
    """Draw example images, one row of the sheet for each class.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels), uint8
        1 or 3 channels. The caller chooses which.
    labels : array-like of shape (n,)
        Class name of each image; rows stand in the order in which the names first appear.
    columns : int, default=12
        At most so many images of a class are drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there are no images, they are not uint8 of 1 or 3 channels, or the labels are of another length.
    """
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
    figure = _figure(max(broad, 3.5) + 0.5 + _inches(classes), 0.6 + tall)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([i * (height + gap) + (height - 1) / 2 for i in range(len(rows))], _literal(classes))
    axes.tick_params(axis="y", length=0)
    figure.suptitle(f"Examples of each class, {width}x{height} pixels", fontsize=12)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def plot_history(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draw accuracy and loss over the epochs of a training, side by side.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``loss`` and, where there are, ``accuracy``, ``val_accuracy`` and ``val_loss``, one value an epoch.
        What else Keras notes, such as the learning rate, is not drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If there is neither accuracy nor loss.

    Examples
    --------
    >>> figure = plot_history({"loss": [1.8, 1.2], "val_loss": [1.7, 1.4], "accuracy": [0.3, 0.5]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['accuracy', 'loss']
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    drawn = [name for name in ("accuracy", "loss") if len(history.get(name, [])) > 0]
    if not drawn:
        raise DataError(
            "There is nothing to draw: the history has neither accuracy nor loss, but "
            f"{', '.join(history) or 'nothing'}."
        )
    figure = _figure(4.4 * len(drawn), 3.6)
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
                    color=_COLOURS[place],
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
        _open_frame(axes, grid="both")
    return figure


def plot_confusion(
    matrix: np.ndarray | Sequence[Sequence[int]],
    classes: Sequence[object],
    *,
    title: str = "Confusion matrix",
    normalise: bool = True,
) -> Figure:
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix : array-like of shape (n_classes, n_classes), int
        Rows are labels, columns predictions.
    classes : sequence
        Class names.
    title : str
    normalise : bool, default=True
        Draw each row as shares of its class, in percent; False draws the counts.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        If the matrix does not fit the classes, or holds a negative number.
    """
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
    figure = _figure(side + 1.8 + _inches(names), side + 0.6 + _inches(names))
    axes = figure.subplots()
    top = 100 if normalise else max(1, counts.max())
    picture = axes.imshow(shown, cmap="Blues", vmin=0, vmax=top)
    label = "% of the images of the true class" if normalise else "images"
    figure.colorbar(picture, ax=axes, label=label, shrink=0.8)
    if small:
        for (true, guess), value in np.ndenumerate(shown):
            text = f"{value:.0f}" if normalise else f"{value:,}"
            axes.text(
                guess,
                true,
                text if total[true, 0] else "-",
                ha="center",
                va="center",
                fontsize=9 if normalise else 8,
                color="white" if value > 0.7 * top else "black",
            )
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if small else {"rotation": 90}
    axes.set_xticks(range(len(names)), _literal(names), **turned)
    axes.set_yticks(
        range(len(names)),
        _literal(f"{name} ({int(of):,})" for name, of in zip(names, total[:, 0], strict=True)),
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (images)")
    axes.tick_params(labelsize=10 if small else 8)
    figure.suptitle(_literal([title])[0], fontsize=12)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, whole or not at all; equal figures give equal files.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
        Its folder is made.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    with replacing(path) as temporary:
        # The name and version of the software would change the file from one machine to the next.
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})
    return Path(path)


def _figure(width: float, height: float) -> Figure:
    # Not through pyplot: that keeps every figure alive and may want a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)  # inches
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _inches(names: Iterable[str]) -> float:
    """Return about how wide the longest name is."""
    return 0.08 * max(map(len, names))


def _literal(texts: Iterable[str]) -> list[str]:
    """Keep matplotlib from reading dollar signs in names as formulas."""
    return [text.replace("$", r"\$") for text in texts]


def _open_frame(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.88", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
