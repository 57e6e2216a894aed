"""Own scores beside the ones that others printed, for one recipe and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnnboost.report.head_names import classifiers, head_key, head_name
from cnnboost.report.page import paragraphs, render

_SCORE_NAMES = {
    "macro_f1": "macro F1",
    "average_class_accuracy": "average class accuracy",
    "precision": "precision of {positive}",
    "recall": "recall of {positive}",
    "f1": "F1 of {positive}",
    "best_f1": "best F1 of {positive} over thresholds",
    "average_precision": "average precision of {positive}",
    "auc": "AUC of {positive}",
}
_INSIDE, _BELOW, _ABOVE = "inside the interval", "below the interval", "above the interval"


class Beside(NamedTuple):
    """One score beside the published one."""

    name: str
    published: float | None
    own: float
    interval: Sequence[float] | None
    difference: float | None
    place: str
    verdict: str
    score_name: str = "accuracy"

    @property
    def outside(self) -> bool:
        """Whether the published number lies outside the interval."""
        return self.place in (_BELOW, _ABOVE)


def beside_published(metrics: Mapping[str, Any]) -> list[Beside]:
    """Put the own scores beside the published ones."""
    known = metrics.get("published") or {}
    cnn = metrics["cnn"]
    rows = [] if cnn is None else [_beside("CNN softmax", known.get("cnn"), cnn["scores"]["accuracy"])]
    for head in metrics["heads"]:
        published = (known.get("layers") or {}).get(head_key(head))
        row = _beside(head_name(head), published, head["scores"]["accuracy"])
        rows.append(row._replace(verdict=head["against_cnn"]["verdict"]) if head["against_cnn"] else row)
    if cnn is None:
        return rows
    positive = (cnn.get("thresholds") or {}).get("positive", "")
    for name, published in (known.get("scores") or {}).items():
        found = _own(name, cnn)
        if found is not None:
            score_name = _SCORE_NAMES[name].format(positive=positive)
            rows.append(_beside("CNN softmax", published, found)._replace(score_name=score_name))
    return rows


def _own(name: str, cnn: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a score of the CNN and its interval; None where the scores are older than its name."""
    if name in cnn["scores"]:
        return cnn["scores"][name]
    thresholds = cnn.get("thresholds")
    if thresholds is None:
        return None
    if name == "best_f1":
        return thresholds["best"]["f1"]
    if name == "average_precision":
        return thresholds[name]
    if name == "auc":
        return cnn["auc"][thresholds["positive"]]
    return next(row[name] for row in cnn["scores"]["per_class"] if row["name"] == thresholds["positive"])


def _beside(name: str, published: float | None, found: Mapping[str, Any]) -> Beside:
    own, interval = found["value"], found["interval"]
    if published is None:
        return Beside(name, None, own, interval, None, "", "")
    place = ""
    if interval is not None:
        place = _BELOW if published < interval[0] else _ABOVE if published > interval[1] else _INSIDE
    return Beside(name, published, own, interval, own - published, place, "")


class Entry(NamedTuple):
    """One recipe of the overview."""

    metrics: Mapping[str, Any]
    link: str = ""
    notes: str = ""


def overview_page(entries: Sequence[Entry]) -> str:
    """Write the page over all recipes: a row for each CNN and head, published beside own."""
    return render("overview.html.j2", recipes=[_recipe(entry) for entry in entries])


def _recipe(entry: Entry) -> dict[str, Any]:
    metrics = entry.metrics
    rows = beside_published(metrics)
    return {
        "name": metrics["recipe"],
        "title": metrics["title"] or metrics["recipe"],
        "link": entry.link,
        "split": metrics["split"],
        "n": classifiers(metrics)[0][2]["scores"]["n"],
        "source": (metrics.get("published") or {}).get("source", ""),
        "notes": paragraphs(entry.notes),
        "rows": rows,
        "outside": any(row.outside for row in rows),
    }
