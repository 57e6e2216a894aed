"""Scores: the sentence at the top, the table of all classifiers, and the tables class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnboost.evaluation.head_names import head_name
from cnnboost.evaluation.page import percent, span
from cnnboost.evaluation.published import Beside


def summary(metrics: Mapping[str, Any]) -> str:
    """Say in a sentence or two what was found.

    Parameters
    ----------
    metrics : mapping
        What `metrics.json` holds.

    Returns
    -------
    str
    """
    scores = metrics["cnn"]["scores"]
    own = scores["accuracy"]
    text = (
        f"On {scores['n']:,} images of {metrics['split']} the CNN is right on {percent(own['value'])} "
        f"({span(own['interval'])})"
    )
    heads = metrics["heads"]
    if not heads:
        return f"{text}."
    best = max(heads, key=lambda head: head["scores"]["accuracy"]["value"])
    accuracy = best["scores"]["accuracy"]
    which = f"the highest of {len(heads)} boosted heads" if len(heads) > 1 else "the boosted head"
    return (
        f"{text}; {which}, at {best['layer']}, on {percent(accuracy['value'])} "
        f"({span(accuracy['interval'])}). {_sentence(best['against_cnn']['verdict'])}"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def scored(metrics: Mapping[str, Any], beside: Sequence[Beside]) -> dict[str, Any]:
    """Return the rows of the score tables, with where the marks stand that show each accuracy.

    Parameters
    ----------
    metrics : mapping
        What `metrics.json` holds.
    beside : sequence of Beside
        Published numbers.

    Returns
    -------
    dict
        `scored`: one row for each classifier, CNN first; `bars`: what their scale spans; `with_published`
        and `with_auc`: whether any row has one.
    """
    published = {row.name: row.published for row in beside if row.score_name == "accuracy"}
    classifiers = [("CNN softmax", metrics["cnn"])] + [(head_name(head), head) for head in metrics["heads"]]
    marks = [theirs for theirs in published.values() if theirs is not None]
    for _, of in classifiers:
        accuracy = of["scores"]["accuracy"]
        marks += [accuracy["value"], *(accuracy["interval"] or ())]
    room = 0.05 * (max(marks) - min(marks)) or 0.05
    low, high = max(0.0, min(marks) - room), min(1.0, max(marks) + room)

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for name, of in classifiers:
        own, theirs = of["scores"]["accuracy"], published.get(name)
        left, right = own["interval"] or (own["value"], own["value"])
        rows.append(
            {
                "name": name,
                "scores": of["scores"],
                "per_class": _per_class(of),
                "fit_seconds": of["fit_seconds"],
                "bar": {
                    "left": at(left),
                    "width": round(at(right) - at(left), 2),
                    "own": at(own["value"]),
                    "theirs": None if theirs is None else at(theirs),
                },
            }
        )
    return {
        "scored": rows,
        "bars": {"low": low, "high": high},
        "with_published": any(theirs is not None for theirs in published.values()),
        "with_auc": any(of.get("auc") for _, of in classifiers),
    }


def _per_class(of: Mapping[str, Any]) -> list[dict[str, Any]]:
    areas = of.get("auc") or {}
    return [{**found, "auc": areas.get(found["name"])} for found in of["scores"]["per_class"]]
