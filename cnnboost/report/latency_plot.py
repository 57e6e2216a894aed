"""The figure of a benchmark: latency against batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnboost.errors import DataError
from cnnboost.report.drawing import COLOURS, literal, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A colour for what computes, a mark for what is computed: two paths that lie on each other stay apart.
_RUNTIMES = {"predict": 5, "compiled": 1, "onnx": 0, "dmatrix": 3, "inplace": 2}
_FAMILIES = {"cnn": ("o", "white", 1.2), "hybrid": ("s", None, 1.8), "head": ("^", None, 1.2)}


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
