"""The page of one recipe, and what a reader of its scores has to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnnboost.config.published import Printed
from cnnboost.escape import counted
from cnnboost.metrics.scores import FOREIGN_CAUSES
from cnnboost.report.compared import MODES_FIGURE, ROWS_FIGURE, modes_section, rows_section
from cnnboost.report.page import Section, contents_of, data_uri, known_figures, render
from cnnboost.report.printed import printed_section
from cnnboost.report.published import beside_published, published_section
from cnnboost.report.scores import (
    classes_section,
    classifiers,
    heads_section,
    scores_section,
    summary,
    thresholds_section,
)
from cnnboost.report.searches import drawn_by_searches, searches_section
from cnnboost.report.sections import (
    OtherImages,
    confusion_titles,
    figures_section,
    latency_section,
    other_images_section,
    overfit_section,
    repeats_section,
    run_section,
)
from cnnboost.report.table import percent

_STALE = 0.005  # accuracies that differ by more are not of the same model


@dataclass(frozen=True)
class Mistake:
    """One image that was called something else than its label says, as a picture."""

    png: bytes
    place: str
    truth: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Findings:
    """Everything that is known about one recipe, as the commands wrote it."""

    metrics: Mapping[str, Any]
    audit: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    repeats: Mapping[str, Any] | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)
    notes: str = ""
    mistakes: Sequence[Mistake] = ()
    why_no_pictures: str = "none were made"
    overfit: Mapping[str, Any] | None = None
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: Sequence[OtherImages] = ()
    compared: Mapping[str, Any] | None = None
    printed: Sequence[Printed] = ()


def report_page(findings: Findings) -> str:
    """Write the page of one recipe."""
    metrics = findings.metrics
    with contents_of("metrics.json"):
        title = metrics["title"] or metrics["recipe"]
        sections = _sections(findings)
        version = metrics["versions"]["cnnboost"]
        header = [("text", summary(metrics)), *(("warn", warning) for warning in warnings_of(findings))]
        above = f"cnnboost report, recipe {metrics['recipe']}"
    footer = (
        f"Written by cnnboost {version} from the files beside this page. It needs no script and no network."
    )
    return render(
        "page.html.j2", title=title, above=above, header=header, first=[], sections=sections, footer=footer
    )


def _sections(findings: Findings) -> list[Section]:
    metrics = findings.metrics
    beside = beside_published(metrics)
    level = f"{100 * classifiers(metrics)[0][2]['scores']['confidence']:.4g}%"
    elsewhere = {
        *drawn_by_searches(findings.searches),
        *([MODES_FIGURE, ROWS_FIGURE] if findings.compared else []),
    }
    groups = known_figures(findings.figures, confusion_titles(metrics), elsewhere)
    of_latency = groups.pop("Latency", [])
    with_curve = findings.compared if findings.compared and "curve" in findings.compared else None
    thresholds = thresholds_section(metrics, groups.get("Thresholds", []))
    if thresholds is not None:
        groups.pop("Thresholds", None)
    sections = [
        run_section(metrics, findings.audit),
        _from_file("overfit.json", overfit_section, findings.overfit),
        scores_section(metrics, level),
        heads_section(metrics),
        _from_file("compare.json", modes_section, findings.compared, findings.figures),
        _from_file("compare.json", rows_section, with_curve, findings.figures),
        published_section(metrics, beside, level, findings.notes),
        printed_section(findings.printed, vars(findings)),
        classes_section(metrics),
        thresholds,
        other_images_section(findings.others, metrics, level),
        _from_file("repeats.json", repeats_section, findings.repeats),
        figures_section(groups),
        searches_section(findings.searches, metrics, findings.figures),
        _from_file("latency.json", latency_section, findings.latency, of_latency),
        _mistakes_section(findings),
    ]
    return [section for section in sections if section is not None]


def _from_file(
    file: str, section: Callable[..., Section], document: Mapping[str, Any] | None, *figures: Any
) -> Section | None:
    """Return the section of a document, if there is one; errors name the file."""
    if document is None:
        return None
    with contents_of(file):
        return section(document, *figures)


def _mistakes_section(findings: Findings) -> Section:
    heading = "Most confident mistakes"
    if not findings.mistakes:
        return Section(
            "mistakes", "Mistakes", heading, [("faint", f"No pictures: {findings.why_no_pictures}.")]
        )
    text = (
        f"The images of {findings.metrics['split']} on which the CNN was surest of a wrong class. Some of "
        "the labels may be what is wrong."
    )
    pictures = [(one, data_uri(one.png, ".png"), f"{one.probability:.2%}") for one in findings.mistakes]
    return Section("mistakes", "Mistakes", heading, [("faint", text), ("mistakes", pictures)])


def warnings_of(findings: Findings) -> list[str]:
    """Return what a reader of the scores has to know."""
    metrics, audit, latency, overfit = findings.metrics, findings.audit, findings.latency, findings.overfit
    given = metrics.get("given")
    warnings = [*given["notes"]] if given else []
    for key, title, row in classifiers(metrics):
        if collapsed := row.get("collapsed"):
            name = f"The head {title}" if key else "The CNN"
            text = f"{name} calls {percent(collapsed['share'])} of the images {collapsed['class']}: "
            if given and row is metrics["cnn"]:
                warnings.append(f"{text}look at {FOREIGN_CAUSES}.")
            else:
                warnings.append(f"{text}it has learnt little more than the share of the classes.")
    with contents_of("overfit.json"):
        if overfit is not None and not overfit["learnt"]:
            warnings.append(
                f"The network could not learn {overfit['images']:,} images by heart: its settings are "
                "wrong, and scores mean little until that is fixed."
            )
    if left_out := metrics["images_left_out"]:
        images = counted(left_out, "image could not be read and was", "images could not be read and were")
        warnings.append(f"{images} left out.")
    images = sum(metrics["images"].values())
    if audit is not None:
        if audit["n_images"] != images:
            warnings.append(
                f"The audit is of {audit['n_images']:,} images and the scores of a source with {images:,}: "
                "run cnnboost inspect again."
            )
        if across := audit["duplicates"]["exact"]["groups_across_splits"]:
            warnings.append(
                f"{across:,} groups of identical images are in more than one split: some of the images "
                "that were scored were trained on."
            )
    if latency is not None and _of_another_model(metrics, latency):
        warnings.append(
            "The latencies were measured with another model than the one that was scored: run cnnboost bench "
            "again."
        )
    return warnings


def _of_another_model(metrics: Mapping[str, Any], latency: Mapping[str, Any]) -> bool:
    if latency["split"] != metrics["split"] or metrics["cnn"] is None:
        return False
    own = metrics["cnn"]["scores"]["accuracy"]["value"]
    timed = [row["accuracy"] for row in latency["rows"] if row["path"] == "cnn/predict"]
    return any(abs(accuracy - own) > _STALE for accuracy in timed)
