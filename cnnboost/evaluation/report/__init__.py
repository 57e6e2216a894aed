"""The page of one recipe: what was found, section by section, and what a reader has to know."""

from cnnboost.evaluation.report.figures import SHOW_IMAGES
from cnnboost.evaluation.report.findings import Findings, OtherImages
from cnnboost.evaluation.report.recipe_page import report_page
from cnnboost.evaluation.report.warnings import warnings_of

__all__ = ["SHOW_IMAGES", "Findings", "OtherImages", "report_page", "warnings_of"]
