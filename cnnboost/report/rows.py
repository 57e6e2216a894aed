"""What trees and linear heads gain, by the number of images that they are fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cnnboost.escape import counted
from cnnboost.report.page import Block, Section, named_figures, table
from cnnboost.report.table import Cell, Group, Table, columns_of, head_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS_FIGURE = "rows.png"


def plot_rows(compared: Mapping[str, Any]) -> Figure:
    """Draw the gain of each head over the softmax against the images for a head, on a logarithmic axis."""
    from cnnboost.report.plots import COLOURS, new_figure, open_frame

    points, modes = compared["curve"]["points"], compared["runs"][0]["modes"]
    sizes, draws = [point["n"] for point in points], len(compared["runs"])
    title = f"Gain by images for a head, {compared['split']}, {compared['n']:,} images"
    figure = new_figure(9.2, 4.4, title)
    left, right = figure.subplots(1, 2)
    heads = list(points[0]["heads"])
    for place, head in enumerate(heads):
        rows = [point["heads"][head] for point in points]
        style = {"color": COLOURS[place % len(COLOURS)], "marker": "o" if head in modes else "s", "ms": 4}
        style |= {"linestyle": "-" if head in modes else "--", "label": head_title(head)}
        gain = [100 * row["difference"] for row in rows]
        edges = [
            [abs(100 * _edge(row, edge) - middle) for row, middle in zip(rows, gain, strict=True)]
            for edge in (0, 1)
        ]
        # Side by side, so that no bar hides another.
        shifted = [n * 1.03 ** (place - (len(heads) - 1) / 2) for n in sizes]
        left.errorbar(shifted, gain, yerr=edges, capsize=2, **style)
        right.plot(sizes, [-row["log_loss_difference"] for row in rows], **style)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.set_xticks([], minor=True)
        axes.axhline(0, color="0.4", linewidth=1, linestyle="--")
        axes.set_xlabel("images for each head")
        open_frame(axes, grid="both")
    shown = f"mean of {draws} draws" if draws > 1 else "1 draw"
    left.set_ylabel("accuracy gained, points")
    left.set_title(
        f"against the softmax\n(bars: {compared['confidence']:.0%} interval, {shown})", fontsize=10
    )
    right.set_ylabel("log-loss saved, nats")
    right.set_title("against the calibrated softmax", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=min(4, len(labels)))
    return figure


def _edge(row: Mapping[str, Any], edge: int) -> float:
    """Return the lower (0) or upper (1) end of the interval of a difference, the mean over the draws."""
    return fmean(draw["against_softmax"]["difference_interval"][edge] for draw in row["draws"])


def rows_table(compared: Mapping[str, Any], points: Sequence[Mapping[str, Any]] | None = None) -> Table:
    """Return what each head gains, fitted on so many images, at all points or some: means over the draws."""
    linear = compared["best_linear"]
    kinds = {"head": "text", "accuracy": "percent2", "difference, points": "points2", "median p": "p"}
    if linear is not None:
        kinds |= {f"to {head_title(linear)}, points": "points2", "its median p": "p"}
    kinds |= {"log-loss": "number", "change": "number"}
    rows: list[Any] = []
    for point in compared["curve"]["points"] if points is None else points:
        rows.append(Group(Cell(f"{point['n']:,} images for each head")))
        for head, row in point["heads"].items():
            cells = [head_title(head), row["accuracy"], *_difference(row)]
            if linear is not None:
                cells += _difference(row.get("against_linear"))
            rows.append([*cells, row["log_loss"], row["log_loss_difference"]])
    return Table("Heads by the images that they are fitted on", columns_of(kinds), rows)


def _difference(row: Mapping[str, Any] | None) -> list[Any]:
    if row is None:
        return [None, None]
    spread = (row["lowest_difference"], row["highest_difference"])
    return [{"value": row["difference"], "interval": spread}, row["median_p_value"]]


def verdict_on_rows(compared: Mapping[str, Any]) -> list[str]:
    """Say what trees gain over the softmax and the best linear head, from the fewest images to the most."""
    points, linear = compared["curve"]["points"], compared["best_linear"]
    first, last = points[0], points[-1]
    said = []
    for head in compared["runs"][0]["modes"]:
        for other, key in (("the softmax", None), (linear and head_title(linear), "against_linear")):
            ends = [point["heads"][head] for point in (first, last)]
            rows = ends if key is None else [end.get(key) for end in ends]
            if other is not None and all(row is not None for row in rows):
                gains = " to ".join(f"{100 * row['difference']:+.2f}" for row in rows)
                said.append(
                    f"{head_title(head)} against {other}, from {first['n']:,} to {last['n']:,} images for "
                    f"each head: {gains} points (p = {rows[-1]['median_p_value']:.2g} at the end)"
                )
    return said


def rows_section(compared: Mapping[str, Any], figures: Mapping[str, bytes]) -> Section:
    """Return how the gain of heads grows with the images that they are fitted on."""
    text = (
        "The same comparison with heads that are fitted on fewer images, drawn class by class, "
        f"{counted(len(compared['runs']), 'draw')}; each image counts once, however many views of it there "
        "are. The last row is of all images that there are for a head. The scored images are the same "
        "throughout."
    )
    left_out = compared["curve"]["left_out"]
    if left_out:
        text += f" Left out, as there are not as many: {', '.join(f'{n:,}' for n in left_out)}."
    named = [{"file": ROWS_FIGURE, "title": "Gain against the images for a head"}]
    blocks: list[Block] = [
        ("items", verdict_on_rows(compared)),
        ("faint", text),
        table(rows_table(compared)),
        ("figures", named_figures(figures, named)),
    ]
    return Section("rows", "Rows", "Gain by the images for a head", blocks)
