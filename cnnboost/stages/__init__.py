"""The line, walked for a recipe: one function per arrow; what is up to date is skipped."""

from cnnboost.stages.boosting import Head, fit_boost
from cnnboost.stages.bundle_scores import evaluate_bundle
from cnnboost.stages.comparison import compare_modes
from cnnboost.stages.evaluation import evaluate
from cnnboost.stages.export import Exported, export
from cnnboost.stages.extraction import Extracted, extract, layers_of
from cnnboost.stages.hybrids import Hybrid, fit_hybrid
from cnnboost.stages.inspection import inspect
from cnnboost.stages.job import Job, smoke
from cnnboost.stages.other_images import OtherImages, evaluate_source, find_other_images
from cnnboost.stages.outcome import Outcome
from cnnboost.stages.recipe_for import recipe_for
from cnnboost.stages.repeats import repeat
from cnnboost.stages.sanity_check import overfit
from cnnboost.stages.training import Trained, train

__all__ = [
    "Exported",
    "Extracted",
    "Head",
    "Hybrid",
    "Job",
    "OtherImages",
    "Outcome",
    "Trained",
    "compare_modes",
    "evaluate",
    "evaluate_bundle",
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
