"""Scores: the sentence at the top, the table of all classifiers, and the tables class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnboost.report.head_names import classifiers
from cnnboost.report.page import percent, span
from cnnboost.report.published import Beside


def summary(metrics: Mapping[str, Any]) -> str:
    """Say in a sentence or two what was found."""
    heads = metrics["heads"]
    scores = classifiers(metrics)[0][2]["scores"]
    own = scores["accuracy"]
    text = f"On {scores['n']:,} images of {metrics['split']} the CNN "
    if metrics["cnn"] is None:
        text += f"gives no class probabilities to compare with ({metrics['no_softmax']})"
    else:
        text += f"is right on {percent(own['value'])} ({span(own['interval'])})"
    if not heads:
        return f"{text}."
    best = max(heads, key=lambda head: head["scores"]["accuracy"]["value"])
    accuracy = best["scores"]["accuracy"]
    which = f"the highest of {len(heads)} boosted heads" if len(heads) > 1 else "the boosted head"
    text += f"; {which}, at {best['layer']}, {'' if metrics['cnn'] else 'is right '}on "
    text += f"{percent(accuracy['value'])} ({span(accuracy['interval'])})."
    return f"{text} {_sentence(best['against_cnn']['verdict'])}" if best["against_cnn"] else text


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def scored(metrics: Mapping[str, Any], beside: Sequence[Beside]) -> dict[str, Any]:
    """Return the rows of the score tables, with where the marks stand that show each accuracy."""
    published = {row.name: row.published for row in beside if row.score_name == "accuracy"}
    named = [(name, of) for _, name, of in classifiers(metrics)]
    marks = [theirs for theirs in published.values() if theirs is not None]
    for _, of in named:
        accuracy = of["scores"]["accuracy"]
        marks += [accuracy["value"], *(accuracy["interval"] or ())]
    room = 0.05 * (max(marks) - min(marks)) or 0.05
    low, high = max(0.0, min(marks) - room), min(1.0, max(marks) + room)

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for name, of in named:
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
        "with_auc": any(of.get("auc") for _, of in named),
    }


def _per_class(of: Mapping[str, Any]) -> list[dict[str, Any]]:
    areas = of.get("auc") or {}
    return [{**found, "auc": areas.get(found["name"])} for found in of["scores"]["per_class"]]
