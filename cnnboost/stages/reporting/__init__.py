"""scores, audit, latency, figures -> one page that a person reads. Nothing is trained or measured here."""

from cnnboost.stages.reporting.overview import report_all
from cnnboost.stages.reporting.pictures import why_no_pictures
from cnnboost.stages.reporting.recipe_report import report
from cnnboost.stages.reporting.reported import Reported

__all__ = ["Reported", "report", "report_all", "why_no_pictures"]
