"""What predictions are worth: scores with intervals, comparisons with exact tests, areas under curves.

The names below take labels of any kind and plain arrays, whoever made the predictions.
"""

from cnnboost.metrics.comparison import Comparison, mcnemar
from cnnboost.metrics.intervals import Estimate, bootstrap_interval, wilson_interval
from cnnboost.metrics.predictions import calibration_error, compare_predictions, roc_auc, score_predictions
from cnnboost.metrics.scores import ClassScores, Scores

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
