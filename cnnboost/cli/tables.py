"""Results as people read them: one function per command, from the command's JSON document to a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cnnboost.escape import counted, visible
from cnnboost.report import table as report
from cnnboost.report.scores import classifiers, published_accuracies, scores_table
from cnnboost.report.sections import audit_rows, count_table, overfit_text, repeats_tables


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


def show_table(out: Console, made: report.Table) -> None:
    """Print a table."""
    titles = [column.title for column in made.columns]
    table = new_table(*titles, numbers=[column.title for column in made.columns if column.number])
    for row in made.cells():
        if not isinstance(row, report.Group):
            # Terminals of old encodings have neither dashes nor minus signs.
            table.add_row(
                *(str(cell).replace(report.NOTHING, "-").replace(report.MINUS, "-") for cell in row)
            )
    out.print(table)


def written(out: Console, paths: Sequence[str]) -> None:
    """Print what was written."""
    if paths:
        out.print("\nwrote " + "\n      ".join(paths))


def show_scores(out: Console, document: dict[str, Any]) -> None:
    """Print CNN and heads side by side."""
    published = document["published"]
    confidence = document["recipe_facts"]["evaluate"]["confidence"]
    columns = {
        "accuracy": report.Column("accuracy", "percent2", interval=False),
        "interval": report.Column(f"{confidence:.0%} interval", "interval"),
        "macro_f1": report.Column("macro F1", "percent2", interval=False),
        "log_loss": report.Column("log-loss", "number", interval=False),
        "fit_seconds": report.Column("fit s", "seconds"),
        "p_value": report.Column("McNemar", "p"),
    }
    if published:
        columns["published"] = report.Column("published", "percent2")
    known = published_accuracies(document)
    rows = [(name, {**of, "published": known.get(key)}) for key, name, of in classifiers(document)]
    split, n = document["split"], document["images"][document["split"]]
    if "source_name" in document:
        place = f"{document['source_name']}{'' if split == 'all' else f' ({split})'}"
        note = "; nothing was trained on them"
    else:
        place = split
        note = "" if "test" in document["images"] else " (the source has no test split)"
    out.print(f"{document['title'] or document['recipe']}: scores on {place}, {counted(n, 'image')}{note}")
    show_table(out, scores_table("", rows, columns, "head"))
    if document["cnn"] is None:
        out.print(f"no softmax to compare with: {document['no_softmax']}")
    else:
        out.print("McNemar: exact p of the difference to the CNN on the same images", style="dim")
    if published:
        out.print(f"published: {published['source']}")
    for note in (document.get("given") or {}).get("notes", ()):
        out.print(f"note: {note}")
    written(out, document["written"])


def show_audit(out: Console, document: dict[str, Any]) -> None:
    """Print an audit."""
    height, width, channels = document["shape"]
    out.print(f"{document['source']}: {height}x{width}, {'grey' if channels == 1 else 'RGB'}")
    show_table(out, count_table(document))
    for name, text in audit_rows(document)[2:]:
        out.print(f"{name.lower()}: {text}")
    written(out, document["written"])


def show_training(out: Console, document: dict[str, Any]) -> None:
    """Print how a training ended."""
    last = document["last_epoch"]
    parts = [
        f"{counted(document['epochs'], 'epoch')}, {document['fit_seconds']:.0f} s",
        f"accuracy {last['accuracy']:.2%}",
    ]
    if "val_accuracy" in last:
        parts.append(f"validation {last['val_accuracy']:.2%}")
    out.print(", ".join(parts))
    written(out, [document["model"]])


def show_overfit(out: Console, document: dict[str, Any]) -> None:
    """Print whether a network can learn at all, and what to look at if not."""
    out.print(f"Can the network learn? {overfit_text(document)}")
    for symptom in document["symptoms"]:
        out.print(f"- {symptom}")
    if document["switched_off"]:
        out.print(f"switched off: {', '.join(document['switched_off'])}", style="dim")
    written(out, document["written"])


def show_repeats(out: Console, document: dict[str, Any]) -> None:
    """Print how far scores vary over repeated runs."""
    seeds = ", ".join(str(run["seed"]) for run in document["runs"])
    out.print(
        f"{document['title'] or document['recipe']}: {len(document['runs'])} runs, seeds {seeds}; "
        f"scores on {document['split']}, {counted(document['images'][document['split']], 'image')}",
    )
    accuracy, by_class = repeats_tables(document)
    show_table(out, accuracy)
    for name, made in by_class.items():
        out.print(f"\n{name}, class by class")
        show_table(out, made)
    out.print("variance is of a sample: divided by the number of runs less one", style="dim")
    if published := document["published"]:
        out.print(f"published: {published['source']}")
    written(out, document["written"])


def show_teacher(out: Console, document: dict[str, Any]) -> None:
    """Print what was written and how a student is given it."""
    state = ", up to date" if document["cached"] else ""
    out.print(
        f"{document['recipe']}: log-probabilities of {counted(document['images'], 'training image')} in "
        f"{len(document['classes'])} classes by {counted(len(document['networks']), 'network')}, views: "
        f"{document['tta']}{state}",
    )
    written(out, [] if document["cached"] else [document["teacher"]])
    out.print(f"a student follows it with --set cnn.teacher={document['teacher']}", style="dim")


def show_layers(out: Console, document: dict[str, Any]) -> None:
    """Print where a CNN can be cut."""
    table = new_table("layer", "Keras name", "kind", "width", numbers=["width"])
    for layer in document["layers"]:
        width = "classes" if layer["width"] is None else f"{layer['width']:,}"
        table.add_row(layer["name"], layer["keras_name"], layer["kind"], width)
    out.print(table)


def show_features(out: Console, document: dict[str, Any]) -> None:
    """Print what features there are now."""
    table = new_table("split", "layer", "rows", "width", "state", "file", numbers=["rows", "width"])
    for row in document["features"]:
        state = "up to date" if row["cached"] else "continued" if row["resumed_from"] else "extracted"
        file = Path(row["path"])
        table.add_row(row["split"], row["layer"], f"{row['rows']:,}", f"{row['width']:,}", state, file.name)
    out.print(table)
    out.print(f"in {file.parent}")
    written(out, document["written"])


def show_head(out: Console, document: dict[str, Any]) -> None:
    """Print what head there is now, or what heads."""
    heads = document.get("heads", [document])
    for one in heads:
        device = f" on {one['device']}" if "device" in one else ""
        out.print(
            f"{document['layer']} ({document['mode']}): {one['rounds']} rounds on {one['rows']:,} x "
            f"{document['width']:,} features, {one['fit_seconds']:.1f} s{device}"
            f"{', up to date' if one['cached'] else ''}"
        )
    if "heads" in document:
        out.print(f"a hybrid is the mean of these {len(heads)}, each with a network of its own")
    written(out, [one["path"] for one in heads])
