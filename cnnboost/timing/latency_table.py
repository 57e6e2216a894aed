"""Rows of the latency table, one for each path and batch size; and the goals that they should reach.

The goals are stated for one system: the Oslo CNN cut at `fc1`, 20 rounds of trees, on two cores. For other
recipes and machines they are a yardstick.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cnnboost.timing import paths
from cnnboost.timing.clock import Timing, ratio
from cnnboost.timing.limits import Operations

GOALS_STATED_FOR = "the Oslo CNN cut at fc1, 20 rounds, 2 cores"
TENSORFLOW, PROGRAM = "import tensorflow", "cnnboost predict"
PUBLISHED, OURS, PLAIN, OUR_CNN = "hybrid/predict", "hybrid/onnx", "hybrid/plain-onnx", "cnn/onnx"

#: By batch size, then by path.
Timings = Mapping[int, Mapping[str, Timing]]


def latency_rows(
    timings: Timings,
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    operations: Mapping[str, Operations],
    limit: float,
) -> list[dict[str, Any]]:
    """Return a row for every path at every batch size; `limit` is a rate in operations a second.

    Times are in milliseconds; `spread` is the interquartile range over the median; `ratio` how many times as
    long `ratio_to` takes, as the median over the rounds; `measured` where the path begins; `accuracy` and
    `agreement` are over all images, in [0, 1].
    """
    predicted = {path: values.argmax(axis=1) for path, values in probabilities.items()}
    rows = []
    for n, by_path in timings.items():
        for path, timing in by_path.items():
            counted = operations.get(path.split("/")[0])
            median = timing.quantile(50)
            rate = counted.flop * n / median if counted else None
            slow, reference = paths.latency_reference(path), paths.label_reference(path)
            quantiles = {f"p{percent}_ms": 1e3 * timing.quantile(percent) for percent in (50, 95, 99)}
            rows.append(
                {
                    "batch": n,
                    "all_images": n == len(labels),
                    "path": path,
                    "measured": "head only" if paths.is_head_only(path) else "image to probabilities",
                    "calls": len(timing.seconds),
                    **quantiles,
                    "mean_ms": 1e3 * float(np.mean(timing.seconds)),
                    "spread": timing.spread,
                    "images_per_s": n / median,
                    "ratio": ratio(by_path[slow], timing),
                    "ratio_to": slow,
                    "mflop_per_image": counted.flop / 1e6 if counted else None,
                    "gflop_per_s": rate / 1e9 if rate else None,
                    "share_of_product_rate": rate / limit if rate else None,
                    "busy_cores": timing.busy,
                    "accuracy": float(np.mean(predicted[path] == labels)),
                    "agreement": float(np.mean(predicted[path] == predicted[reference])),
                    "agreement_with": reference,
                }
            )
    return rows


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as a CSV table, numbers with six figures."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})
    return text.getvalue()


def goal_rows(
    timings: Timings, rows: Iterable[Mapping[str, Any]], starts: Mapping[str, Timing]
) -> list[dict[str, Any]]:
    """Compare what was measured with the goals."""
    values = []
    for n, slow, fast, goal in (
        (1, PUBLISHED, OURS, 300.0),
        (1, OUR_CNN, OURS, 0.8),
        (64, PUBLISHED, OURS, 5.0),
    ):
        if n in timings:
            values.append((f"batch {n}: {slow} over {fast}", ratio(timings[n][slow], timings[n][fast]), goal))
    ours = [row for row in rows if row["path"] == OURS]
    for row in ours:
        if row["all_images"]:
            what = f"all images: {OURS} as a share of the matrix-product rate"
            values.append((what, row["share_of_product_rate"], 0.75))
    for row in ours:
        by_path = timings[row["batch"]]
        size = "all images" if row["all_images"] else f"batch {row['batch']}"
        values.append((f"{size}: {PLAIN} over {OURS}", ratio(by_path[PLAIN], by_path[OURS]), 0.95))
    goals = [
        {"what": what, "value": value, "goal": f"at least {goal:g}", "met": value >= goal}
        for what, value, goal in values
    ]
    value = ratio(starts[PROGRAM], starts[TENSORFLOW])
    what = f"fresh process: {PROGRAM} of one image over {TENSORFLOW}"
    return [*goals, {"what": what, "value": value, "goal": "at most 1/6", "met": value <= 1 / 6}]
