"""`cnnboost compare`: CNN against hybrid in every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnboost.cli import console, tables
from cnnboost.cli.app import app, make_job
from cnnboost.cli.options import (
    DataOption,
    JsonOption,
    ModelsOption,
    OnBad,
    OnBadOption,
    QuietOption,
    RecipeOption,
    ReportsOption,
    SetOption,
)


@app.command()
@console.guarded
def compare(
    recipe: RecipeOption = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, help="Comparisons, with seeds one apart. [default: (the recipe's)]"),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Images to compare on. [default: (the recipe's)]")
    ] = None,
    data: DataOption = None,
    models: ModelsOption = Path("models"),
    reports: ReportsOption = Path("reports"),
    overrides: SetOption = None,
    on_bad: OnBadOption = OnBad.stop,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare the CNN's softmax with the hybrid in every mode: same images, same views, several seeds."""
    changes = [*(overrides or []), *([f"compare.seeds={seeds}"] if seeds is not None else [])]
    job = make_job(recipe, changes, quiet, on_bad, data=data, models=models, reports=reports)
    from cnnboost.stages.comparison import compare_modes

    found = compare_modes(job, split=split)
    document = {**found.document, "written": [str(path) for path in (found.path, *found.figures)]}
    console.emit(document, as_json, lambda out: show_modes(out, document))


def show_modes(out: Console, document: dict[str, Any]) -> None:
    """Print the means over the seeds, and a verdict for each mode."""
    runs = document["runs"]
    hybrid = document["hybrid"]
    out.print(
        f"{document['title'] or document['recipe']}: {document['n']:,} images of {document['split']}, "
        f"{len(runs)} seeds, layers {', '.join(document['layers'])}, views at test time: {hybrid['tta']}",
    )
    out.print(
        f"trees grown on {document['grown_on']}; temperature, rounds and weight chosen on "
        f"{document['chosen_on']}",
    )
    names = ["accuracy", "points", "lowest", "highest", "log-loss", "change", "median p"]
    table = tables.new_table("classifier", *names, numbers=names)
    for title, key in (("softmax", "softmax"), ("calibrated", "calibrated")):
        scores = [run[key]["scores"] for run in runs]
        table.add_row(
            title,
            f"{_mean(scores, 'accuracy'):.2%}",
            "-",
            "-",
            "-",
            f"{_mean(scores, 'log_loss'):.4f}",
            "-",
            "-",
        )
    for mode, row in document["summary"].items():
        table.add_row(
            mode,
            f"{row['accuracy']:.2%}",
            f"{100 * row['difference']:+.2f}",
            f"{100 * row['lowest_difference']:+.2f}",
            f"{100 * row['highest_difference']:+.2f}",
            f"{row['log_loss']:.4f}",
            f"{row['log_loss_difference']:+.4f}",
            f"{row['median_p_value']:.3g}",
        )
    out.print(table)
    out.print("points: accuracy minus the softmax's; change: log-loss minus the calibrated softmax's")
    for row in document["summary"].values():
        out.print(row["verdict"])
    tables.written(out, document["written"])


def _mean(scores: list[dict[str, Any]], name: str) -> float:
    return sum(score[name]["value"] for score in scores) / len(scores)
