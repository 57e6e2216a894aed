"""The same classifiers on other images than those that the recipe is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnboost.report.head_names import classifiers
from cnnboost.report.page import percent
from cnnboost.report.sections.figures import Figure, known_figures
from cnnboost.report.sections.findings import OtherImages, facts_of


def other_images(others: Sequence[OtherImages], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Say what each classifier is worth on other images."""
    own = {name: of["scores"] for _, name, of in classifiers(metrics)}
    found = []
    for other in others:
        with facts_of(f"other/{other.name}/metrics.json"):
            found.append(_source(other, own))
    return found


def _source(other: OtherImages, own: Mapping[str, Any]) -> dict[str, Any]:
    metrics = other.metrics
    found = classifiers(metrics)
    figures: list[Figure] = [
        figure for group in known_figures(other.figures, metrics).values() for figure in group
    ]
    return {
        "name": metrics.get("source_name") or other.name,
        "split": metrics["split"],
        "n": found[0][2]["scores"]["n"],
        "rows": [
            {
                "name": name,
                "n": of["scores"]["n"],
                "scores": of["scores"],
                "own": own[name]["accuracy"]["value"] if name in own else None,
            }
            for _, name, of in found
        ],
        "notes": [
            f"{name} calls {percent(of['collapsed']['share'])} of them {of['collapsed']['class']}."
            for _, name, of in found
            if of.get("collapsed")
        ],
        "figures": figures,
    }
