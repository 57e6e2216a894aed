"""Warnings: what a reader of the scores has to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnboost.metrics.collapse import FOREIGN_CAUSES
from cnnboost.report.head_names import classifiers
from cnnboost.report.page import percent
from cnnboost.report.sections.findings import Findings, facts_of

_STALE = 0.005  # accuracies that differ by more are not of the same model


def warnings_of(findings: Findings) -> list[str]:
    """Say what a reader of the scores has to know."""
    metrics, audit, latency, overfit = findings.metrics, findings.audit, findings.latency, findings.overfit
    given = metrics.get("given")
    found = [*given["notes"]] if given else []
    for key, title, row in classifiers(metrics):
        name = f"The head {title}" if key else "The CNN"
        if collapsed := row.get("collapsed"):
            told = f"{name} calls {percent(collapsed['share'])} of the images {collapsed['class']}: "
            if given and row is metrics["cnn"]:
                found.append(f"{told}look at {FOREIGN_CAUSES}.")
            else:
                found.append(f"{told}it has learnt little more than the share of the classes.")
    with facts_of("overfit.json"):
        if overfit is not None and not overfit["learnt"]:
            found.append(
                f"The network could not learn {overfit['images']:,} images by heart: its settings are at "
                "fault, and scores say little before that is mended."
            )
    if left_out := metrics["images_left_out"]:
        found.append(f"{left_out:,} images could not be read and were left out.")
    if audit is not None and audit["n_images"] != sum(metrics["images"].values()):
        found.append(
            f"The audit is of {audit['n_images']:,} images and the scores of a source with "
            f"{sum(metrics['images'].values()):,}: run cnnboost inspect again."
        )
    if audit is not None and (across := audit["duplicates"]["exact"]["groups_across_splits"]):
        found.append(
            f"{across:,} groups of identical images stand in more than one split: some of the images that "
            "were scored were trained on."
        )
    if latency is not None and _of_another_model(metrics, latency):
        found.append(
            "The latencies were measured with another model than the one that was scored: run cnnboost "
            "bench again."
        )
    return found


def _of_another_model(metrics: Mapping[str, Any], latency: Mapping[str, Any]) -> bool:
    if latency["split"] != metrics["split"]:
        return False
    if metrics["cnn"] is None:
        return False
    own = metrics["cnn"]["scores"]["accuracy"]["value"]
    timed = [row["accuracy"] for row in latency["rows"] if row["path"] == "cnn/predict"]
    return any(abs(accuracy - own) > _STALE for accuracy in timed)
