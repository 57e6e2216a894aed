"""What was run: recipe, machine and versions, the data, and whether the network can learn at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from cnnboost.report.page import Block, Section, contents_of, details, table
from cnnboost.report.table import Cell, Column, Table, pairs, percent


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
            ("Training", f"{cnn['epochs']:,} epochs{in_time}"),
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
        ("Machine", ", ".join([*names, f"{machine['cores']} cores"])),
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


def overfit_section(overfit: Mapping[str, Any] | None) -> Section | None:
    """Return whether the network could learn a few images by heart."""
    if overfit is None:
        return None
    with contents_of("overfit.json"):
        learnt, text = overfit["learnt"], _overfit_text(overfit)
        explanation = Markup(
            "A copy of the network was trained on a few images until it knows them by heart (<code "
            'class="whole">cnnboost train --overfit</code>). One that cannot do that has a fault which more '
            "images do not mend; one that can may still be worth nothing on other images."
        )
        numbers = "Numbers of this check"
        blocks: list[Block] = [
            ("text" if learnt else "warn", text),
            ("items", list(overfit["symptoms"])),
            ("faint", explanation),
            details(numbers, table(pairs(numbers, _overfit_rows(overfit)))),
        ]
    return Section("overfit", "Can it learn?", "Can the network learn at all?", blocks)


def _overfit_text(overfit: Mapping[str, Any]) -> str:
    n = overfit["images"]
    took = f"{overfit['epochs']:,} epochs, {overfit['steps']:,} steps of the optimiser"
    if overfit["learnt"]:
        return f"It can: after {took}, it knows all of {n:,} images."
    if overfit["failure"]:
        return f"It cannot: training on {n:,} images broke off after {took}."
    return f"It cannot: after {took}, it knows {percent(overfit['accuracy'])} of {n:,} images."


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
