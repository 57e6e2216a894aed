"""Searches and studies: what was tried, on which images it was scored, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cnnboost.escape import counted
from cnnboost.report.page import Block, Section, contents_of, details, named_figures, table
from cnnboost.report.table import (
    Cell,
    Column,
    Table,
    columns_of,
    pairs,
    seconds,
    setting,
    settings,
    shown,
)

SHOWN = 15
_SAMPLERS = {
    "grid": "grid, every combination",
    "random": "random",
    "tpe": "tree-structured Parzen estimators (TPE)",
}
METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log-loss"}

Document = Mapping[str, Any]


def ranked(trials: Iterable[Document], metric: str) -> tuple[list[Document], list[Document]]:
    """Return the trials that came to a value, the best first, and those that failed."""
    parts: tuple[list[Document], list[Document]] = [], []
    for trial in trials:
        parts[trial["value"] is None].append(trial)
    parts[0].sort(key=lambda trial: trial["value"], reverse=metric != "log_loss")
    return parts


def searches_section(
    searches: Mapping[str, Document], metrics: Document, figures: Mapping[str, bytes]
) -> Section | None:
    """Return what each search tried and found."""
    blocks: list[Block] = []
    for file, document in searches.items():
        with contents_of(file):
            blocks += _search(document, metrics, figures)
    return Section("searches", "Searches", "Searches", blocks) if blocks else None


def drawn_by_searches(searches: Mapping[str, Document]) -> set[str]:
    """Return the file names of the figures that are shown with their search."""
    names = set()
    for file, document in searches.items():
        with contents_of(file):
            names |= {entry["file"] for entry in document["figures"]}
    return names


def _search(document: Document, metrics: Document, figures: Mapping[str, bytes]) -> list[Block]:
    ended, failed = ranked(document["trials"], document["metric"])
    keys = list(dict.fromkeys(key for trial in document["trials"] for key in trial["values"]))
    names = _short_names(keys)
    title = _title(document, metrics)
    blocks: list[Block] = [
        ("heading", title),
        ("text", _text(document, ended)),
        table(pairs(f"What was searched, {title}", _rows(document, ended, metrics))),
    ]
    blocks.append(("figures", named_figures(figures, document["figures"])))
    made = _trials_table(title, document["metric"], names, ended)
    if ended:
        blocks.append(table(Table(title, made.columns, made.rows[:SHOWN])))
    if more := made.rows[SHOWN:]:
        blocks.append(details(counted(len(more), "more trial"), table(Table(title, made.columns, more))))
    if failed:
        summary = counted(len(failed), "failed trial")
        blocks.append(details(summary, table(_failed_table(title, names, failed)), expanded=not ended))
    return blocks


def _title(document: Document, metrics: Document) -> str:
    study, title = document["study"], document["title"]
    if title and title != metrics["title"]:
        return str(title)
    return f"Study {study}" if study else "Search"


def _text(document: Document, ended: Sequence[Document]) -> str:
    target = document["target"]
    of = "the CNN" if target == "cnn" else f"XGBoost at {target}"
    metric = document["metric"]
    text = (
        f"{counted(len(document['trials']), 'trial')}, scored by {METRICS.get(metric, metric)} of {of} on "
        f"{document['images']['validation']:,} images of train that none of them was fitted on."
    )
    if not ended:
        return f"{text} No trial finished with a value."
    text += f" The best reached {shown(_metric_column(metric), ended[0]['value'])}."
    if len(ended) > 1:
        text += " Being the best of several flatters it; the recipe's scores above are on other images."
    return text


def _metric_column(metric: str) -> Column:
    return Column(METRICS.get(metric, metric), "number" if metric == "log_loss" else "percent")


def _rows(document: Document, ended: Sequence[Document], metrics: Document) -> list[tuple[str, str]]:
    images, stages = document["images"], document["stages"]
    rows = [(key, _space(space)) for key, space in document["space"].items()]
    sampler = _SAMPLERS.get(document["sampler"], str(document["sampler"]))
    in_stages = f", {stages} stages from coarse to fine" if stages > 1 else ""
    fitted = f"fitted on {images['train']:,}, scored on {images['validation']:,} ({document['judged_on']})"
    rows += [
        ("Fixed in every trial", settings(document["set"]) or "nothing beside the recipe"),
        ("Images", fitted),
        ("Sampler", f"{sampler}{in_stages}, seed {document['seed']}"),
    ]
    if (time := sum(trial["seconds"] or 0 for trial in ended)) > 0:
        rows.append(("Time", f"{seconds(time)} seconds in all"))
    if ended:
        best = ended[0]["values"]
        rows.append(("Best", settings(best)))
        rows.append(("Scored recipe", _stated(metrics["recipe_facts"], best)))
    return rows


def _stated(recipe: Document, keys: Iterable[str]) -> str:
    """Return what the recipe that was scored has at these keys."""
    texts = []
    for key in keys:
        *tables, name = key.split(".")
        metadata: Any = recipe
        for one in tables:
            metadata = metadata.get(one) if isinstance(metadata, Mapping) else None
        stated = isinstance(metadata, Mapping) and name in metadata
        texts.append(f"{key} = {setting(metadata[name])}" if stated else f"{key} not stated")
    return ", ".join(texts)


def _trials_table(title: str, metric: str, names: Mapping[str, str], trials: Sequence[Document]) -> Table:
    columns = [Column("trial", "count"), _metric_column(metric)]
    # Values are aligned like numbers, which most of them are.
    columns += [Column(name, "number") for name in names.values()]
    rows = [
        [
            trial["number"],
            {"value": trial["value"], "interval": trial["interval"]},
            *(Cell(setting(trial["values"][key]) if key in trial["values"] else "") for key in names),
            trial["seconds"],
        ]
        for trial in trials
    ]
    return Table(title, [*columns, Column("s", "seconds")], rows)


def _failed_table(title: str, names: Mapping[str, str], trials: Sequence[Document]) -> Table:
    columns = columns_of({"trial": "count", "values": "words", "why it failed": "words"})
    rows = []
    for trial in trials:
        values = {names[key]: value for key, value in trial["values"].items()}
        rows.append([trial["number"], settings(values), trial["error"] or "it left no message"])
    return Table(f"Failed trials, {title}", columns, rows)


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Name keys by their last part where that tells them apart."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: name if last[name := key.rpartition(".")[2]] == 1 else key for key in keys}


def _space(space: Mapping[str, Any]) -> str:
    if space.get("choices"):
        return " | ".join(setting(choice) for choice in space["choices"])
    step = f" in steps of {setting(space['step'])}" if space.get("step") else ""
    log = ", even in the logarithm" if space.get("log") else ""
    return f"{setting(space['low'])} to {setting(space['high'])}{step}{log}"
