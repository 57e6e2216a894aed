"""What predictions are worth: scores with intervals, comparisons with exact tests, figures.

The names below take labels of any kind and plain arrays, whoever made the predictions; they are loaded when
they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnboost.metrics.comparison import Comparison, mcnemar
    from cnnboost.metrics.intervals import wilson_interval
    from cnnboost.metrics.predictions import (
        bootstrap_interval,
        calibration_error,
        compare_predictions,
        roc_auc,
        score_predictions,
    )
    from cnnboost.metrics.scores import ClassScores, Estimate, Scores

_PLACES = {
    "ClassScores": "scores",
    "Comparison": "comparison",
    "Estimate": "scores",
    "Scores": "scores",
    "bootstrap_interval": "predictions",
    "calibration_error": "predictions",
    "compare_predictions": "predictions",
    "mcnemar": "comparison",
    "roc_auc": "predictions",
    "score_predictions": "predictions",
    "wilson_interval": "intervals",
}

__all__ = [
    "ClassScores",
    "Comparison",
    "Estimate",
    "Scores",
    "bootstrap_interval",
    "calibration_error",
    "compare_predictions",
    "mcnemar",
    "roc_auc",
    "score_predictions",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
