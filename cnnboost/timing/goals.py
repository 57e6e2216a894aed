"""What the figures should reach, and whether they do.

The goals are stated for one system: the Oslo CNN cut at `fc1`, 20 rounds of trees, on two cores. On another
recipe or machine they are a yardstick, no promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnboost.timing.clock import Timing, ratio

STATED_FOR = "the Oslo CNN cut at fc1, 20 rounds, 2 cores"
TENSORFLOW, PROGRAM = "import tensorflow", "cnnboost predict"
PUBLISHED, OURS, PLAIN, OUR_CNN = "hybrid/predict", "hybrid/onnx", "hybrid/plain-onnx", "cnn/onnx"


def goal_rows(
    timings: Mapping[int, Mapping[str, Timing]],
    share: float,
    starts: Mapping[str, Timing],
    *,
    everything: int,
) -> list[dict[str, Any]]:
    """Compare what was measured with the goals."""
    rows = []
    for n, slow, fast, goal in (
        (1, PUBLISHED, OURS, 300.0),
        (1, OUR_CNN, OURS, 0.8),
        (64, PUBLISHED, OURS, 5.0),
    ):
        if n in timings:
            value = ratio(timings[n][slow], timings[n][fast])
            rows.append(_at_least(f"batch {n}: {slow} over {fast}", value, goal))
    if everything in timings:
        rows.append(_at_least(f"all images: {OURS} as a share of the matrix-product rate", share, 0.75))
    for n, paths in timings.items():
        size = "all images" if n == everything else f"batch {n}"
        rows.append(_at_least(f"{size}: {PLAIN} over {OURS}", ratio(paths[PLAIN], paths[OURS]), 0.95))
    value = ratio(starts[PROGRAM], starts[TENSORFLOW])
    what = f"fresh process: {PROGRAM} of one image over {TENSORFLOW}"
    rows.append({"what": what, "value": value, "goal": "at most 1/6", "met": value <= 1 / 6})
    return rows


def _at_least(what: str, value: float, goal: float) -> dict[str, Any]:
    return {"what": what, "value": value, "goal": f"at least {goal:g}", "met": value >= goal}
