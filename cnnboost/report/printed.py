"""What a study prints, cell by cell, beside what was measured here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cnnboost.config.published import ALL_ROWS, Printed, same_value
from cnnboost.report.page import Block, Section, details, table
from cnnboost.report.table import FORMATS, NOTHING, Cell, Table, columns_of, points, signed

_SECONDS = ("seconds",)
_NUMBERS = ("log_loss", "auc", "std", "standard_error", "best_f1")
_NOT_YET = ("not run yet", "not measured yet")
_MOST_COLUMNS = 2
"""With more printed columns than these, own values are shown below the printed ones, not beside them."""
_SMALL = ("variance", *_SECONDS)
_TITLES = {
    "train_accuracy": "accuracy in training",
    "log_loss": "log-loss",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "average_class_accuracy": "average class accuracy",
    "f1": "F1",
    "auc": "AUC",
    "best_f1": "best F1 over thresholds",
    "std": "standard deviation",
    "standard_error": "standard error",
    "relative_gain": "relative gain over the CNN",
}
_ROW_TITLES = {"cnn": "CNN softmax", "all": "all classes"}

Documents = Mapping[str, Any]
"""`metrics`, `audit`, `repeats` and `latency` as the commands wrote them, and `searches` by file name."""


def printed_section(printed: Sequence[Printed], documents: Documents) -> Section | None:
    """Return the list of printed elements, and a table of printed and own values for each that has any."""
    if not printed:
        return None
    rows = []
    blocks: list[Block] = []
    for element in printed:
        made = _table(element, documents)
        own = made is not None and made[1]
        where = _where(element, own, documents)
        run: str = "not yet" if where.endswith(_NOT_YET) else element.run
        # A short one stays on one line.
        run = run.replace(" ", "\N{NO-BREAK SPACE}") if len(run) < 8 else run
        rows.append([element.place, element.title, where, run, element.why])
        if made is not None:
            blocks.append(details(f"{element.place}: {element.title}", table(made[0]), expanded=own))
    columns = columns_of({"printed": "text", "": "words", "here": "words", "run": "text", "why": "words"})
    heading = "Printed elements, and where they are here"
    return Section("printed", "Printed", heading, [table(Table(heading, columns, rows)), *blocks])


def _where(element: Printed, own: bool, documents: Documents) -> str:
    if element.where:
        return str(element.where)
    if own:
        return "below"
    study = element.study
    if study and f"study-{study}.json" in (documents.get("searches") or {}):
        return f"study {study}, under Searches"
    if element.kind == "text" or element.run == "cannot be run here":
        return "printed values below" if element.rows else ""
    return f"study {study}, {_NOT_YET[0]}" if study else _NOT_YET[1]


def _table(element: Printed, documents: Documents) -> tuple[Table, bool] | None:
    """Return printed and own values side by side, and whether there is any own one."""
    if not element.rows:
        return None
    own = {
        (row, column): own_value(element, row, column, documents)
        for row in element.rows
        for column in element.columns
    }
    measured = any(value is not None for value in own.values())
    beside = measured and len(element.columns) <= _MOST_COLUMNS
    kinds: dict[str, str] = {"": "text"}
    for column in element.columns:
        kind, title = _kind(element, column), _TITLES.get(column, column)
        kinds[f"{title}, printed" if beside else title] = kind
        if beside:
            kinds |= {f"{title}, own": kind, f"{title}, difference": "points"}
    rows = []
    for name, cells in element.rows.items():
        row: list[Any] = [_ROW_TITLES.get(name, name)]
        for column, theirs in zip(element.columns, cells, strict=True):
            kind, ours = _kind(element, column), own[name, column]
            difference = _difference(theirs, ours, kind)
            if beside:
                row += [_cell(theirs, kind), _cell(ours, kind), difference and Cell(difference)]
            elif ours is None:
                row.append(_cell(theirs, kind))
            else:
                note = f"own {_cell(ours, kind)}" + (f", {difference}" if difference else "")
                row.append(Cell(str(_cell(theirs, kind)), note))
        rows.append(row)
    return Table(f"{element.place}: {element.title}", columns_of(kinds), rows), measured


def _cell(value: float | None, kind: str) -> Cell:
    if value is None:
        return Cell(NOTHING)
    return Cell(FORMATS[kind](round(value) if kind == "count" else value))


def _kind(element: Printed, column: str) -> str:
    cells = [cell for row in element.rows.values() for cell in row if cell is not None]
    kind = element.kind
    if kind == "images":
        return "count"
    if kind == "settings":
        return "value"
    if kind == "confusion":
        return "count" if max(cells, default=0) > 1 else "percent"
    if column in _SMALL or (kind == "text" and max(map(abs, cells), default=0) > 1):
        return "figures"
    return "number" if column in _NUMBERS else "percent2"


def _difference(theirs: float | None, ours: float | None, kind: str) -> str | None:
    if theirs is None or ours is None:
        return None
    if kind in ("percent", "percent2"):
        return points(ours - theirs)
    if ours == theirs:
        return "0"
    return signed(f"{ours - theirs:+,.0f}" if kind == "count" else f"{ours - theirs:+.3g}")


def own_value(element: Printed, row: str, column: str, documents: Documents) -> float | None:
    """Return what was measured here for a cell; None where nothing was, or under other settings."""
    source = documents.get("repeats" if element.kind == "repeats" else "metrics")
    if element.kind == "text" or (element.under and not _made_with(element.under, source)):
        return None
    found = _OWN[element.kind](element, row, column, documents)
    return None if found is None else float(found)


def _made_with(settings: Mapping[str, Any], scored: Mapping[str, Any] | None) -> bool:
    facts = (scored or {}).get("recipe_facts") or {}
    return all(same_value(value, _stated(facts, key)) for key, value in settings.items())


def _stated(facts: Mapping[str, Any], key: str) -> Any:
    """Return the value of a recipe's key, written with dots; None where it is at its default."""
    found: Any = facts
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _classifier(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    if name == "cnn":
        return metrics["cnn"]
    return next((head for head in metrics["heads"] if (head["layer"], head["mode"]) == (name, "plain")), None)


def _of_scores(element: Printed, row: str, column: str, documents: Documents) -> Any:
    classifier = _classifier(documents["metrics"], row)
    if classifier is None:
        return None
    scores = classifier["scores"]
    if column == "train_accuracy":
        return classifier.get(column)
    if column == "best_f1":
        return ((classifier.get("thresholds") or {}).get("best") or {}).get("f1", {}).get("value")
    if column in ("macro_precision", "macro_recall"):
        # As in macro F1, a class without images does not count.
        present = [one for one in scores["per_class"] if one["support"]]
        return statistics.fmean(one[column.removeprefix("macro_")]["value"] for one in present)
    return scores[column]["value"]


def _of_classes(element: Printed, row: str, column: str, documents: Documents) -> Any:
    classifier = _classifier(documents["metrics"], element.classifier)
    if classifier is None:
        return None
    if column == "auc":
        return ((classifier.get("auc") or {}).get(row) or {}).get("value")
    # Of a class alone, accuracy is the share of its images that are right.
    name = "recall" if column == "accuracy" else column
    return next((one[name]["value"] for one in classifier["scores"]["per_class"] if one["name"] == row), None)


def _of_confusion(element: Printed, row: str, column: str, documents: Documents) -> Any:
    metrics = documents["metrics"]
    classifier = _classifier(metrics, element.classifier)
    if classifier is None:
        return None
    classes = metrics["classes"]
    if row not in classes or column not in classes:
        return None
    counts = classifier["scores"]["confusion"][classes.index(row)]
    count = counts[classes.index(column)]
    return count if _kind(element, column) == "count" else count / sum(counts)


def _of_thresholds(element: Printed, row: str, column: str, documents: Documents) -> Any:
    classifier = _classifier(documents["metrics"], element.classifier)
    sweep = ((classifier or {}).get("thresholds") or {}).get("sweep", ())
    return next((one[column] for one in sweep if abs(one["threshold"] - float(row)) < 1e-6), None)


def _of_repeats(element: Printed, row: str, column: str, documents: Documents) -> Any:
    repeats = documents.get("repeats")
    if repeats is None:
        return None
    cnn, score = repeats["cnn"], element.score or "f1"
    if row == ALL_ROWS["repeats"]:
        found = cnn["accuracy"]
    else:
        found = next((one[score] for one in cnn["per_class"] if one["name"] == row), None)
    if found is None or column in found:
        return found and found[column]
    return found["std"] / math.sqrt(repeats["repeats"])  # the standard error


def _of_sweep(element: Printed, row: str, column: str, documents: Documents) -> Any:
    document = (documents.get("searches") or {}).get(f"study-{element.study}.json")
    if document is None or column not in (document["metric"], "relative_gain"):
        return None
    relative = column == "relative_gain"
    if row == ALL_ROWS["sweep"]:
        # The network of all trials is one where only trees are searched.
        below = [trial.get("cnn") for trial in document["trials"]]
        return None if relative or not below or len({*below}) > 1 else below[0]
    try:
        wanted = element.values_of(row, document["space"])
    except ValueError:  # the search is older than the recipe, and of other keys
        return None
    for trial in document["trials"]:
        value, tried = trial["value"], trial["values"]
        if (
            value is not None
            and tried.keys() == wanted.keys()
            and all(same_value(stated, tried[key]) for key, stated in wanted.items())
        ):
            if relative:
                return value / trial["cnn"] - 1 if trial.get("cnn") else None
            return value
    return None


def _of_latency(element: Printed, row: str, column: str, documents: Documents) -> Any:
    latency = documents.get("latency")
    rows = latency["rows"] if latency else ()
    return next((one["p50_ms"] / 1000 for one in rows if one["path"] == row and one["all_images"]), None)


def _of_images(element: Printed, row: str, column: str, documents: Documents) -> Any:
    counts = ((documents.get("audit") or {}).get("counts") or {}).get(column)
    if counts is None:
        return None
    return sum(counts.values()) if row == ALL_ROWS["images"] else counts.get(row)


def _of_settings(element: Printed, row: str, column: str, documents: Documents) -> Any:
    value = _stated(documents["metrics"].get("recipe_facts") or {}, row)
    return value if isinstance(value, (int, float)) else None


_OWN = {
    "scores": _of_scores,
    "classes": _of_classes,
    "confusion": _of_confusion,
    "thresholds": _of_thresholds,
    "repeats": _of_repeats,
    "sweep": _of_sweep,
    "latency": _of_latency,
    "images": _of_images,
    "settings": _of_settings,
}
