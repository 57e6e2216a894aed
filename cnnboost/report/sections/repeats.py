"""Repeated runs: how much of a score is the seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnboost.report.head_names import head_name


def repeats_section(repeats: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Say how far scores of repeated runs lie apart."""
    if repeats is None:
        return None
    seeds = ", ".join(str(run["seed"]) for run in repeats["runs"])
    rows = [{"name": "CNN softmax", **repeats["cnn"]}]
    rows += [{"name": head_name(head), **head} for head in repeats["heads"]]
    return {
        "text": (
            f"{repeats['repeats']} runs of the recipe, with seeds {seeds}, scored on {repeats['split']}. "
            "Standard deviation and variance are of a sample."
        ),
        "rows": rows,
    }
