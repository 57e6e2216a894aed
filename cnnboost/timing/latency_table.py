"""Rows of the latency table: one for each path and batch size, accuracy and agreement beside the times."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cnnboost.timing import paths
from cnnboost.timing.clock import Timing, ratio
from cnnboost.timing.limits import Operations

COLUMNS = (
    "batch", "all_images", "path", "measured", "calls", "p50_ms", "p95_ms", "p99_ms", "mean_ms", "spread",
    "images_per_s", "ratio", "ratio_to", "mflop_per_image", "gflop_per_s", "share_of_product_rate",
    "busy_cores", "accuracy", "agreement", "agreement_with",
)  # fmt: skip
"""Of a row: times in milliseconds; `spread` the interquartile range over the median; `ratio` how many times
as long `ratio_to` takes, as the median over the rounds; `measured` where the path begins; `accuracy` and
`agreement` over all images, in [0, 1]."""


def latency_rows(
    timings: Mapping[int, Mapping[str, Timing]],
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    operations: Mapping[str, Operations],
    limit: float,
) -> list[dict[str, Any]]:
    """Say of every path at every batch size what is known of it."""
    found = {path: values.argmax(axis=1) for path, values in probabilities.items()}
    rows = []
    for n, of_paths in timings.items():
        for path, timing in of_paths.items():
            counted = operations.get(paths.family(path))
            middle = timing.quantile(50)
            rate = counted.flop * n / middle if counted else None
            faster_than, like = paths.latency_reference(path), paths.label_reference(path)
            values = (
                n,
                n == len(labels),
                path,
                "head only" if paths.is_head_only(path) else "image to probabilities",
                timing.calls,
                *(1e3 * timing.quantile(percent) for percent in (50, 95, 99)),
                1e3 * timing.mean,
                timing.spread,
                n / middle,
                ratio(of_paths[faster_than], timing),
                faster_than,
                counted.flop / 1e6 if counted else None,
                rate / 1e9 if rate else None,
                rate / limit if rate else None,
                timing.busy,
                float(np.mean(found[path] == labels)),
                float(np.mean(found[path] == found[like])),
                like,
            )
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as a CSV table, numbers with six figures."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})
    return text.getvalue()
