"""What heads gain over the softmax of many networks, against the gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnboost.escape import counted
from cnnboost.report.page import Block, Section, named_figures, table
from cnnboost.report.table import Table, columns_of, head_title, p_value, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAINS_FIGURE = "gains.png"
_MODES = {"plain": "o", "residual": "s", "blend": "^"}


def plot_gains(document: Mapping[str, Any]) -> Figure:
    """Draw the gain of trees over the softmax and over the best linear head against the network's gap."""
    from cnnboost.report.plots import COLOURS, new_figure, open_frame

    pairs = document["pairs"]
    title = f"What trees gain, {counted(len(pairs), 'trained network')}"
    figure = new_figure(9.2, 6.8, title)
    panels = figure.subplots(2, 2, sharex=True)
    wanted = (
        ("accuracy", 100, "accuracy gained, points"),
        ("accuracy_to_linear", 100, ""),
        ("log_loss", 1, "log-loss saved, nats"),
        ("log_loss_to_linear", 1, ""),
    )
    for axes, (what, factor, label) in zip(panels.flat, wanted, strict=True):
        for (mode, mark), colour in zip(_MODES.items(), COLOURS, strict=False):
            drawn = [
                (100 * pair["gap"], factor * pair["heads"][mode][what])
                for pair in pairs
                if pair["heads"].get(mode, {}).get(what) is not None
            ]
            if drawn:
                axes.plot(*zip(*drawn, strict=True), mark, color=colour, ms=5, alpha=0.85, label=mode)
        axes.axhline(0, color="0.4", linewidth=1, linestyle="--")
        open_frame(axes, grid="both")
        axes.set_ylabel(label)
    for axes, other in zip(panels[0], ("(calibrated) softmax", "best linear head"), strict=True):
        axes.set_title(f"against the {other}")
    for axes in panels[1]:
        axes.set_xlabel("training accuracy minus accuracy, points")
    handles, labels = panels[0][0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncol=len(labels))
    return figure


def verdicts_on_gains(document: Mapping[str, Any]) -> list[str]:
    """Say in words on how many networks trees and the other heads gain."""
    said = []
    for name, found in document["summary"].items():
        to_linear = {"accuracy_to_linear": "the best linear head"} if name in _MODES else {}
        for what, other in {"accuracy": "the softmax", **to_linear}.items():
            row = found.get(what)
            if row is None:
                continue
            text = (
                f"{head_title(name)} is more accurate than {other} on {row['better']} of "
                f"{row['pairs']} networks, less on {row['worse']} (sign test p = {row['p_value']:.2g}), by "
                f"{points(row['median'])} points in the median"
            )
            if row["correlation"] is not None:
                p = p_value(row["correlation_p_value"])
                text += f"; rank correlation with the gap {row['correlation']:.2f} (p {p})"
            said.append(text)
    return said


def gains_table(document: Mapping[str, Any]) -> Table:
    """Return a row for each network: its gap, and what trees and the best linear head gain."""
    kinds = {"network": "text", "epochs": "count", "accuracy": "percent", "gap, points": "points"}
    kinds |= {f"{mode}, points": "points" for mode in _MODES}
    kinds |= {"best linear head": "text", "its gain, points": "points"}
    rows: list[Any] = []
    for pair in sorted(document["pairs"], key=lambda pair: pair["gap"]):
        gains = {name: found["accuracy"] for name, found in pair["heads"].items()}
        linear = pair["best_linear"]
        rows.append(
            [
                pair["recipe"],
                pair["epochs"],
                pair["accuracy"],
                pair["gap"],
                *(gains.get(mode) for mode in _MODES),
                None if linear is None else head_title(linear),
                gains.get(linear),
            ]
        )
    return Table("What heads gain over the softmax, network by network", columns_of(kinds), rows)


def gains_section(document: Mapping[str, Any], figures: Mapping[str, bytes]) -> Section:
    """Return when a head betters its network's softmax."""
    text = (
        "Each network with the images that it is scored on is a pair: the same rows, views and folds "
        "for all heads. The gap is the softmax's accuracy on the images of Training minus that on the scored "
        "ones. Chance in the latter moves gap and gain together, so that they correlate a little of "
        "themselves. "
        "Several pairs may share their images, and those of one recipe its architecture, so that a p value "
        "says less than it seems to."
    )
    blocks: list[Block] = [
        ("items", verdicts_on_gains(document)),
        ("faint", text),
        table(gains_table(document)),
        ("figures", named_figures(figures, [{"file": GAINS_FIGURE, "title": "Gain against gap"}])),
    ]
    return Section("gains", "Gains", "When a head pays", blocks)
