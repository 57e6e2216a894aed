"""Scores of a bundle as a card shows them: tables, and the mistakes that are common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnboost.escape import markdown, markdown_code
from cnnboost.report.page import number, p_value, percent, points, points_span, span
from cnnboost.report.sections.modes import modes_section
from cnnboost.stages.card.documents import Documents
from cnnboost.stages.card.tables import table

OFTEN = 0.15
"""Share of a class's images from which on a mistake is called common."""


def score_metadata(documents: Documents) -> dict[str, Any]:
    """Give what a card says about scores."""
    metrics, head = documents.metrics, documents.head
    assert head is not None  # read_documents refuses others
    scores = head["scores"]
    return {
        "accuracy": percent(scores["accuracy"]["value"]),
        "accuracy_span": span(scores["accuracy"]["interval"]),
        "n": scores["n"],
        "split": metrics["split"],
        "confidence": f"{scores['confidence']:.0%}",
        "calibration": f"{100 * scores['calibration_error']['value']:.1f}",
        "scored": _scored(documents, head),
        "verdict": head["against_cnn"]["verdict"],
        "per_class": _per_class(scores),
        "confusion": _confusion(scores),
        "common": common_mistakes(scores),
        "often": f"{OFTEN:.0%}",
        "weakest": _weakest(scores),
        "rarest": _rarest(scores),
        "unseen": [markdown_code(row["name"]) for row in scores["per_class"] if not row["support"]],
        "cross_fitted": bool(head.get("cross_fitted")),
        "compared": _compared(documents.compared),
        "int8": _int8(documents.manifest),
    }


def common_mistakes(scores: Mapping[str, Any]) -> list[str]:
    """List the mistakes that more than `OFTEN` of a class's images meet, the most common first."""
    names = [row["name"] for row in scores["per_class"]]
    found = []
    for truth, counts in zip(names, scores["confusion"], strict=True):
        total = sum(counts)
        for said, count in zip(names, counts, strict=True):
            if said != truth and count > OFTEN * total:
                pair = f"{markdown_code(truth)} is taken for {markdown_code(said)}"
                text = f"{pair} on {percent(count / total)} of its images"
                found.append((-count / total, f"{text} ({count:,} of {total:,})"))
    return [text for _, text in sorted(found)]


def _scored(documents: Documents, head: Mapping[str, Any]) -> str:
    rows = [
        ("this bundle", head["scores"]),
        ("its network alone (softmax)", documents.metrics["cnn"]["scores"]),
    ]
    return table(
        ["", "accuracy", "macro F1", "log-loss", "calibration error"],
        [
            [
                name,
                _estimate(of["accuracy"]),
                _estimate(of["macro_f1"], False),
                _estimate(of["log_loss"], False),
                number(of["calibration_error"]["value"]),
            ]
            for name, of in rows
        ],
    )


def _int8(manifest: Mapping[str, Any]) -> dict[str, str] | None:
    """Set the graph in integers beside the exact one; both were scored in the same way."""
    scores = manifest["scores"]
    if "int8" not in scores:
        return None
    names = (("accuracy", "int8"), ("exact", "hybrid"))
    return {name: percent(scores[graph]["accuracy"]) for name, graph in names}


def _per_class(scores: Mapping[str, Any]) -> str:
    return table(
        ["class", "images", "precision", "recall", "F1"],
        [
            [
                markdown(row["name"]),
                f"{row['support']:,}",
                *(_estimate(row[name]) for name in ("precision", "recall", "f1")),
            ]
            for row in scores["per_class"]
        ],
    )


def _confusion(scores: Mapping[str, Any]) -> str:
    names = [markdown(row["name"]) for row in scores["per_class"]]
    rows = []
    for name, counts in zip(names, scores["confusion"], strict=True):
        total = sum(counts) or 1
        rows.append([name, *(f"{100 * count / total:.0f}" for count in counts)])
    return table(["true class", *names], rows)


def _weakest(scores: Mapping[str, Any]) -> dict[str, str]:
    row = min((row for row in scores["per_class"] if row["support"]), key=lambda row: row["f1"]["value"])
    return {"name": markdown_code(row["name"]), "f1": percent(row["f1"]["value"])}


def _rarest(scores: Mapping[str, Any]) -> dict[str, str]:
    row = min((row for row in scores["per_class"] if row["support"]), key=lambda row: row["support"])
    return {
        "name": markdown_code(row["name"]),
        "share": percent(row["support"] / scores["n"]),
        "count": f"{row['support']:,}",
        "recall": span(row["recall"]["interval"]),
    }


def _compared(compared: Mapping[str, Any] | None) -> dict[str, Any] | None:
    section = modes_section(compared, {})
    if section is None:
        return None
    header = [
        "classifier",
        "accuracy",
        "difference, points",
        "over the seeds",
        "median p",
        "log-loss",
        "change",
    ]
    rows = [
        [
            row["name"],
            f"{row['accuracy']:.2%}",
            "",
            "",
            "",
            number(row["log_loss"]),
            "",
            number(row["calibration"]),
        ]
        for row in section["softmax"]
    ]
    rows += [
        [
            row["name"],
            f"{row['accuracy']:.2%}",
            points(row["difference"]),
            points_span([row["lowest_difference"], row["highest_difference"]]),
            p_value(row["median_p_value"]),
            number(row["log_loss"]),
            number(row["log_loss_difference"]),
            number(row["calibration"]),
        ]
        for row in section["modes"]
    ]
    return {
        "text": section["text"],
        "table": table([*header, "calibration error"], rows),
        "verdicts": [row["verdict"] for row in section["modes"]],
    }


def _estimate(of: Mapping[str, Any], in_percent: bool = True) -> str:
    if of["value"] is None:
        return ""
    text = percent(of["value"]) if in_percent else number(of["value"])
    return text if of["interval"] is None else f"{text} ({span(of['interval'], in_percent)})"
