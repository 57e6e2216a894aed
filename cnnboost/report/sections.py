"""Sections of a page: what was run, whether the network can learn, other images, repeats, latency."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from cnnboost.escape import counted
from cnnboost.files import file_part
from cnnboost.report.page import (
    Block,
    Figure,
    Section,
    contents_of,
    details,
    known_figures,
    table,
)
from cnnboost.report.scores import SCORE_COLUMNS, classifiers, published_accuracies, scores_table
from cnnboost.report.table import Cell, Column, Group, Table, columns_of, pairs, percent


class OtherImages(NamedTuple):
    """Scores on images that the recipe is not about."""

    name: str
    metrics: Mapping[str, Any]
    figures: Mapping[str, bytes] = {}


def run_section(metrics: Mapping[str, Any], audit: Mapping[str, Any] | None) -> Section:
    """Return what was run, and what the audit says about the data."""
    every_key = "Every key of the recipe"
    blocks = [
        table(pairs("What was run", _run_rows(metrics))),
        details(every_key, table(pairs(every_key, leaves(metrics["recipe_facts"])))),
        ("heading", "The data"),
    ]
    if audit is None:
        text = Markup("The data was not audited; <code>cnnboost inspect</code> does that.")
        blocks.append(("faint", text))
    else:
        with contents_of("audit.json"):
            blocks += [table(pairs("Audit of the data", audit_rows(audit))), table(count_table(audit))]
    return Section("run", "What was run", "What was run", blocks)


def _run_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    metadata, cnn, machine = metrics["recipe_facts"], metrics["cnn"], metrics["machine"]
    boost = metadata["boost"]
    seeds = {name: metadata[name].get("seed") for name in ("data", "cnn", "boost", "evaluate")}
    names = [str(machine[key]) for key in ("model", "system", "processor") if machine.get(key) is not None]
    if cnn is None:
        rows = [("CNN", "a model file without a softmax for these classes")]
    else:
        seconds = cnn["fit_seconds"]
        in_time = f" in {seconds:,.0f} seconds" if seconds is not None else ""
        rows = [
            ("CNN", f"{metadata['cnn']['architecture']}, {cnn['parameters']:,} parameters"),
            ("Training", f"{counted(cnn['epochs'], 'epoch')}{in_time}"),
            ("Right on train", percent(cnn["train_accuracy"])),
        ]
    head = (
        f"XGBoost, at most {boost['n_estimators']} rounds, depth {boost['max_depth']}, learning rate "
        f"{boost['learning_rate']:g}"
    )
    return [
        *rows,
        ("Cut at", ", ".join(head["layer"] for head in metrics["heads"])),
        ("Head", head),
        ("Images", ", ".join(f"{name} {count:,}" for name, count in metrics["images"].items())),
        ("Scored split", metrics["split"]),
        ("Seeds", ", ".join(f"{name} {seed}" for name, seed in seeds.items() if seed is not None)),
        ("Machine", ", ".join([*names, counted(machine["cores"], "core")])),
        ("Versions", ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())),
        ("Data digest", metrics["data_digest"]),
    ]


def leaves(metadata: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """List every key with its value; what is not set is left out."""
    rows: list[tuple[str, str]] = []
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            rows += leaves(value, f"{above}{key}.")
        elif value is not None:
            rows.append((f"{above}{key}", json.dumps(value, ensure_ascii=False)))
    return rows


def audit_rows(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what the audit counted."""
    exact = audit["duplicates"]["exact"]
    mirrored = audit["duplicates"]["exact_or_mirrored"]
    height, width, channels = audit["shape"]
    return [
        ("Source", str(audit["source"])),
        ("Images", f"{audit['n_images']:,}, {width}x{height}, {'grey' if channels == 1 else 'RGB'}"),
        ("Identical images", f"{exact['groups']:,} groups, {exact['surplus']:,} more than needed"),
        ("Identical or mirrored", f"{mirrored['groups']:,} groups, {mirrored['surplus']:,} more than needed"),
        ("Across splits", f"{exact['groups_across_splits']:,} groups of identical images"),
        ("Contradicting labels", f"{exact['contradicting_groups']:,} groups of identical images"),
        ("Constant images", f"{len(audit['constant']):,}"),
        ("Unreadable images", f"{len(audit['bad']):,}"),
    ]


def count_table(audit: Mapping[str, Any]) -> Table:
    """Return the images of each class in each split, with their share of the split."""
    counts = audit["counts"]
    totals = {split: sum(of.values()) for split, of in counts.items()}
    names = dict.fromkeys(name for of in counts.values() for name in of)
    rows: list[list[Any]] = [
        [
            name,
            *(
                Cell(f"{of.get(name, 0):,}", percent(of.get(name, 0) / (totals[split] or 1)))
                for split, of in counts.items()
            ),
        ]
        for name in names
    ]
    columns = [Column("class"), *(Column(split, "count") for split in counts)]
    return Table("Images per class", columns, [*rows, ["all", *totals.values()]])


def overfit_section(overfit: Mapping[str, Any]) -> Section:
    """Return whether the network could learn a few images by heart."""
    learnt, text = overfit["learnt"], overfit_text(overfit)
    explanation = Markup(
        "A copy of the network was trained on a few images until it knows them by heart (<code "
        'class="whole">cnnboost train --overfit</code>). One that cannot do that has a fault which more '
        "images do not fix; one that can may still be worth nothing on other images."
    )
    numbers = "Numbers of this check"
    blocks: list[Block] = [
        ("text" if learnt else "warn", text),
        ("items", list(overfit["symptoms"])),
        ("faint", explanation),
        details(numbers, table(pairs(numbers, _overfit_rows(overfit)))),
    ]
    return Section("overfit", "Can it learn?", "Can the network learn at all?", blocks)


def overfit_text(overfit: Mapping[str, Any]) -> str:
    """Return the answer in a sentence."""
    n = overfit["images"]
    took = f"{counted(overfit['epochs'], 'epoch')}, {counted(overfit['steps'], 'step')} of the optimiser"
    if overfit["learnt"]:
        return f"It can: after {took}, it knows all of {n:,} images by heart."
    if overfit["failure"]:
        return f"It cannot: training on {n:,} images broke off after {took}."
    return f"It cannot: after {took}, it knows {percent(overfit['accuracy'])} of {n:,} images by heart."


def _overfit_rows(overfit: Mapping[str, Any]) -> list[tuple[str, str]]:
    accuracy = overfit["accuracy"]
    rows = [
        ("Images", ", ".join(f"{count:,} {name}" for name, count in overfit["classes"].items())),
        ("Accuracy on them", "none" if accuracy is None else percent(accuracy)),
        ("Steps", f"{overfit['steps']:,} of at most {overfit['steps_at_most']:,}"),
    ]
    for name, form in (("loss", "{:.4g}"), ("accuracy", "{:.1%}")):
        if values := overfit["history"][name]:
            first, last = form.format(values[0]), form.format(values[-1])
            rows.append((f"Course of the {name}", f"{first} after the first epoch, {last} after the last"))
    if overfit["failure"]:
        rows.append(("Why it broke off", overfit["failure"]))
    rows.append(("Switched off", ", ".join(overfit["switched_off"]) or "nothing"))
    return [*rows, ("Seed", str(overfit["seed"]))]


def confusion_titles(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the title of each confusion matrix by the stem of its file."""
    return {
        f"confusion-{file_part(key or 'cnn')}": f"Confusion matrix of {title if key else 'the CNN'}"
        for key, title, _ in classifiers(metrics)
    }


def figures_section(groups: Mapping[str, Sequence[Figure]]) -> Section | None:
    """Return the figures that belong to no other section."""
    if not groups:
        return None
    blocks: list[Block] = []
    for group, drawn in groups.items():
        blocks += [*([("heading", group)] if len(groups) > 1 else []), ("figures", drawn)]
    return Section("figures", "Figures", "Figures", blocks)


def other_images_section(
    others: Sequence[OtherImages], metrics: Mapping[str, Any], level: str
) -> Section | None:
    """Return what each classifier is worth on other images."""
    if not others:
        return None
    own = {name: of["scores"]["accuracy"]["value"] for _, name, of in classifiers(metrics)}
    columns = {"n": Column("images", "count")}
    columns |= {name: SCORE_COLUMNS[name] for name in ("accuracy", "macro_f1", "average_class_accuracy")}
    columns["own"] = Column(f"on {metrics['split']}", "percent")
    rows: list[Any] = []
    blocks: list[Block] = []
    for other in others:
        with contents_of(f"other/{other.name}/metrics.json"):
            source = other.metrics.get("source_name") or other.name
            named = [(name, {**of, "own": own.get(name)}) for _, name, of in classifiers(other.metrics)]
            made = scores_table("On other images", named, columns)
            rows += [Group(Cell(source)), *made.rows]
            for name, of in named:
                if collapsed := of.get("collapsed"):
                    share = percent(collapsed["share"])
                    blocks.append(("warn", f"{source}: {name} calls {share} of them {collapsed['class']}."))
            groups = known_figures(other.figures, confusion_titles(other.metrics))
            if drawn := [one for group in groups.values() for one in group]:
                blocks.append(details(f"Figures of {source}", ("figures", drawn)))
    text = (
        "The same CNN and heads, not trained again, on images that are not of the recipe's data; below "
        f"each score its {level} interval. Last column: their accuracy on {metrics['split']}, from the table "
        "above."
    )
    made = Table(made.label, made.columns, rows)
    return Section("others", "Other images", "On other images", [("faint", text), table(made), *blocks])


_SPREAD = {
    "mean": Column("mean", "percent2"),
    "std": Column("standard deviation", "percent2"),
    "variance": Column("variance", "figures"),
    "min": Column("lowest", "percent2"),
    "max": Column("highest", "percent2"),
}


def repeats_tables(repeats: Mapping[str, Any]) -> tuple[Table, dict[str, Table]]:
    """Return how far accuracies of repeated runs lie apart, and the scores of each class by classifier."""
    columns, published = list(_SPREAD.values()), published_accuracies(repeats)
    rows, by_class = [], {}
    for key, name, of in classifiers(repeats):
        rows.append([name, *(of["accuracy"][column] for column in _SPREAD), published.get(key)])
        scores = [
            [row["name"] if score == "precision" else "", title, *(row[score][column] for column in _SPREAD)]
            for row in of["per_class"]
            for score, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
        ]
        label = f"Classes over repeated runs, {name}"
        by_class[name] = Table(label, [Column("class"), Column("score"), *columns], scores)
    of_accuracy = [Column("classifier"), *columns, Column("published", "percent2")]
    if not repeats.get("published"):
        rows, of_accuracy = [row[:-1] for row in rows], of_accuracy[:-1]
    return Table("Accuracy over repeated runs", of_accuracy, rows), by_class


def repeats_section(repeats: Mapping[str, Any]) -> Section:
    """Return how far scores of repeated runs lie apart."""
    seeds = ", ".join(str(run["seed"]) for run in repeats["runs"])
    text = (
        f"{repeats['repeats']} runs of the recipe, with seeds {seeds}, scored on {repeats['split']}. "
        "Standard deviation and variance are of a sample."
    )
    accuracy, by_class = repeats_tables(repeats)
    tables = [details(f"{name}, class by class", table(made)) for name, made in by_class.items()]
    blocks = [("faint", text), table(accuracy), *tables]
    return Section("repeats", "Repeated runs", "Repeated runs", blocks)


def latency_section(latency: Mapping[str, Any], figures: Sequence[Figure]) -> Section:
    """Return how long calls take, by the images in a call."""
    kinds = {"path": "text", "p50, ms": "figures", "p95, ms": "figures", "p99, ms": "figures"}
    kinds |= {"images/s": "figures", "times faster": "figures", "than": "text", "accuracy": "percent"}
    keys = ("p50_ms", "p95_ms", "p99_ms", "images_per_s", "ratio", "ratio_to", "accuracy")
    groups: dict[str, list[Any]] = {}
    for row in latency["rows"]:
        size = f"all {row['batch']:,} images" if row["all_images"] else f"batch {row['batch']:,}"
        path = Cell(row["path"], "head only" if row["measured"] == "head only" else "")
        groups.setdefault(size, []).append([path, *(row[key] for key in keys)])
    rows = [row for size, of in groups.items() for row in (Group(Cell(size)), *of)]
    text = Markup(
        "From raw images in memory to probabilities; rows marked <b>head only</b> start from ready "
        "features and leave the network out. {}"
    ).format(_machine(latency))
    blocks: list[Block] = [("faint", text), table(Table("Latency", columns_of(kinds), rows))]
    if starts := latency.get("starts"):
        blocks += [("heading", "Fresh process"), table(_starts(starts))]
    heading = f"Latency at {latency['layer']}"
    return Section("latency", "Latency", heading, [*blocks, ("figures", figures)])


def _machine(latency: Mapping[str, Any]) -> str:
    machine, busy = latency["machine"], latency.get("cores_busy_for_others")
    threads = ", ".join(f"{name} {count}" for name, count in latency["threads"]["used"].items())
    cores = counted(machine["cores"], "core")
    text = f"{machine.get('model') or machine['processor']}, {cores}; threads: {threads}."
    if busy is None:
        return text
    return f"{text} Other programs kept {busy:.1f} cores busy meanwhile."


def _starts(starts: Sequence[Mapping[str, Any]]) -> Table:
    kinds = {"program": "text", "until": "text", "runs": "count"}
    kinds |= {"median, s": "number", "lowest, s": "number", "highest, s": "number"}
    keys = ("what", "until", "runs", "p50_s", "lowest_s", "highest_s")
    return Table("Fresh process", columns_of(kinds), [[row[key] for key in keys] for row in starts])
