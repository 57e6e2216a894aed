"""Thresholds: what moving the line between two classes buys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnboost.report.head_names import classifiers

_COLUMNS = {
    "accuracy": "accuracy",
    "average_class_accuracy": "average class accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}


def thresholds(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say what the scores are at other thresholds than the one that predicts."""
    found = [(name, of["thresholds"]) for _, name, of in classifiers(metrics) if of.get("thresholds")]
    if not found:
        return None
    return {
        "positive": found[0][1]["positive"],
        "columns": list(_COLUMNS.values()),
        "rows": [
            {
                "name": name,
                "average_precision": _estimate(of["average_precision"]),
                "threshold": of["best"]["threshold"],
                "best": [_estimate(of["best"][key]) for key in ("f1", "precision", "recall")],
                "sweep": [
                    (row["threshold"], [_estimate(row[key]) for key in _COLUMNS]) for row in of["sweep"]
                ],
            }
            for name, of in found
        ],
    }


def _estimate(found: Any) -> dict[str, Any]:
    """Return a score with its interval, also one that is written without."""
    return dict(found) if isinstance(found, Mapping) else {"value": found, "interval": None}
