"""Results as people read them: one function per command, from the command's JSON document to a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cnnboost.escape import visible
from cnnboost.report.head_names import classifiers


class PlainTable(Table):
    """A table whose cells are what they look like: no markup counts, no control character gets through."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row."""
        shown = (Text(visible(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*shown, **options)


def new_table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """Start a table."""
    table = PlainTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            Text(visible(column)), justify="right" if column in numbers else "left", overflow="fold"
        )
    return table


def written(out: Console, paths: Sequence[str]) -> None:
    """Print what was written."""
    if paths:
        out.print("\nwrote " + "\n      ".join(paths))


def show_scores(out: Console, document: dict[str, Any]) -> None:
    """Print CNN and heads side by side."""
    numbers = ["accuracy", "interval", "macro F1", "log-loss", "fit s", "McNemar", "published"]
    published = document["published"]
    confidence = document["recipe_facts"]["evaluate"]["confidence"]
    numbers[1] = f"{confidence:.0%} interval"
    table = new_table("head", *(numbers if published else numbers[:-1]), numbers=numbers)
    known = {None: published["cnn"], **published["layers"]} if published else {}
    for key, title, row in classifiers(document):
        layer, scores = key or None, row["scores"]
        low, high = scores["accuracy"]["interval"]
        seconds = row["fit_seconds"]
        cells = [
            title,
            f"{scores['accuracy']['value']:.2%}",
            f"{100 * low:.1f}-{100 * high:.1f}%",
            f"{scores['macro_f1']['value']:.4f}",
            f"{scores['log_loss']['value']:.4f}",
            "-" if seconds is None else f"{seconds:.1f}",
            _p_value(row["against_cnn"]) if row.get("against_cnn") else "-",
        ]
        if published:
            cells.append(f"{known[layer]:.2%}" if known.get(layer) is not None else "-")
        table.add_row(*cells)
    split, n = document["split"], document["images"][document["split"]]
    if "source_name" in document:
        place = f"{document['source_name']}{'' if split == 'all' else f' ({split})'}"
        note = "; nothing was trained on them"
    else:
        place = split
        note = "" if "test" in document["images"] else " (the source has no test split)"
    images = f"{n:,} image{'' if n == 1 else 's'}"
    out.print(f"{document['title'] or document['recipe']}: scores on {place}, {images}{note}")
    out.print(table)
    if document["cnn"] is None:
        out.print(f"no softmax to compare with: {document['no_softmax']}", markup=False)
    else:
        out.print("McNemar: exact p of the difference to the CNN on the same images", style="dim")
    if published:
        out.print(f"published: {published['source']}")
    for note in (document.get("given") or {}).get("notes", ()):
        out.print(f"note: {note}")
    written(out, document["written"])


def _p_value(against: dict[str, Any]) -> str:
    return "no verdict" if against["p_value"] is None else f"{against['p_value']:.3g}"


def show_audit(out: Console, document: dict[str, Any]) -> None:
    """Print an audit."""
    counts = document["counts"]
    table = new_table("class", *counts, numbers=list(counts))
    for name in next(iter(counts.values())):
        table.add_row(name, *(f"{split[name]:,}" for split in counts.values()))
    table.add_row("all", *(f"{sum(split.values()):,}" for split in counts.values()), style="bold")
    height, width, channels = document["shape"]
    out.print(f"{document['source']}: {height}x{width}, {'grey' if channels == 1 else 'RGB'}")
    out.print(table)
    for kind, title in (("exact", "duplicates"), ("exact_or_mirrored", "or mirrored")):
        found = document["duplicates"][kind]
        out.print(
            f"{title}: {found['groups']:,} groups, {found['surplus']:,} surplus images; "
            f"{found['groups_across_splits']:,} groups stand in several splits, "
            f"{found['contradicting_groups']:,} carry contradicting labels"
        )
    out.print(f"constant images: {len(document['constant']):,}")
    written(out, document["written"])


def show_training(out: Console, document: dict[str, Any]) -> None:
    """Print how a training ended."""
    last = document["last_epoch"]
    parts = [
        f"{document['epochs']} epochs, {document['fit_seconds']:.0f} s",
        f"accuracy {last['accuracy']:.2%}",
    ]
    if "val_accuracy" in last:
        parts.append(f"validation {last['val_accuracy']:.2%}")
    out.print(", ".join(parts))
    written(out, [document["model"]])


def show_overfit(out: Console, document: dict[str, Any]) -> None:
    """Print whether a network can learn at all, and what to look at if not."""
    n, epochs, steps = (document[name] for name in ("images", "epochs", "steps"))
    if document["learnt"]:
        out.print(
            f"the network can learn: it knows {n:,} images by heart after {epochs:,} epochs, {steps:,} steps"
        )
    else:
        accuracy = document["accuracy"]
        known = "" if accuracy is None else f", it knows {accuracy:.1%} of {n:,} images"
        out.print(
            f"the network did NOT learn them by heart: {epochs:,} epochs, {steps:,} steps{known}; look at:"
        )
        for symptom in document["symptoms"]:
            out.print(f"- {symptom}")
    if document["switched_off"]:
        out.print(f"switched off: {', '.join(document['switched_off'])}", style="dim")
    written(out, document["written"])


def show_repeats(out: Console, document: dict[str, Any]) -> None:
    """Print how far scores vary over repeated runs."""
    numbers = ["max", "min", "std", "variance", "mean", *(["published"] if document["published"] else [])]
    table = new_table("head", "score", *numbers, numbers=numbers)
    published = document["published"]
    known = {None: published["cnn"], **published["layers"]} if published else {}
    for key, title, row in classifiers(document):
        layer = key or None
        cells = _statistics(row["accuracy"])
        if published:
            cells.append(f"{known[layer]:.4f}" if known.get(layer) is not None else "-")
        table.add_row(title, "accuracy", *cells, style="bold")
        for scores in row["per_class"]:
            for place, name in enumerate(("precision", "recall", "f1")):
                of_class = "" if place else f"  {scores['name']}"
                table.add_row(of_class, "F1" if name == "f1" else name, *_statistics(scores[name]))
    seeds = ", ".join(str(run["seed"]) for run in document["runs"])
    out.print(
        f"{document['title'] or document['recipe']}: {len(document['runs'])} runs, seeds {seeds}; "
        f"scores on {document['split']}, {document['images'][document['split']]:,} images",
    )
    out.print(table)
    out.print("std and variance are of a sample: divided by the number of runs less one", style="dim")
    if published:
        out.print(f"published: {published['source']}")
    written(out, document["written"])


def _statistics(spread: dict[str, float]) -> list[str]:
    return [
        f"{spread[name]:.{6 if name == 'variance' else 4}f}"
        for name in ("max", "min", "std", "variance", "mean")
    ]


def show_layers(out: Console, layers: Sequence[dict[str, Any]]) -> None:
    """Print where a CNN can be cut."""
    table = new_table("layer", "Keras name", "kind", "width", numbers=["width"])
    for layer in layers:
        width = "classes" if layer["width"] is None else f"{layer['width']:,}"
        table.add_row(layer["name"], layer["keras_name"], layer["kind"], width)
    out.print(table)


def show_features(out: Console, rows: Sequence[dict[str, Any]], plain: Sequence[str]) -> None:
    """Print what features there are now."""
    table = new_table("split", "layer", "rows", "width", "state", "file", numbers=["rows", "width"])
    for row in rows:
        state = "up to date" if row["cached"] else "continued" if row["resumed_from"] else "extracted"
        file = Path(row["path"])
        table.add_row(row["split"], row["layer"], f"{row['rows']:,}", f"{row['width']:,}", state, file.name)
    out.print(table)
    out.print(f"in {file.parent}")
    written(out, plain)


def show_head(out: Console, document: dict[str, Any]) -> None:
    """Print what head there is now."""
    out.print(
        f"{document['layer']} ({document['mode']}): {document['rounds']} rounds on "
        f"{document['rows']:,} x {document['width']:,} features, {document['fit_seconds']:.1f} s "
        f"on {document['device']}{', up to date' if document['cached'] else ''}"
    )
    written(out, [document["path"]])
