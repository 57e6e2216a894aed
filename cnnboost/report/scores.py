"""The tables of `metrics.json`: all classifiers, each head beside the CNN, class by class, thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cnnboost.report.page import Figure, Section, details, table
from cnnboost.report.table import Cell, Column, Marks, Table, columns_of, percent, span

Metrics = Mapping[str, Any]

SCORE_COLUMNS = {
    "accuracy": Column("accuracy", "percent"),
    "macro_f1": Column("macro F1", "percent"),
    "average_class_accuracy": Column("average class accuracy", "percent"),
    "log_loss": Column("log-loss", "number"),
    "calibration_error": Column("calibration error", "number"),
    "fit_seconds": Column("fit, s", "seconds"),
}


def head_name(head: Metrics) -> str:
    """Return what tables call a head."""
    mode = "" if head["mode"] == "plain" else f", {head['mode']}"
    return f"XGBoost at {head['layer']}{mode}"


def head_key(head: Metrics) -> str:
    """Return a name that no other head of the same scores has: its layer, and its mode if it has one."""
    layer = str(head["layer"])
    return layer if head["mode"] == "plain" else f"{layer}-{head['mode']}"


def classifiers(metrics: Metrics) -> list[tuple[str, str, Metrics]]:
    """Return key, name and scores of every classifier, the CNN's softmax first where it has one."""
    cnn = metrics["cnn"]
    softmax = [] if cnn is None else [("", "CNN softmax", cnn)]
    return softmax + [(head_key(head), head_name(head), head) for head in metrics["heads"]]


def published_accuracies(metrics: Metrics) -> dict[str, float | None]:
    """Return the published accuracy of each classifier, by its key."""
    known = metrics.get("published") or {}
    return {"": known.get("cnn"), **(known.get("layers") or {})}


def scores_table(
    label: str, named: Iterable[tuple[str, Metrics]], columns: Mapping[str, Column], first: str = "classifier"
) -> Table:
    """Return a row of scores for each classifier."""
    rows = [[name, *(_score(of, key) for key in columns)] for name, of in named]
    return Table(label, [Column(first), *columns.values()], rows)


def _score(of: Metrics, key: str) -> Any:
    if key == "interval":
        return of["scores"]["accuracy"]["interval"]
    if key == "p_value":
        against = of.get("against_cnn")
        if not against:
            return None
        return Cell("no verdict") if against["p_value"] is None else against["p_value"]
    return of["scores"][key] if key in of["scores"] else of.get(key)


def class_table(label: str, of: Metrics, with_auc: bool = False) -> Table:
    """Return a row of scores for each class."""
    areas = of.get("auc") or {}
    kinds = {"class": "text", "images": "count", "precision": "percent", "recall": "percent", "F1": "percent"}
    rows = [
        [row["name"], row["support"], row["precision"], row["recall"], row["f1"], areas.get(row["name"])]
        for row in of["scores"]["per_class"]
    ]
    if with_auc:
        return Table(label, columns_of(kinds | {"AUC": "number"}), rows)
    return Table(label, columns_of(kinds), [row[:-1] for row in rows])


def summary(metrics: Metrics) -> str:
    """Return a sentence or two on the CNN and its best head."""
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
    if not best["against_cnn"]:
        return text
    verdict = best["against_cnn"]["verdict"].rstrip(".")
    return f"{text} {verdict[:1].upper()}{verdict[1:]}."


def scores_section(metrics: Metrics, level: str) -> Section:
    """Return all classifiers with their scores; marks show each accuracy beside the published one."""
    named, published = classifiers(metrics), published_accuracies(metrics)
    values = [theirs for key, _, _ in named if (theirs := published.get(key)) is not None]
    with_published = bool(values)
    for *_, of in named:
        accuracy = of["scores"]["accuracy"]
        values += [accuracy["value"], *(accuracy["interval"] or ())]
    room = 0.05 * (max(values) - min(values)) or 0.05
    low, high = max(0.0, min(values) - room), min(1.0, max(values) + room)

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    columns = dict(SCORE_COLUMNS)
    marked = {"accuracy": columns.pop("accuracy"), "marks": Column("interval", "marks"), **columns}
    rows = []
    for key, name, of in named:
        own, theirs = of["scores"]["accuracy"], published.get(key)
        left, right = own["interval"] or (own["value"], own["value"])
        marks = Marks(
            at(left), round(at(right) - at(left), 2), at(own["value"]), None if theirs is None else at(theirs)
        )
        rows.append((name, {**of, "marks": marks}))
    n = named[0][2]["scores"]["n"]
    text = f"{n:,} images of the {metrics['split']} split; below each score its {level} interval."
    legend = {"published": with_published, "low": percent(low), "high": percent(high)}
    return Section(
        "scores",
        "Scores",
        f"Scores on {metrics['split']}",
        [("faint", text), ("key", legend), table(scores_table("Scores", rows, marked))],
    )


def heads_section(metrics: Metrics) -> Section | None:
    """Return each head beside the CNN, with McNemar's test."""
    if metrics["cnn"] is None:
        return None
    kinds = {"layer": "text", "CNN": "percent", "hybrid": "percent", "difference": "points", "p": "p"}
    kinds |= {"verdict": "words", "only CNN right": "count", "only hybrid right": "count"}
    kinds |= {"features": "count", "rounds": "count"}
    accuracy, rows = metrics["cnn"]["scores"]["accuracy"]["value"], []
    for head in metrics["heads"]:
        against = head["against_cnn"]
        name = Cell(head["layer"], "" if head["mode"] == "plain" else head["mode"])
        difference = {"value": against["difference"], "interval": against["difference_interval"]}
        row = [name, accuracy, head["scores"]["accuracy"]["value"], difference]
        row += [against[key] for key in ("p_value", "verdict", "only_a_right", "only_b_right")]
        rows.append([*row, head["width"], head["rounds"]])
    text = (
        "The same images for both. Difference: accuracy of the hybrid minus accuracy of the CNN, in "
        "percentage points. p: McNemar's exact test."
    )
    heading = "CNN beside hybrid"
    blocks = [("faint", text), table(Table(heading, columns_of(kinds), rows))]
    return Section("heads", heading, f"{heading}, layer by layer", blocks)


def classes_section(metrics: Metrics) -> Section:
    """Return the scores class by class, of one classifier after the other."""
    named = [(name, of) for _, name, of in classifiers(metrics)]
    with_auc = any(of.get("auc") for _, of in named)
    text = (
        "AUC: the area under the receiver operating characteristic of the class against the rest; 0.5 is "
        "chance, 1 a perfect order."
    )
    tables = [
        details(
            name, table(class_table(f"Scores per class, {name}", of, with_auc)), expanded=of is named[0][1]
        )
        for name, of in named
    ]
    return Section(
        "classes", "Classes", "Scores per class", [*([("faint", text)] if with_auc else []), *tables]
    )


def thresholds_section(metrics: Metrics, figures: Sequence[Figure]) -> Section | None:
    """Return what the scores of two classes are at other thresholds than 0.5."""
    named = [(name, of["thresholds"]) for _, name, of in classifiers(metrics) if of.get("thresholds")]
    if not named:
        return None
    positive = named[0][1]["positive"]
    kinds = {"classifier": "text", "average precision": "percent", "best F1": "percent"}
    kinds |= {"at threshold": "number", "precision there": "percent", "recall there": "percent"}
    rows = []
    for name, of in named:
        best = of["best"]
        scores = [best[key] for key in ("f1", "threshold", "precision", "recall")]
        rows.append([name, of["average_precision"], *scores])
    keys = ("accuracy", "average_class_accuracy", "precision", "recall", "f1")
    titles = ("accuracy", "average class accuracy", "precision", "recall", "F1")
    swept = [Column("threshold", "number"), *(Column(title, "percent") for title in titles)]
    sweeps = []
    for name, of in named:
        rows_swept = [[Cell(f"{row['threshold']:.2f}"), *(row[key] for key in keys)] for row in of["sweep"]]
        if rows_swept:
            made = Table(f"Scores at each threshold, {name}", swept, rows_swept)
            sweeps.append(details(f"{name}, threshold by threshold", table(made)))
    text = (
        f"An image is called {positive} where its probability reaches a threshold; the scores above take "
        "0.5, and others trade precision for recall."
    )
    warning = (
        "The best thresholds were chosen on the images that are scored here, which flatters them: on other "
        "images they will do worse."
    )
    best_table = table(Table("Best thresholds", columns_of(kinds), rows))
    blocks = [("text", text), ("warn", warning), best_table, *sweeps, ("figures", figures)]
    return Section("thresholds", "Thresholds", "Thresholds", blocks)
