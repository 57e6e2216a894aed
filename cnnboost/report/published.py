"""Own scores beside the ones that others printed, for one recipe and over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnnboost.escape import counted
from cnnboost.report.page import Block, Section, paragraphs, render, table
from cnnboost.report.scores import classifiers, published_accuracies
from cnnboost.report.table import Cell, Group, Table, columns_of, points

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
    value: float
    interval: Sequence[float] | None
    score_name: str = "accuracy"
    verdict: str = ""

    @property
    def difference(self) -> float | None:
        """Own score minus published score."""
        return None if self.published is None else self.value - self.published

    @property
    def place(self) -> str:
        """Where the published number lies."""
        if self.published is None or self.interval is None:
            return ""
        low, high = self.interval
        return _BELOW if self.published < low else _ABOVE if self.published > high else _INSIDE

    @property
    def outside(self) -> bool:
        """Whether the published number lies outside the interval."""
        return self.place in (_BELOW, _ABOVE)


def beside_published(metrics: Mapping[str, Any]) -> list[Beside]:
    """Put the own scores beside the published ones."""
    published, cnn = published_accuracies(metrics), metrics["cnn"]
    rows = []
    for key, name, of in classifiers(metrics):
        accuracy, against = of["scores"]["accuracy"], of.get("against_cnn") or {}
        verdict = against.get("verdict", "")
        rows.append(Beside(name, published.get(key), **accuracy, verdict=verdict))
    own = {} if cnn is None else _own_scores(cnn)
    for name, theirs in ((metrics.get("published") or {}).get("scores") or {}).items():
        if own.get(name):  # scores may be older than the name
            rows.append(Beside("CNN softmax", theirs, **own[name], score_name=_score_name(name, cnn)))
    return rows


def _own_scores(cnn: Mapping[str, Any]) -> dict[str, Any]:
    """Return every score of the CNN that others publish, with its interval."""
    scores = dict(cnn["scores"])
    if thresholds := cnn.get("thresholds"):
        positive = thresholds["positive"]
        scores |= next(row for row in scores["per_class"] if row["name"] == positive)
        scores |= {
            "best_f1": thresholds["best"]["f1"],
            "average_precision": thresholds["average_precision"],
            "auc": (cnn.get("auc") or {}).get(positive),
        }
    return scores


def _score_name(name: str, cnn: Mapping[str, Any]) -> str:
    return _SCORE_NAMES[name].format(positive=(cnn.get("thresholds") or {}).get("positive"))


def published_section(
    metrics: Mapping[str, Any], beside: Sequence[Beside], level: str, notes: str
) -> Section | None:
    """Return the published scores beside the own ones, and what a person noted about the differences."""
    rows = [row for row in beside if row.published is not None]
    if not rows:
        return Section("notes", "Notes", "Notes", paragraphs(notes)) if notes.strip() else None
    kinds = {"classifier": "text", "score": "text", "published": "percent", "own": "percent"}
    kinds |= {f"own {level} interval": "interval", "difference, points": "points"}
    columns = columns_of(kinds | {"published number lies": "text"})
    made = [[row.name, row.score_name, *row[1:4], row.difference, row.place] for row in rows]
    if all(row.score_name == "accuracy" for row in rows):
        del columns[1]
        made = [[row[0], *row[2:]] for row in made]
    n = classifiers(metrics)[0][2]["scores"]["n"]
    heading = "Published beside own"
    blocks: list[Block] = [
        ("text", f"Published: {metrics['published']['source']}. Own: {metrics['split']}, {n:,} images."),
        table(Table(heading, columns, made)),
        *paragraphs(notes),
        *_without_reason(rows, notes, "notes.txt beside this page"),
    ]
    return Section("published", "Published", heading, blocks)


def _without_reason(beside: Sequence[Beside], notes: str, file: str) -> list[Block]:
    """Ask for a reason where published and own scores differ by more than the interval."""
    if notes.strip() or not any(row.outside for row in beside):
        return []
    text = f"Some differ by more than the interval, and no reason is given yet; write it into {file}."
    return [("warn", text)]


class Entry(NamedTuple):
    """One recipe of the overview."""

    metrics: Mapping[str, Any]
    link: str = ""
    notes: str = ""


def overview_page(entries: Sequence[Entry], more: Sequence[Section] = ()) -> str:
    """Write the page over all recipes: a row for each CNN and head, published beside own."""
    kinds = {"classifier": "text", "published": "percent", "own": "percent", "difference, points": "points"}
    columns = columns_of(kinds | {"against the CNN": "words"})
    rows: list[Any] = []
    sections = []
    for metrics, link, notes in entries:
        title, split = metrics["title"] or metrics["recipe"], metrics["split"]
        n = classifiers(metrics)[0][2]["scores"]["n"]
        rows.append(Group(Cell(title, f"{metrics['recipe']}, {split}, {n:,} images", link)))
        beside = beside_published(metrics)
        rows += map(_overview_row, beside)
        source = (metrics.get("published") or {}).get("source", "")
        blocks = [("faint", f"Published: {source}.")] if source else []
        blocks += paragraphs(notes)
        if source:
            blocks += _without_reason(beside, notes, f"{metrics['recipe']}/notes.txt")
        if blocks:
            sections.append(Section("", "", title, blocks))
    text = (
        "Accuracy of every CNN and of every boosted head on it, published numbers beside own ones; a row "
        f"that names another score is of that. {counted(len(entries), 'recipe')} with scores."
    )
    footer = (
        "Intervals: of the own score, at the level that each recipe states (95% unless it says otherwise). "
        "The page needs no script and no network."
    )
    first = table(Table("All recipes", columns, rows, style="recipes"))
    return render(
        "page.html.j2",
        title="All recipes",
        above="",
        header=[("text", text)],
        first=[first],
        sections=[*more, *sections],
        footer=footer,
    )


def _overview_row(row: Beside) -> list[Any]:
    difference = None
    if row.difference is not None:
        difference = Cell(points(row.difference), f"published lies {row.place}" if row.place else "")
    return [
        Cell(row.name, "" if row.score_name == "accuracy" else row.score_name),
        row.published,
        {"value": row.value, "interval": row.interval},
        difference,
        row.verdict or None,
    ]
