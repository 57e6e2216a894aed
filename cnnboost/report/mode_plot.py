"""Figure of a comparison: what each mode of a hybrid adds to its softmax, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnboost.errors import DataError
from cnnboost.report.drawing import COLOURS, literal, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
