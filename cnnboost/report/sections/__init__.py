"""The page of one recipe: what was found, section by section, and what a reader has to know."""

from cnnboost.report.sections.figures import SHOW_IMAGES
from cnnboost.report.sections.findings import Findings, OtherImages
from cnnboost.report.sections.recipe_page import report_page
from cnnboost.report.sections.warnings import warnings_of

__all__ = ["SHOW_IMAGES", "Findings", "OtherImages", "report_page", "warnings_of"]
