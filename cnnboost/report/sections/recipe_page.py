"""The page of one recipe: the metadata of every section, in one template."""

from __future__ import annotations

from cnnboost.report.page import data_uri, paragraphs, percent, render
from cnnboost.report.published import beside_published
from cnnboost.report.run_metadata import audit_rows, count_table, leaves, run_rows
from cnnboost.report.sections.figures import known_figures
from cnnboost.report.sections.findings import Findings
from cnnboost.report.sections.latency import latency_section
from cnnboost.report.sections.modes import FIGURE, modes_section
from cnnboost.report.sections.other_images import other_images
from cnnboost.report.sections.overfit import overfit_section
from cnnboost.report.sections.repeats import repeats_section
from cnnboost.report.sections.scores import scored, summary
from cnnboost.report.sections.searches import drawn_by_searches, searches
from cnnboost.report.sections.thresholds import thresholds
from cnnboost.report.sections.warnings import warnings_of


def report_page(findings: Findings) -> str:
    """Write the page of one recipe."""
    metrics = findings.metrics
    beside = beside_published(metrics)
    published = [row for row in beside if row.published is not None]
    elsewhere = {*drawn_by_searches(findings), *([FIGURE] if findings.compared else [])}
    figures = known_figures(findings.figures, metrics, elsewhere=elsewhere)
    of_scores = scored(metrics, beside)
    moved = thresholds(metrics)
    of_thresholds = figures.pop("Thresholds", []) if moved else []
    of_latency = figures.pop("Latency", [])
    return render(
        "report.html.j2",
        metrics=metrics,
        title=metrics["title"] or metrics["recipe"],
        summary=summary(metrics),
        warnings=warnings_of(findings),
        level=percent(of_scores["scored"][0]["scores"]["confidence"]).replace(".0%", "%"),
        run_rows=run_rows(metrics),
        recipe_rows=leaves(metrics["recipe_facts"]),
        audit_rows=audit_rows(findings.audit),
        **count_table(findings.audit),
        **of_scores,
        published=published,
        name_scores=any(row.score_name != "accuracy" for row in published),
        outside=any(row.outside for row in published),
        notes=paragraphs(findings.notes),
        others=other_images(findings.others, metrics),
        thresholds=moved,
        threshold_figures=of_thresholds,
        overfit=overfit_section(findings.overfit),
        searches=searches(findings),
        repeats=repeats_section(findings.repeats),
        modes=modes_section(findings.compared, findings.figures),
        figures=figures,
        latency=latency_section(findings.latency, of_latency),
        pictures=[
            {
                "uri": data_uri(mistake.png, ".png"),
                "place": mistake.place,
                "truth": mistake.truth,
                "said": mistake.said,
                "probability": mistake.probability,
            }
            for mistake in findings.mistakes
        ],
        why_no_pictures=findings.why_no_pictures,
    )
