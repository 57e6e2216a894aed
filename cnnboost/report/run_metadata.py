"""What was run, in rows of a name and a value: recipe, machine, versions, and what is in the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cnnboost.report.page import percent


def run_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what was run: network, training, head, images, seeds, machine, versions."""
    metadata, cnn = metrics["recipe_facts"], metrics["cnn"]
    boost = metadata["boost"]
    seeds = [(name, metadata[name].get("seed")) for name in ("data", "cnn", "boost", "evaluate")]
    machine = metrics["machine"]
    rows = [
        *_network_rows(metadata, cnn),
        ("Cut at", ", ".join(head["layer"] for head in metrics["heads"])),
        (
            "Head",
            f"XGBoost, at most {boost['n_estimators']} rounds, depth {boost['max_depth']}, "
            f"learning rate {boost['learning_rate']:g}",
        ),
        ("Images", ", ".join(f"{name} {count:,}" for name, count in metrics["images"].items())),
        ("Scored split", metrics["split"]),
        ("Seeds", ", ".join(f"{name} {seed}" for name, seed in seeds if seed is not None)),
        (
            "Machine",
            ", ".join(
                str(machine[key]) for key in ("model", "system", "processor") if machine.get(key) is not None
            )
            + f", {machine['cores']} cores",
        ),
        ("Versions", ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())),
        ("Data digest", metrics["data_digest"]),
    ]
    return rows


def _network_rows(metadata: Mapping[str, Any], cnn: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if cnn is None:
        return [("CNN", "a model file without a softmax for these classes")]
    seconds = cnn["fit_seconds"]
    in_time = f" in {seconds:,.0f} seconds" if seconds is not None else ""
    return [
        ("CNN", f"{metadata['cnn']['architecture']}, {cnn['parameters']:,} parameters"),
        ("Training", f"{cnn['epochs']:,} epochs{in_time}"),
        ("Right on train", percent(cnn["train_accuracy"])),
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


def audit_rows(audit: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Say what the audit found."""
    if audit is None:
        return []
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


def count_table(audit: Mapping[str, Any] | None) -> dict[str, Any]:
    """Count the images of each class in each split."""
    counts = audit["counts"] if audit else {}
    classes = list(dict.fromkeys(name for of in counts.values() for name in of))
    return {
        "count_classes": classes,
        "counts": [(split, [of.get(name, 0) for name in classes]) for split, of in counts.items()],
    }
