"""Searches and studies: what was tried, on which images it was judged, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cnnboost.report.page import number, percent, seconds, span
from cnnboost.report.sections.figures import named_figures
from cnnboost.report.sections.findings import Findings, facts_of

SHOWN = 15
_SAMPLERS = {
    "grid": "grid, every combination",
    "random": "random",
    "tpe": "tree-structured Parzen estimators (TPE)",
}
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "log_loss": "log-loss"}


def searches(findings: Findings) -> list[dict[str, Any]]:
    """Say what each search found."""
    found = []
    for file, document in findings.searches.items():
        with facts_of(file):
            found.append(_search(document, findings))
    return found


def drawn_by_searches(findings: Findings) -> set[str]:
    """Return the file names of the figures that stand with their search."""
    found = set()
    for file, document in findings.searches.items():
        with facts_of(file):
            found |= {entry["file"] for entry in document.get("figures") or ()}
    return found


def _search(document: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    metric = document["metric"]
    ended = [trial for trial in document["trials"] if trial["value"] is not None]
    failed = [trial for trial in document["trials"] if trial["value"] is None]
    ended.sort(key=lambda trial: trial["value"], reverse=metric != "log_loss")
    keys = list(dict.fromkeys(key for trial in document["trials"] for key in trial["values"]))
    short = _short_names(keys)
    rows = [_row(trial, keys, metric) for trial in ended]
    figures = named_figures(findings.figures, document.get("figures") or ())
    shares = document.get("importances") or {}
    drawn = any(figure["stem"].endswith("-importances") for figure in figures)
    return {
        "title": _title(document, findings.metrics),
        "text": _text(document, ended),
        "rows": _facts(document, ended, findings.metrics),
        "metric": _METRICS.get(metric, metric),
        "columns": [short[key] for key in keys],
        "shown": rows[:SHOWN],
        "more": rows[SHOWN:],
        "failed": [
            {
                "number": trial["number"],
                "values": _settings({short[key]: value for key, value in trial["values"].items()}),
                "error": trial["error"] or "it left no message",
            }
            for trial in failed
        ],
        "importances": [] if drawn else sorted(shares.items(), key=lambda entry: -entry[1]),
        "figures": figures,
    }


def _title(document: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    study, title = document.get("study"), document.get("title")
    if title and title != metrics["title"]:
        return str(title)
    return f"Study {study}" if study else "Search"


def _text(document: Mapping[str, Any], ended: Sequence[Mapping[str, Any]]) -> str:
    metric, target = document["metric"], document["target"]
    of = "the CNN" if target == "cnn" else f"XGBoost at {target}"
    images = document["images"]
    text = (
        f"{len(document['trials']):,} trials, judged by {_METRICS.get(metric, metric)} of {of} on "
        f"{images['validation']:,} images of train that none of them was fitted on."
    )
    if not ended:
        return f"{text} None came to a value."
    text += f" The best reached {_value(ended[0]['value'], metric)}."
    if len(ended) > 1:
        text += " Being the best of several flatters it; the recipe's scores above are on other images."
    return text


def _facts(
    document: Mapping[str, Any], ended: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
) -> list[tuple[str, str]]:
    images, stages = document["images"], document.get("stages") or 1
    rows = [(key, _space(space)) for key, space in _spaces(document).items()]
    rows.append(("Fixed in every trial", _settings(document.get("set") or {}) or "nothing beside the recipe"))
    rows.append(
        (
            "Images",
            f"fitted on {images['train']:,}, judged on {images['validation']:,} ({document['judged_on']})",
        )
    )
    sampler = _SAMPLERS.get(document["sampler"], str(document["sampler"]))
    in_stages = f", {stages} stages from coarse to fine" if stages > 1 else ""
    rows.append(("Sampler", f"{sampler}{in_stages}, seed {document['seed']}"))
    if (time := sum(trial["seconds"] or 0 for trial in ended)) > 0:
        rows.append(("Time", f"{seconds(time)} seconds in all"))
    if ended:
        best = ended[0]["values"]
        rows.append(("Best", _settings(best)))
        rows.append(("Scored recipe", _stated(metrics["recipe_facts"], best)))
    return rows


def _spaces(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was to be tried for each key; documents of old have it in the recipe alone."""
    if "space" in document:
        spaces: Mapping[str, Any] = document["space"]
    else:
        spaces = document["recipe_facts"]["search"]["space"]
    return spaces


def _stated(recipe_metadata: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Say what the recipe that was scored has at these keys."""
    said = []
    for key in keys:
        *tables, name = key.split(".")
        metadata: Any = recipe_metadata
        for table in tables:
            metadata = metadata.get(table) if isinstance(metadata, Mapping) else None
        stated = isinstance(metadata, Mapping) and name in metadata
        said.append(f"{key} = {_plain(metadata[name])}" if stated else f"{key} not stated")
    return ", ".join(said)


def _row(trial: Mapping[str, Any], keys: Sequence[str], metric: str) -> dict[str, Any]:
    interval = trial.get("interval")
    return {
        "number": trial["number"],
        "value": _value(trial["value"], metric),
        "interval": span(interval) if interval else "",
        "values": [_plain(trial["values"][key]) if key in trial["values"] else "" for key in keys],
        "seconds": trial["seconds"],
    }


def _value(value: float, metric: str) -> str:
    return number(value) if metric == "log_loss" else percent(value)


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Name keys by their last part where that tells them apart."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: name if last[name := key.rpartition(".")[2]] == 1 else key for key in keys}


def _space(space: Mapping[str, Any]) -> str:
    if space.get("choices"):
        return " | ".join(_plain(choice) for choice in space["choices"])
    step = f" in steps of {_plain(space['step'])}" if space.get("step") else ""
    log = ", even in the logarithm" if space.get("log") else ""
    return f"{_plain(space['low'])} to {_plain(space['high'])}{step}{log}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    """Write a value as a recipe would, floats with four figures that count."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return f"{{{_settings(value)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
