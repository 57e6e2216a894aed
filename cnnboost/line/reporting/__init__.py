"""scores, audit, latency, figures -> one page that a person reads. Nothing is trained or measured here."""

from cnnboost.line.reporting.overview import report_all
from cnnboost.line.reporting.pictures import why_no_pictures
from cnnboost.line.reporting.recipe_report import report
from cnnboost.line.reporting.reported import Reported

__all__ = ["Reported", "report", "report_all", "why_no_pictures"]
