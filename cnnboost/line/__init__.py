"""The line, walked for a recipe: one function per arrow; what is up to date is skipped."""

from cnnboost.line.boosting import Head, fit_boost
from cnnboost.line.bundle_scores import evaluate_bundle
from cnnboost.line.comparison import Compared, compare_modes
from cnnboost.line.evaluation import Evaluated, evaluate
from cnnboost.line.export import Exported, export
from cnnboost.line.extraction import Extracted, extract, layers_of
from cnnboost.line.hybrids import Hybrid, fit_hybrid
from cnnboost.line.inspection import Inspected, inspect
from cnnboost.line.job import Job
from cnnboost.line.other_images import OtherImages, find_other_images
from cnnboost.line.other_scores import evaluate_other, evaluate_source
from cnnboost.line.overfit import Overfitted, overfit
from cnnboost.line.recipe_for import recipe_for
from cnnboost.line.repeats import Repeated, repeat
from cnnboost.line.smoke import smoke
from cnnboost.line.training import Trained, train

__all__ = [
    "Compared",
    "Evaluated",
    "Exported",
    "Extracted",
    "Head",
    "Hybrid",
    "Inspected",
    "Job",
    "OtherImages",
    "Overfitted",
    "Repeated",
    "Trained",
    "compare_modes",
    "evaluate",
    "evaluate_bundle",
    "evaluate_other",
    "evaluate_source",
    "export",
    "extract",
    "find_other_images",
    "fit_boost",
    "fit_hybrid",
    "inspect",
    "layers_of",
    "overfit",
    "recipe_for",
    "repeat",
    "smoke",
    "train",
]
