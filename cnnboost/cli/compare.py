"""`cnnboost compare`: CNN against hybrid in every mode and against other heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console, tables
from cnnboost.cli.app import command, job_of
from cnnboost.cli.options import JobOptions, SplitOption
from cnnboost.escape import counted
from cnnboost.report.compared import rows_table, verdict_on_rows, verdicts_of
from cnnboost.report.gains import gains_table, verdicts_on_gains
from cnnboost.report.table import head_title


@command()
def compare(
    options: JobOptions,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Comparisons, with seeds one apart. [default: (the recipe's)]"),
    ] = None,
    split: SplitOption = None,
    networks: Annotated[
        bool,
        typer.Option(
            "--networks", help="Put all comparisons below the reports folder together: when do trees pay?"
        ),
    ] = False,
) -> None:
    """Compare the CNN's softmax with the hybrid in every mode and with other heads: same images and views."""
    if networks:
        _networks(options, seeds, split)
        return
    if seeds is not None:
        options = replace(options, overrides=[*(options.overrides or []), f"compare.seeds={seeds}"])
    job = job_of(options)
    from cnnboost.stages.comparison import compare_modes

    console.emit(compare_modes(job, split=split).shown, options.as_json, show_modes)


def _networks(options: JobOptions, seeds: int | None, split: str | None) -> None:
    given = (options.recipe, options.data, options.overrides or None, seeds, split)
    if any(value is not None for value in given):
        raise typer.BadParameter(
            "it is about the comparisons that there are: leave out "
            "--recipe, --data, --set, --seeds and --split",
            param_hint="--networks",
        )
    console.notes(options.quiet)
    from cnnboost.stages.gains import compare_networks

    console.emit(compare_networks(options.reports).shown, options.as_json, _show_gains)


def _show_gains(out: Console, document: dict[str, Any]) -> None:
    tables.show_table(out, gains_table(document))
    for verdict in verdicts_on_gains(document):
        out.print(verdict)
    if document["left_out"]:
        out.print(f"left out: {', '.join(document['left_out'])}")
    tables.written(out, document["written"])


def show_modes(out: Console, document: dict[str, Any]) -> None:
    """Print the means over the seeds, and verdicts on each head."""
    runs, linear = document["runs"], document["best_linear"]
    hybrid = document["hybrid"]
    out.print(
        f"{document['title'] or document['recipe']}: {document['n']:,} images of {document['split']}, "
        f"{counted(len(runs), 'seed')}, layers {', '.join(document['layers'])}, "
        f"views at test time: {hybrid['tta']}"
        + (f", means over {document['members']} networks" if document["members"] > 1 else ""),
    )
    out.print(
        f"heads fitted on {document['grown_on']}; temperature, rounds and weight chosen on "
        f"{document['chosen_on']}",
    )
    names = ["accuracy", "points", "lowest", "highest", "log-loss", "change", "median p"]
    names += [] if linear is None else ["to linear", "its p"]
    table = tables.new_table("classifier", *names, numbers=names)
    for title, key in (("softmax", "softmax"), ("calibrated", "calibrated")):
        scores = [run[key]["scores"] for run in runs]
        accuracy, log_loss = (_mean(scores, name) for name in ("accuracy", "log_loss"))
        table.add_row(title, f"{accuracy:.2%}", "-", "-", "-", f"{log_loss:.4f}", *["-"] * (len(names) - 5))
    for head, row in document["summary"].items():
        to_linear = row.get("against_linear")
        cells = ["-", "-"] if to_linear is None else [
            f"{100 * to_linear['difference']:+.2f}", f"{to_linear['median_p_value']:.3g}",
        ]  # fmt: skip
        table.add_row(
            head_title(head),
            f"{row['accuracy']:.2%}",
            f"{100 * row['difference']:+.2f}",
            f"{100 * row['lowest_difference']:+.2f}",
            f"{100 * row['highest_difference']:+.2f}",
            f"{row['log_loss']:.4f}",
            f"{row['log_loss_difference']:+.4f}",
            f"{row['median_p_value']:.3g}",
            *([] if linear is None else cells),
        )
    out.print(table)
    out.print("points: accuracy minus the softmax's; change: log-loss minus the calibrated softmax's")
    if linear is not None:
        out.print(f"to linear: accuracy minus that of {linear}, the linear head of the lowest log-loss")
    for verdict in verdicts_of(document):
        out.print(verdict)
    if "curve" in document:
        for point in document["curve"]["points"]:
            out.print(f"\n{point['n']:,} images for each head")
            tables.show_table(out, rows_table(document, [point]))
        for verdict in verdict_on_rows(document):
            out.print(verdict)
    tables.written(out, document["written"])


def _mean(scores: list[dict[str, Any]], name: str) -> float:
    return sum(score[name]["value"] for score in scores) / len(scores)
