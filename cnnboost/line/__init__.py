"""The line, walked for a recipe: one function per arrow; what is up to date is skipped."""

from cnnboost.line.boosting import Head, fit_boost
from cnnboost.line.evaluation import Evaluated, evaluate
from cnnboost.line.export import Exported, export
from cnnboost.line.extraction import Extracted, extract, layers_of
from cnnboost.line.inspection import Inspected, inspect
from cnnboost.line.job import Job
from cnnboost.line.smoke import smoke
from cnnboost.line.training import Trained, train

__all__ = [
    "Evaluated",
    "Exported",
    "Extracted",
    "Head",
    "Inspected",
    "Job",
    "Trained",
    "evaluate",
    "export",
    "extract",
    "fit_boost",
    "inspect",
    "layers_of",
    "smoke",
    "train",
]
