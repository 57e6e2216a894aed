"""What every figure shares: colours, an empty sheet, names that are no formulas, and how one is written."""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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

log = logging.getLogger("cnnboost")


class Style(NamedTuple):
    """How one classifier looks in every figure that puts it beside others."""

    colour: str
    face: str
    line: str
    mark: str


PAIR = (
    Style(COLOURS[0], "white", "--", "o"),
    Style(COLOURS[5], COLOURS[5], "-", "s"),
    Style(COLOURS[2], COLOURS[2], ":", "^"),
    Style(COLOURS[3], "white", "-.", "D"),
)
"""Classifiers in the order in which they are drawn: line and mark tell them apart where colour does not."""


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


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    # Not through pyplot: that keeps every figure alive and may want a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)  # inches
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def inches(names: Iterable[str]) -> float:
    """Return about how wide the longest name is."""
    return 0.08 * max(map(len, names))


def literal(texts: Iterable[str]) -> list[str]:
    """Keep matplotlib from reading dollar signs in names as formulas, and control characters as anything."""
    return [visible(text, keep="\n").replace("$", r"\$") for text in texts]


def open_frame(axes: Axes, grid: str) -> None:
    """Leave the frame open above and on the right, and draw a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.88", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
